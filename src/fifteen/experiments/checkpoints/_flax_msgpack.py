"""The msgpack files that flax has written, from its first release on.

The format is flax's (`flax/serialization.py`): the state dict in msgpack, in which a list or tuple
is a dict by the index, with three extension types. 1 is an array and 3 a NumPy scalar, each a
nested msgpack of shape, dtype's name and bytes in C order; 2 is a Python complex. An array over
1 GiB is a dict of flat chunks. An array that was distributed over several processes is a text that
names a directory in `{file}_gda`, in zarr format.

The extension bytes are parsed here, since msgpack itself would copy each array once more.
"""

import pathlib
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .._errors import MissingExtraError
from ..storage import Directory
from ._damage import damaged
from ._dtypes import dtype_named, info_of
from ._keys import Key, structure_of
from ._orbax import _tensorstore
from ._reader import HostArray, LeafInfo

if TYPE_CHECKING:
    import jax

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"
_DISTRIBUTED = "//GDAPlaceholder:"
_DTYPES = {"<V2": "bfloat16", "|V2": "bfloat16"}
"""What the first versions called a dtype that NumPy did not know."""

_BYTES_LENGTH = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Sizes of the length, by msgpack's marks of bytes and of texts (old versions wrote bytes so)."""


class MsgpackCheckpoint:
    """A checkpoint that flax has written to one file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        parent = Directory(path.parent)
        self._ends, self._lists = flatten(load(parent, path.name))
        self._values = {key: value for key, value in self._ends.items() if is_leaf(value)}
        beside = parent / f"{path.name}_gda"
        self._distributed = _tensorstore.open_arrays(
            path,
            {
                key: _tensorstore.spec_of(beside, value.removeprefix(_DISTRIBUTED))
                for key, value in self._values.items()
                if isinstance(value, str) and value.startswith(_DISTRIBUTED)
            },
        )

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        """Every leaf, in the order of the file."""
        arrays = {key: array.info for key, array in self._distributed.items()}
        return {key: arrays.get(key) or info_of(value) for key, value in self._values.items()}

    @property
    def structure(self) -> Any:
        """The structure of nested dicts, as flax itself gives them."""
        numbers: dict[Key, Any] = {key: number for number, key in enumerate(self._values)}
        ends = {key: numbers.get(key, value) for key, value in self._ends.items()}
        return structure_of(ends, self._lists)

    def read(
        self, wanted: "Mapping[Key, jax.sharding.Sharding | None]"
    ) -> Generator[Mapping[Key, Any]]:
        """Read some leaves; see `CheckpointReader.read`."""
        opened = {key: self._distributed[key] for key in wanted if key in self._distributed}
        arrays = _tensorstore.read(self.path, opened, wanted)
        yield {key: arrays[key] if key in arrays else self._values[key] for key in wanted}

    def close(self) -> None:
        """Do nothing: no file stays open."""


def load(directory: Directory, name: str) -> Any:
    """Read a file into nested dicts of NumPy arrays and Python values.

    Raises:
        CheckpointDamagedError: flax has not written the file, or not all of it.
        MissingExtraError: msgpack is not installed.
    """
    path = directory.path / name
    try:
        import msgpack
    except ImportError:
        raise MissingExtraError(
            f"{path}: reading a file that flax has written needs msgpack; "
            "pip install 'fifteen[flax]'"
        ) from None
    with directory.open(name) as file:
        if not file.size:
            raise damaged(path, "an empty file")
        data = np.empty(file.size, np.uint8)
        file.read_into(data, 0)
    try:
        unpacked = msgpack.unpackb(data, ext_hook=_extension, raw=False, strict_map_key=False)
        return _normalized(unpacked)
    except (
        msgpack.UnpackException,
        AttributeError,
        LookupError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        # What msgpack and NumPy raise for any other bytes.
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

    # The bytes come last, after a short description.
    unpacker = msgpack.Unpacker(raw=True)
    unpacker.feed(data[:4096])
    if unpacker.read_array_header() != 3:
        raise ValueError("an array without shape, dtype and bytes")
    shape = unpacker.unpack()
    name = str(unpacker.unpack(), "ascii")
    dtype = dtype_named(_DTYPES.get(name, name))
    start = unpacker.tell()
    mark = data[start]
    # The mark of a short text contains its length.
    start += 1 + (0 if 0xA0 <= mark <= 0xBF else _BYTES_LENGTH[mark])
    return np.frombuffer(data, dtype, offset=start).reshape(shape)


def _normalized(tree: Any) -> Any:
    """Join chunked arrays, and turn namedtuples of the first versions into dicts."""
    if isinstance(tree, Mapping):
        known = cast(Mapping[Any, Any], tree)
        if _CHUNKED in known:
            chunks = _in_order(known["chunks"])
            return np.concatenate(chunks).reshape([int(n) for n in _in_order(known["shape"])])
        if _is_namedtuple(known):
            fields, values = _in_order(known["fields"]), _in_order(known["values"])
            return {field: _normalized(value) for field, value in zip(fields, values, strict=True)}
        return {str(key): _normalized(value) for key, value in known.items()}
    if isinstance(tree, list):
        return [_normalized(value) for value in cast(list[Any], tree)]
    return tree


def _is_namedtuple(known: Mapping[Any, Any]) -> bool:
    """Whether flax has written a namedtuple; a user's own dict may have the same keys."""
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


def flatten(tree: Any) -> tuple[dict[Key, Any], set[Key]]:
    """Return the ends of a tree (leaves, None, empty dicts and lists), and the keys of lists."""
    ends: dict[Key, Any] = {}
    lists: set[Key] = set()

    def visit(node: Any, key: Key) -> None:
        children: list[tuple[str, Any]] = []
        if isinstance(node, dict):
            children = list(cast(dict[str, Any], node).items())
        elif isinstance(node, list):
            children = [(str(index), child) for index, child in enumerate(cast(list[Any], node))]
            lists.add(key)
        for part, child in children:
            visit(child, (*key, part))
        if not children:
            ends[key] = node

    visit(tree, ())
    return ends, lists


def is_leaf(value: Any) -> bool:
    """Whether an end of a tree is a leaf."""
    return value is not None and not isinstance(value, dict | list)
