"""The msgpack files that flax has written, from its first release on.

The format is flax's (`flax/serialization.py`): the state dict in msgpack, where a list or tuple
is a dict by the index, with three extension types. 1 is an array and 3 a NumPy scalar, each a
nested msgpack of shape, dtype's name and bytes in C order; 2 is a Python complex. An array over
1 GiB stands as a dict of flat chunks. An array that was spread over several processes stands as a
text that names a directory in `{file}_gda`, where it lies in zarr format.

The extension bytes are taken apart here, and not by msgpack itself, which would copy an array
once more.
"""

import mmap
import pathlib
from collections.abc import Generator, Mapping
from typing import Any, cast

import numpy as np

from .._errors import MissingExtraError
from ._damage import damaged
from ._dtypes import HostArray, dtype_named, info_of
from ._keys import Key
from ._orbax import _tensorstore
from ._reader import LeafInfo
from ._sharding import sharding_over_processes

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"
_SPREAD = "//GDAPlaceholder:"
_DTYPES = {"<V2": "bfloat16", "|V2": "bfloat16"}
"""What the first versions called a dtype that NumPy did not know."""

_BYTES_LENGTH = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""msgpack's marks of bytes and of text, which old versions wrote bytes as: size of the length."""


class MsgpackCheckpoint:
    """A checkpoint that flax has written to one file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._tree = load(path)
        self._values = {key: leaf for key, leaf in flatten(self._tree).items() if is_leaf(leaf)}
        self._spread = self._open_spread()

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        """Every leaf, in the order of the file."""
        return {
            key: self._spread[key].info if key in self._spread else info_of(value)
            for key, value in self._values.items()
        }

    def read(self, wanted: Mapping[Key, Any]) -> Generator[Mapping[Key, Any]]:
        """Read some leaves; see `CheckpointReader.read`."""
        requests = {
            key: _tensorstore.Request(
                self._spread[key],
                sharding_over_processes(leaf, self._spread[key].info.shape),
            )
            for key, leaf in wanted.items()
            if key in self._spread
        }
        arrays = _tensorstore.read(self.path, requests)
        yield {key: arrays[key] if key in arrays else self._values[key] for key in wanted}

    def unflatten(self, leaves: Mapping[Key, Any]) -> Any:
        """Put leaves that were read into nested dicts, as flax itself gives them."""
        return nest(self._tree, leaves)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _open_spread(self) -> Mapping[Key, Any]:
        names = {
            key: value.removeprefix(_SPREAD)
            for key, value in self._values.items()
            if isinstance(value, str) and value.startswith(_SPREAD)
        }
        if not names:
            return {}
        directory = self.path.with_name(self.path.name + "_gda")
        return _tensorstore.open_all(
            directory, {key: _tensorstore.plain(directory / name) for key, name in names.items()}
        )


def load(path: pathlib.Path) -> Any:
    """Read a file into nested dicts of NumPy arrays and Python values.

    Raises:
        CheckpointDamagedError: it is no such file, or not a whole one.
        MissingExtraError: msgpack is not installed.
    """
    try:
        import msgpack
    except ImportError:
        raise MissingExtraError(
            f"{path}: reading a file that flax has written needs msgpack; "
            "pip install 'fifteen[flax]'"
        ) from None
    if not path.stat().st_size:
        raise damaged(path, "an empty file")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            unpacked = msgpack.unpackb(data, ext_hook=_extension, raw=False, strict_map_key=False)
            return _normal(unpacked)
        except (
            msgpack.UnpackException,
            AttributeError,
            LookupError,
            OverflowError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            # What msgpack and NumPy make of bytes that are none of theirs.
            raise damaged(
                path,
                "neither a checkpoint of ours nor a whole file that flax has written "
                f"({type(error).__name__}: {error})",
            ) from None


def _extension(code: int, data: bytes) -> Any:
    if code in (_ARRAY, _SCALAR):
        array = _array(data)
        return array[()] if code == _SCALAR else array
    if code == _COMPLEX:
        import msgpack

        real, imaginary = msgpack.unpackb(data)
        return complex(real, imaginary)
    raise ValueError(f"the extension type {code}, which flax does not write")


def _array(data: bytes) -> HostArray:
    import msgpack

    # The bytes come last, and what stands before them is short.
    unpacker = msgpack.Unpacker(raw=True)
    unpacker.feed(data[:4096])
    if unpacker.read_array_header() != 3:
        raise ValueError("an array without shape, dtype and bytes")
    shape = unpacker.unpack()
    name = str(unpacker.unpack(), "ascii")
    dtype = dtype_named(_DTYPES.get(name, name))
    start = unpacker.tell()
    mark = data[start]
    # Short text has its length in the mark itself.
    start += 1 + (0 if 0xA0 <= mark <= 0xBF else _BYTES_LENGTH[mark])
    if dtype.hasobject:
        raise ValueError(f"an array of dtype {dtype}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape)


def _normal(tree: Any) -> Any:
    """Put chunked arrays together, and namedtuples as the first versions wrote them."""
    if isinstance(tree, Mapping):
        known = cast(Mapping[Any, Any], tree)
        if _CHUNKED in known:
            chunks = _in_order(known["chunks"])
            return np.concatenate(chunks).reshape([int(n) for n in _in_order(known["shape"])])
        if _is_namedtuple(known):
            fields, values = _in_order(known["fields"]), _in_order(known["values"])
            return {field: _normal(value) for field, value in zip(fields, values, strict=True)}
        return {str(key): _normal(value) for key, value in known.items()}
    if isinstance(tree, list):
        return [_normal(value) for value in cast(list[Any], tree)]
    return tree


def _is_namedtuple(known: Mapping[Any, Any]) -> bool:
    """Whether flax has written a namedtuple; somebody's own dict may have the same keys."""
    if set(known) != {"name", "fields", "values"}:
        return False
    fields, values = known["fields"], known["values"]
    if not isinstance(fields, dict) or not isinstance(values, dict):
        return False
    names = list(cast(dict[Any, Any], fields).values())
    numbers = {str(number) for number in range(len(names))}
    return (
        numbers == set(cast(Any, fields)) == set(cast(Any, values))
        and len(set(map(str, names))) == len(names)
        and all(isinstance(name, str) and name.isidentifier() for name in [known["name"], *names])
    )


def _in_order(numbered: Mapping[str, Any]) -> list[Any]:
    return [numbered[str(number)] for number in range(len(numbered))]


def flatten(tree: Any) -> dict[Key, Any]:
    """Return what stands at the ends of a tree: leaves, None, and empty dicts and lists."""
    found: dict[Key, Any] = {}

    def visit(node: Any, key: Key) -> None:
        children = _children(node)
        for part, child in children:
            visit(child, (*key, part))
        if not children:
            found[key] = node

    visit(tree, ())
    return found


def is_leaf(value: Any) -> bool:
    """Whether what `flatten` found holds something."""
    return value is not None and not isinstance(value, dict | list)


def nest(tree: Any, leaves: Mapping[Key, Any], key: Key = ()) -> Any:
    """Put leaves into a tree in the place of its own."""
    nested = [nest(child, leaves, (*key, part)) for part, child in _children(tree)]
    if isinstance(tree, dict):
        return dict(zip(cast(dict[str, Any], tree), nested, strict=True))
    if isinstance(tree, list):
        return nested
    return None if tree is None else leaves[key]


def _children(tree: Any) -> list[tuple[str, Any]]:
    if isinstance(tree, dict):
        return list(cast(dict[str, Any], tree).items())
    if isinstance(tree, list):
        return [(str(number), child) for number, child in enumerate(cast(list[Any], tree))]
    return []
