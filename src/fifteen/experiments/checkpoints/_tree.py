"""The keys of a pytree's leaves, and its structure in dicts and lists."""

import collections
import contextlib
import dataclasses
import itertools
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np

from .._errors import CheckpointError
from ._damage import MAX_LINES, printable
from ._keys import Key, name_of

_DICT_KEY = jax.tree_util.DictKey
_NUMBER = jax.tree_util.FlattenedIndexKey

_leaf_types: set[type] = {bool, int, float, complex, str, bytes, np.ndarray}
"""Types of leaves that JAX need not be asked about."""


def flatten(tree: Any, by_fields: bool = True) -> tuple[list[Key], list[Any], Any]:
    """Return the keys and the leaves of a pytree, and its definition.

    Args:
        tree: the pytree.
        by_fields: name the children of a dataclass by its fields also where it is registered
            without key paths, as jax_dataclasses does it. To JAX and Orbax they are numbered.

    Raises:
        CheckpointError: two leaves have the same key, as `OrderedDict({1: x, "1": y})` has, or the
            keys of a dict cannot be sorted.
    """
    # Not remembered by the definition: keys such as 1 and 1.0 are equal, and not called alike.
    try:
        pairs, definition = jax.tree.flatten_with_path(tree)
    except (TypeError, ValueError):
        _refuse_unordered_keys(tree)
        raise
    # There may be many thousands, nearly all of them in dicts.
    keys = [
        tuple([str(entry.key) if type(entry) is _DICT_KEY else _part(entry) for entry in path])
        for path, _ in pairs
    ]
    if by_fields and _NUMBER in {type(entry) for path, _ in pairs for entry in path}:
        keys = list(_walk(tree, ()))
    if len(set(keys)) < len(keys):
        counts = collections.Counter(keys)
        raise CheckpointError(_said_of_twins([key for key, count in counts.items() if count > 1]))
    return keys, [leaf for _, leaf in pairs], definition


def _said_of_twins(keys: Iterable[Key]) -> str:
    names = sorted(printable(name_of(key)) for key in keys)
    more = f" and {len(names) - MAX_LINES} more" if len(names) > MAX_LINES else ""
    return (
        f"leaves with the same name: {', '.join(names[:MAX_LINES])}{more}; rename one of each: "
        "only the text of a dict's key tells it from others"
    )


def _refuse_unordered_keys(tree: Any) -> None:
    """Name the first dict whose keys JAX cannot sort, if there is one."""
    for path, node in jax.tree.flatten_with_path(tree, is_leaf=_has_unordered_keys)[0]:
        if _has_unordered_keys(node):
            kinds = ", ".join(sorted({type(key).__name__ for key in node}))
            raise CheckpointError(
                f"{printable(name_of(tuple(map(_part, path))))}: JAX cannot sort the keys of this "
                f"dict, which are of the types {kinds}; use keys of one type"
            ) from None


def _has_unordered_keys(node: Any) -> bool:
    if type(node) not in (dict, collections.defaultdict):
        return False
    try:
        sorted(node)
    except TypeError:
        return True
    return False


@contextlib.contextmanager
def refusing_depth() -> Generator[None]:
    """Say of a pytree that is to be saved that its depth is what Python does not stand."""
    try:
        yield
    except (RecursionError, SystemError) as error:
        # JAX's own code tells of it in this way.
        if isinstance(error, SystemError) and not isinstance(error.__cause__, RecursionError):
            raise
        raise CheckpointError(
            "cannot save the target: it is nested too deeply; save what is far below by itself"
        ) from None


def _walk(node: Any, parents: Key) -> Iterator[Key]:
    children = _children(node, by_fields=True)
    if children is None:
        yield parents
        return
    for part, child in children:
        yield from _walk(child, (*parents, part))


def structure(tree: Any, statics: Iterable[bool], by_fields: bool = True) -> str:
    """Describe a pytree in JSON: a dict, a list, a null, or the number of a leaf.

    Lists and tuples are lists; everything else with children is a dict by the names of `Key`. A
    dict by integers, which JSON has not, is the text of such a dict.

    Args:
        tree: the pytree.
        statics: for each leaf whether it is a part of the program, which stands as a null and
            has no number.
        by_fields: as `flatten` was told.

    Raises:
        CheckpointError: two children of a node have the same name.
    """
    is_static = iter(statics)
    number = itertools.count()
    path: list[str] = []

    def describe(node: Any) -> Any:
        if node is None:
            return None
        children = _children(node, by_fields)
        if children is None:
            return None if next(is_static) else next(number)
        described: dict[str, Any] = {}
        for part, child in children:
            path.append(part)
            if part in described:
                raise CheckpointError(_said_of_twins([tuple(path)]))
            described[part] = describe(child)
            path.pop()
        if isinstance(node, list | tuple) and not hasattr(node, "_fields"):
            return list(described.values())
        return _dump(described) if _is_by_integers(node, children) else described

    return _dump(describe(tree))


def _part(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _is_by_integers(node: Any, children: Sequence[tuple[str, Any]]) -> bool:
    """Whether a node is a dict by integers, also by NumPy's, which are equal to Python's."""
    if not isinstance(node, Mapping) or not node:
        return False
    keys = list(cast(Mapping[Any, Any], node))
    for key in keys:
        if not isinstance(key, int | np.integer) or isinstance(key, bool):
            return False
    # A node of one's own may call its children otherwise.
    return {str(int(key)) for key in keys} == {part for part, _ in children}


def _dump(described: Any) -> str:
    return json.dumps(described, separators=(",", ":"))


def _children(node: Any, by_fields: bool) -> list[tuple[str, Any]] | None:
    """Return a node's children by name, or None for a leaf."""
    # Nearly all nodes are of these types, and there may be many thousands.
    kind = type(node)
    if kind in _leaf_types:
        return None
    if kind is dict:
        return [(str(key), node[key]) for key in sorted(node)]
    if kind is list or kind is tuple:
        return [(str(number), child) for number, child in enumerate(node)]
    if isinstance(node, jax.Array):
        _leaf_types.add(kind)
        return None
    pairs, _ = jax.tree.flatten_with_path(node, is_leaf=lambda other: other is not node)
    if len(pairs) == 1 and not pairs[0][0] and pairs[0][1] is node:
        return None
    is_numbered = bool(pairs) and type(pairs[0][0][0]) is _NUMBER
    names = _fields_of(node) if by_fields and is_numbered and dataclasses.is_dataclass(node) else {}
    return [
        (names.get(number, _part(path[0])), child) for number, (path, child) in enumerate(pairs)
    ]


def _fields_of(node: Any) -> dict[int, str]:
    """Return the fields' names of a dataclass's children by their numbers, of all or of none."""
    try:
        return _fields_of_stand_in(node)
    except Exception as error:
        first = error
    # The node may refuse to hold anything but its own children, and does so each time. What does
    # not come again is a signal handler's.
    try:
        _fields_of_stand_in(node)
    except type(first):
        return {}
    raise first


def _fields_of_stand_in(node: Any) -> dict[int, str]:
    # What stands in the fields does not count, since two of them may hold the same object.
    definition = jax.tree.structure(node, is_leaf=lambda other: other is not node)
    children = [_Placeholder() for _ in range(definition.num_leaves)]
    numbers = {id(child): number for number, child in enumerate(children)}
    stand_in = jax.tree.unflatten(definition, children)
    names: dict[int, str] = {}
    for field in dataclasses.fields(stand_in):
        # A field may be none of the object's.
        number = numbers.get(id(getattr(stand_in, field.name, None)))
        if number is not None:
            names[number] = field.name
    is_whole = len(names) == len(children) and len(set(names.values())) == len(children)
    return names if is_whole else {}


class _Placeholder:
    """A leaf that stands for another one."""
