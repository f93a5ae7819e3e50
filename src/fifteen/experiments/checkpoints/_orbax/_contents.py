"""Contents: which leaves an Orbax directory has, and how they are nested.

Beside what Orbax has written for us, `fifteen.json` contains the version of the format, the CRC-32C
of everything after it, the leaves in the order of the pytree, and the pytree's structure. A leaf
has its name, the name that Orbax uses, its dtype and shape, and what Orbax does not keep.

Without it, Orbax's `_METADATA` lists each leaf's path with the kind of its value. Before there was
`_METADATA`, a msgpack file called `checkpoint` held the tree, with a placeholder for each array.
"""

import contextlib
import dataclasses
import json
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fifteen._text import printable

from ..._errors import CheckpointError
from ...storage import Directory
from .._damage import check_seal, damaged, parsing, sealed
from .._dtypes import info_of
from .._flax_msgpack import MsgpackCheckpoint
from .._keys import Key, key_of, name_of, structure_of
from .._reader import DESCRIPTION, LeafInfo
from . import _tensorstore

_VERSION = 2
_VERSION_WITHOUT_CHECKSUM = 1
_START = f'{{"version":{_VERSION},'
_METADATA, _OLD_METADATA = "_METADATA", "checkpoint"
_PLACEHOLDER = "PLACEHOLDER://"
_HAS_ALL_CHUNKS = "store_array_data_equal_to_fill_value"
_ARRAYS = ("jax.Array", "np.ndarray", "scalar")
_LIST_INDEX = 1
"""Orbax's `KeyType` of an index in a list."""


@dataclasses.dataclass(frozen=True)
class EncodedLeaf:
    """What is known of a leaf without reading it."""

    info: LeafInfo | None  # None if only the array has shape and dtype.
    stored: str | None  # The name that Orbax uses for it; None if Orbax does not keep it.
    description: dict[str, Any] | None  # What Orbax does not keep; None if it keeps everything.
    value: Any = None  # If it has neither.

    @property
    def is_text(self) -> bool:
        return self.stored is not None and self.info is not None and self.info.dtype == "str"

    @property
    def is_array(self) -> bool:
        return self.stored is not None and not self.is_text


@dataclasses.dataclass(frozen=True)
class Contents:
    directory: Directory  # The one with the arrays.
    leaves: Mapping[Key, EncodedLeaf]  # In the order of the pytree.
    structure: Callable[[], Any]
    form: Mapping[str, Any]  # Of the arrays; see `_tensorstore.spec_of`.


def to_json(leaves: Mapping[Key, EncodedLeaf], structure: str) -> str:
    listed = [
        [name_of(key), leaf.stored, leaf.info.dtype, leaf.info.shape, leaf.description]
        for key, leaf in leaves.items()
        if leaf.info is not None
    ]
    described = {"leaves": listed, "structure": structure}
    return sealed(json.dumps(described, separators=(",", ":"))[1:], _START)


def contents_of(directory: Directory) -> Contents:
    is_ours = directory.kind_of(DESCRIPTION) == "file"
    return _ours(directory) if is_ours else _theirs(directory)


def _ours(directory: Directory) -> Contents:
    leaves: dict[Key, EncodedLeaf] = {}
    with parsing(directory.path, f"{DESCRIPTION} is not a description that fifteen wrote"):
        text = directory.read(DESCRIPTION).decode()
        described = json.loads(text)
        version = described["version"]
        if version not in (_VERSION, _VERSION_WITHOUT_CHECKSUM):
            raise ValueError(f"written in version {version} of the format")
        if version == _VERSION:
            check_seal(text, _START)
        for name, stored, dtype, shape, description in described["leaves"]:
            is_known = isinstance(stored, str | None) and isinstance(description, dict | None)
            if not (is_known and isinstance(dtype, str)) or stored is description is None:
                row = [stored, dtype, shape, description]
                raise ValueError(f"{name}: expected the description of a leaf, found {row}")
            info = LeafInfo(tuple(map(operator.index, shape)), dtype)
            leaves[key_of(name)] = EncodedLeaf(info, stored, description)
        structure = json.loads(described["structure"])
    form = {**_tensorstore.ZARR, "fill_missing_data_reads": False}
    return Contents(directory, leaves, lambda: structure, form)


_End: TypeAlias = EncodedLeaf | dict[str, Any] | list[Any] | None
"""A leaf, or a node without children."""


def _theirs(directory: Directory) -> Contents:
    path, directory = directory.path, _item_in(directory)
    ends: dict[Key, _End] = {}
    lists: set[Key] = set()
    options: dict[str, Any] = {}
    with parsing(path, "its description cannot be read"):
        if directory.kind_of(_OLD_METADATA) == "file":
            ends = _old_ends(directory, lists)
        if directory.kind_of(_METADATA) == "file":
            options = json.loads(directory.read(_METADATA))
            for key, end in _ends(options, _random_keys(directory), lists).items():
                # Only the old file has the values that are not in arrays.
                old = ends.get(key)
                has_value = isinstance(old, EncodedLeaf) and not old.is_array
                if not has_value or (isinstance(end, EncodedLeaf) and end.is_array):
                    ends[key] = end
    if not ends:
        raise damaged(path, "Orbax has left no description of the contents")
    leaves = {key: end for key, end in ends.items() if isinstance(end, EncodedLeaf)}
    return Contents(
        directory,
        leaves,
        lambda: structure_of(leaves, ends, lists),
        {
            "driver": "zarr3" if options.get("use_zarr3") else "zarr",
            "fill_missing_data_reads": options.get(_HAS_ALL_CHUNKS) is not True,
        },
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
    raise damaged(path, "a directory that Orbax did not write, or did not finish")


def _is_item(directory: Directory) -> bool:
    names = (_METADATA, _OLD_METADATA, _tensorstore.MANIFEST)
    return any(directory.kind_of(name) == "file" for name in names)


def _ends(described: Any, random_keys: Mapping[str, str], lists: set[Key]) -> dict[Key, _End]:
    """Return what `_METADATA` lists, and add the keys of its lists to `lists`."""
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


def _old_ends(directory: Directory, lists: set[Key]) -> dict[Key, _End]:
    """Return what the old msgpack file holds, and add the keys of its lists to `lists`."""
    with contextlib.closing(MsgpackCheckpoint(directory.path / _OLD_METADATA)) as old:
        lists |= old.lists
        ends: dict[Key, _End] = dict(old.ends)
        (values,) = old.read(dict.fromkeys(old.leaves))
    for key, value in values.items():
        ends[key] = EncodedLeaf(info_of(value), None, None, value)
        if isinstance(value, str) and value.startswith(_PLACEHOLDER):
            ends[key] = EncodedLeaf(None, value.removeprefix(_PLACEHOLDER), None)
    return ends


def _random_keys(directory: Directory) -> dict[str, str]:
    """Return the implementation of typed PRNG keys by the name of the array with their data."""
    found: dict[str, str] = {}
    inside = directory / "array_metadatas"
    for name in inside.names():
        for stated in json.loads(inside.read(name))["array_metadatas"]:
            array = stated["array_metadata"]
            implementation = (array.get("ext_metadata") or {}).get("random_key_impl")
            if implementation is not None:
                found[str(array["param_name"])] = str(implementation)
    return found
