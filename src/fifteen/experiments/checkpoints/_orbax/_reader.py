"""The directories that Orbax has written: for us, for flax, or through any of its interfaces.

Our own `fifteen.json` describes the leaves if it is there; see `_manifest`. Otherwise Orbax's
`_METADATA` lists each leaf's path with the kind of its value. Before there was `_METADATA`, a
msgpack file called `checkpoint` held the tree, with a placeholder for each array. An array is in
zarr format under the parts of its path joined with dots, in one OCDBT store or in a directory of
its own. All texts are in `_strings.json`.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from ..._errors import CheckpointError
from ...storage import Directory
from .. import _flax_msgpack
from .._damage import damaged, decoding, printable, shortened
from .._decoding import decode
from .._dtypes import KEY_DTYPES, dtype_named, info_of
from .._keys import Key, name_of, structure_of
from .._reader import DESCRIPTION, HostArray, KeyData, LeafInfo, Shards
from . import _tensorstore
from ._manifest import EncodedLeaf, as_stored, description_from

if TYPE_CHECKING:
    import jax

_METADATA, _OLD_METADATA, _TEXTS = "_METADATA", "checkpoint", "_strings.json"
_PLACEHOLDER = "PLACEHOLDER://"
_HAS_ALL_CHUNKS = "store_array_data_equal_to_fill_value"
_ARRAYS = ("jax.Array", "np.ndarray", "scalar")
_LIST_INDEX = 1
"""Orbax's `KeyType` of an index in a list."""

_NOT_DESCRIBED = (
    KeyError, TypeError, ValueError, AttributeError, IndexError, SyntaxError, RecursionError,
)  # fmt: skip
"""What parsing raises of a description that is damaged, or none."""


@dataclasses.dataclass(frozen=True)
class _Contents:
    """What a directory contains.

    Attributes:
        directory: contains the arrays.
        leaves: in the order of the pytree.
        structure: returns the pytree's structure.
        is_ours: whether our own description says so.
        is_zarr3: the version of the arrays' format.
        has_all_chunks: see `_tensorstore.spec_of`.
    """

    directory: Directory
    leaves: Mapping[Key, EncodedLeaf]
    structure: Any
    is_ours: bool
    is_zarr3: bool
    has_all_chunks: bool


class OrbaxCheckpoint:
    """A checkpoint that Orbax has written."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        directory = Directory(path)
        is_ours = directory.kind_of(DESCRIPTION) == "file"
        self._contents = _ours(directory) if is_ours else _theirs(directory)
        self._open: dict[Key, _tensorstore.OpenArray] = {}

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        """Every leaf, in the order of the pytree."""
        entries = self._contents.leaves
        arrays = self._arrays([key for key, entry in entries.items() if entry.info is None])
        return {
            key: entry.info or _info_of_array(entry, arrays[key].info)
            for key, entry in entries.items()
        }

    @property
    def structure(self) -> Any:
        """The pytree's structure."""
        return self._contents.structure()

    def read(
        self, wanted: "Mapping[Key, jax.sharding.Sharding | None]"
    ) -> Generator[Mapping[Key, Any]]:
        """Read some leaves; see `CheckpointReader.read`."""
        self._refuse_lost(wanted)
        entries = {key: self._contents.leaves[key] for key in wanted}
        arrays = self._arrays([key for key, entry in entries.items() if entry.is_array])
        shardings = {
            key: None if {"scalar", "dtype"} & (entry.description or {}).keys() else wanted[key]
            for key, entry in entries.items()
        }
        data = _tensorstore.read(self.path, arrays, shardings)
        yield {key: self._value(key, entry, data.pop(key, None)) for key, entry in entries.items()}

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _arrays(self, keys: Iterable[Key]) -> dict[Key, _tensorstore.OpenArray]:
        """Open arrays that are not open yet."""
        contents = self._contents
        specs = {
            key: _tensorstore.spec_of(
                contents.directory,
                str(contents.leaves[key].stored),
                contents.is_zarr3,
                contents.has_all_chunks,
            )
            for key in keys
            if key not in self._open
        }
        opened = _tensorstore.open_arrays(self.path, specs)
        for key, array in opened.items() if contents.is_ours else ():
            # A description without a checksum may be damaged.
            with decoding(self.path, name_of(key)):
                expected = as_stored(contents.leaves[key], array.info)
            if array.info != expected:
                raise damaged(
                    self.path,
                    f"{name_of(key)}: expected {expected}, as {DESCRIPTION} states, "
                    f"found {array.info}",
                )
        self._open.update(opened)
        return {key: self._open[key] for key in keys}

    def _refuse_lost(self, wanted: Iterable[Key]) -> None:
        """Refuse leaves for which Orbax uses the same name, as `("a.b",)` and `("a", "b")`.

        Raises:
            CheckpointDamagedError: lists them; Orbax has kept one of each.
        """
        keys: dict[tuple[bool, str], list[Key]] = {}
        for key, entry in self._contents.leaves.items():
            if entry.stored:
                keys.setdefault((entry.is_array, entry.stored), []).append(key)
        lost = [
            " and ".join(sorted(map(name_of, same)))
            for same in keys.values()
            if len(same) > 1 and not set(wanted).isdisjoint(same)
        ]
        if lost:
            problem = (
                "Orbax calls these leaves the same, and has kept one of each; leave them out of "
                "the target and pass partial=True to restore the others:"
            )
            raise damaged(self.path, "\n".join([problem, *shortened(sorted(lost))]))

    def _value(self, key: Key, entry: EncodedLeaf, data: HostArray | Shards | None) -> Any:
        described = entry.description or {}
        with decoding(self.path, name_of(key)):
            if entry.is_text:
                return _text_named(str(entry.stored), self._texts)
            if "key" in described:
                if data is None:
                    # Orbax does not keep empty arrays.
                    data = _empty((*cast(LeafInfo, entry.info).shape, 0), np.dtype(np.uint32))
                return KeyData(data, str(described["key"]))
            if "empty" in described:
                shape = cast(LeafInfo, entry.info).shape
                return _empty(shape, dtype_named(str(described["empty"])))
            if data is None:
                return decode(None, entry.description) if described else entry.value
            if "scalar" in described:
                number, kind = cast(HostArray, data).item(), described["scalar"]
                if kind not in (None, type(number).__name__):
                    raise ValueError(f"expected a Python {kind!r}, found {number!r}")
                return number
            if "bits" in described:
                view = functools.partial(_viewed, dtype=dtype_named(str(described["bits"])))
                return data.map(view) if isinstance(data, Shards) else view(data)
            return decode(cast(HostArray, data), entry.description) if described else data

    @functools.cached_property
    def _texts(self) -> Any:
        try:
            return json.loads(self._contents.directory.read(_TEXTS))
        except FileNotFoundError:
            raise ValueError(f"{_TEXTS} is missing") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{_TEXTS} cannot be read ({error})") from None


def _viewed(part: HostArray, dtype: np.dtype[Any]) -> HostArray:
    # `ascontiguousarray` makes a vector of an array without axes.
    return np.ascontiguousarray(part).view(dtype).reshape(part.shape)


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostArray:
    if 0 not in shape and dtype.itemsize:
        raise ValueError(f"expected an empty array, found the shape {shape}")
    # `empty` would give a text without letters room for one.
    return np.ndarray(shape, dtype)


def _info_of_array(entry: EncodedLeaf, found: LeafInfo) -> LeafInfo:
    """Return what a leaf is by the array that holds it."""
    described = entry.description or {}
    if "key" in described:
        name = described["key"]
        return LeafInfo(found.shape[:-1], KEY_DTYPES.get(name, f"key<{name}>"))
    if "scalar" not in described:
        return found
    kinds = [kind for kind in ("bool", "complex", "float") if kind in found.dtype]
    return LeafInfo((), kinds[0] if kinds else "int")


def _text_named(name: str, texts: Any) -> str:
    """Return the text of a name, which Orbax takes for a JSON pointer."""
    text = texts
    for part in name.split("/"):
        here = cast(dict[str, Any], text) if isinstance(text, dict) else {}
        text = here.get(part.replace("~1", "/").replace("~0", "~"))
    if not isinstance(text, str):
        raise ValueError(f"expected a text in {_TEXTS} under {name!r}, found none")
    return text


def _ours(directory: Directory) -> _Contents:
    try:
        leaves, structure = description_from(directory.read(DESCRIPTION).decode())
    except _NOT_DESCRIBED as error:
        raise damaged(
            directory.path,
            f"{DESCRIPTION} is no description of ours ({type(error).__name__}: {error})",
        ) from None
    return _Contents(directory, leaves, lambda: structure, True, False, has_all_chunks=True)


_End: TypeAlias = EncodedLeaf | dict[str, Any] | list[Any] | None
"""A leaf, or a node without children."""


def _theirs(directory: Directory) -> _Contents:
    path, directory = directory.path, _item_in(directory)
    ends: dict[Key, _End] = {}
    lists: set[Key] = set()
    options: dict[str, Any] = {}
    try:
        if directory.kind_of(_OLD_METADATA) == "file":
            ends, lists = _old_ends(directory)
        if directory.kind_of(_METADATA) == "file":
            options = json.loads(directory.read(_METADATA))
            for key, end in _ends(options, _random_keys(directory), lists).items():
                # The old file also holds the values that are in no array.
                old = ends.get(key)
                if (
                    (isinstance(end, EncodedLeaf) and end.is_array)
                    or not isinstance(old, EncodedLeaf)
                    or old.is_array
                ):
                    ends[key] = end
    except _NOT_DESCRIBED as error:
        problem = f"its description cannot be read ({type(error).__name__}: {error})"
        raise damaged(path, problem) from None
    if not ends:
        raise damaged(path, "an Orbax directory that does not say what it holds")
    leaves = {key: end for key, end in ends.items() if isinstance(end, EncodedLeaf)}
    numbers: dict[Key, Any] = {key: number for number, key in enumerate(leaves)}
    return _Contents(
        directory,
        leaves,
        lambda: structure_of({key: numbers.get(key, end) for key, end in ends.items()}, lists),
        is_ours=False,
        is_zarr3=bool(options.get("use_zarr3", False)),
        has_all_chunks=options.get(_HAS_ALL_CHUNKS) is True,
    )


def _item_in(directory: Directory) -> Directory:
    """Return the directory that contains the arrays: this one, or the one item inside it.

    A `CheckpointManager` saves into `default` or under the name of each item, and the second
    version of Orbax's interface into `state`.
    """
    if _is_item(directory):
        return directory
    children = [entry.name for entry in directory.entries() if entry.kind == "directory"]
    items = [name for name in children if _is_item(directory / name)]
    if len(items) == 1:
        return directory / items[0]
    path = directory.path
    if items:
        names = ", ".join(map(printable, items))
        raise CheckpointError(
            f"{path}: Orbax has saved several items in it: {names}; link the one to restore as a "
            f"checkpoint of its own, and pass its prefix: ln -s {path.name}/{items[0]} "
            f'{path.parent}/{items[0]}_0 and prefix="{items[0]}_"'
        )
    raise damaged(path, "a directory that Orbax has not written, or not to its end")


def _is_item(directory: Directory) -> bool:
    names = (_METADATA, _OLD_METADATA, _tensorstore.MANIFEST)
    return any(directory.kind_of(name) == "file" for name in names)


def _ends(described: Any, random_keys: Mapping[str, str], lists: set[Key]) -> dict[Key, _End]:
    """Return what `_METADATA` lists, and add the keys of lists."""
    ends: dict[Key, _End] = {}
    for stated in described["tree_metadata"].values():
        key = tuple([str(part["key"]) for part in stated["key_metadata"]])
        for depth, part in enumerate(stated["key_metadata"]):
            if int(part["key_type"]) == _LIST_INDEX:
                lists.add(key[:depth])
        kind, name = str(stated["value_metadata"]["value_type"]), ".".join(key)
        if kind == "string":
            ends[key] = EncodedLeaf(LeafInfo((), "str"), name, None)
        elif kind in _ARRAYS:
            description = {"scalar": None} if kind == "scalar" else None
            if name in random_keys:
                description = {"key": random_keys[name]}
            ends[key] = EncodedLeaf(None, name, description)
        else:
            ends[key] = {"Dict": {}, "List": [], "Tuple": []}.get(kind)
    return ends


def _old_ends(directory: Directory) -> tuple[dict[Key, _End], set[Key]]:
    """Return what the old msgpack file holds, and the keys of lists."""
    ends: dict[Key, _End] = {}
    tree = _flax_msgpack.load(directory, _OLD_METADATA)
    values, lists = _flax_msgpack.flatten(tree)
    for key, value in values.items():
        if isinstance(value, str) and value.startswith(_PLACEHOLDER):
            ends[key] = EncodedLeaf(None, value.removeprefix(_PLACEHOLDER), None)
        else:
            is_leaf = _flax_msgpack.is_leaf(value)
            end: Any = EncodedLeaf(info_of(value), None, None, value) if is_leaf else value
            ends[key] = end
    return ends, lists


def _random_keys(directory: Directory) -> dict[str, str]:
    """Return the implementation of typed PRNG keys by the name of the array that is their data."""
    found: dict[str, str] = {}
    inside = directory / "array_metadatas"
    for name in inside.names():
        for stated in json.loads(inside.read(name))["array_metadatas"]:
            array = stated["array_metadata"]
            implementation = (array.get("ext_metadata") or {}).get("random_key_impl")
            if implementation is not None:
                found[str(array["param_name"])] = str(implementation)
    return found
