"""Contents: which leaves an Orbax directory has, and how they are nested.

Our own `fifteen.json` describes the leaves if it is there; see `_manifest`. Otherwise Orbax's
`_METADATA` lists each leaf's path with the kind of its value. Before there was `_METADATA`, a
msgpack file called `checkpoint` held the tree, with a placeholder for each array.
"""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from fifteen._text import printable

from ..._errors import CheckpointError
from ...storage import Directory
from .._damage import UNPARSABLE, damaged
from .._dtypes import info_of
from .._flax_msgpack import MsgpackCheckpoint
from .._keys import Key, structure_of
from .._reader import DESCRIPTION, LeafInfo
from . import _tensorstore
from ._manifest import EncodedLeaf, description_from

_METADATA, _OLD_METADATA = "_METADATA", "checkpoint"
_PLACEHOLDER = "PLACEHOLDER://"
_HAS_ALL_CHUNKS = "store_array_data_equal_to_fill_value"
_ARRAYS = ("jax.Array", "np.ndarray", "scalar")
_LIST_INDEX = 1
"""Orbax's `KeyType` of an index in a list."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a directory contains."""

    directory: Directory  # The one with the arrays.
    leaves: Mapping[Key, EncodedLeaf]  # In the order of the pytree.
    structure: Any  # A function that returns the pytree's structure.
    is_zarr3: bool  # The version of the arrays' format.
    has_all_chunks: bool  # See `_tensorstore.spec_of`.


def contents_of(directory: Directory) -> Contents:
    """Return what a directory contains."""
    is_ours = directory.kind_of(DESCRIPTION) == "file"
    return _ours(directory) if is_ours else _theirs(directory)


def _ours(directory: Directory) -> Contents:
    try:
        leaves, structure = description_from(directory.read(DESCRIPTION).decode())
    except (*UNPARSABLE, RecursionError) as error:
        raise damaged(
            directory.path,
            f"{DESCRIPTION} is not a description that fifteen wrote "
            f"({type(error).__name__}: {error})",
        ) from None
    return Contents(directory, leaves, lambda: structure, is_zarr3=False, has_all_chunks=True)


_End: TypeAlias = EncodedLeaf | dict[str, Any] | list[Any] | None
"""A leaf, or a node without children."""


def _theirs(directory: Directory) -> Contents:
    path, directory = directory.path, _item_in(directory)
    ends: dict[Key, _End] = {}
    lists: set[Key] = set()
    options: dict[str, Any] = {}
    try:
        if directory.kind_of(_OLD_METADATA) == "file":
            ends = _old_ends(directory, lists)
        if directory.kind_of(_METADATA) == "file":
            options = json.loads(directory.read(_METADATA))
            for key, end in _ends(options, _random_keys(directory), lists).items():
                # Only the old file has the values that are not in arrays.
                old = ends.get(key)
                if (
                    (isinstance(end, EncodedLeaf) and end.is_array)
                    or not isinstance(old, EncodedLeaf)
                    or old.is_array
                ):
                    ends[key] = end
    except (*UNPARSABLE, RecursionError) as error:
        problem = f"its description cannot be read ({type(error).__name__}: {error})"
        raise damaged(path, problem) from None
    if not ends:
        raise damaged(path, "Orbax has left no description of the contents")
    leaves = {key: end for key, end in ends.items() if isinstance(end, EncodedLeaf)}
    numbers: dict[Key, Any] = {key: number for number, key in enumerate(leaves)}
    return Contents(
        directory,
        leaves,
        lambda: structure_of({key: numbers.get(key, end) for key, end in ends.items()}, lists),
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
