"""Flatten a pytree: the keys of its leaves, and its structure in dicts and lists."""

import contextlib
import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np

from fifteen._text import printable

from .._errors import CheckpointError, raise_if_foreign
from ._damage import MAX_LINES
from ._keys import Key, name_of

_leaf_types: set[type] = {bool, int, float, complex, str, bytes, np.ndarray}
"""Types that are known to be leaves: asking JAX about each of many thousands is slow."""


@dataclasses.dataclass(frozen=True, slots=True)
class FlatTree:
    keys: list[Key]  # Of the leaves, all different.
    leaves: list[Any]  # In JAX's order.
    structure: Any  # Dicts, lists, None, and the numbers of the leaves; see `_keys.unflatten`.


def flatten(
    tree: Any, by_fields: bool = True, is_static: Callable[[Any], bool] | None = None
) -> FlatTree:
    """Flatten a pytree; None takes the place of leaves that are static.

    With `by_fields`, the children of a dataclass have the names of its fields, even if it is
    registered without key paths, as by jax_dataclasses. JAX and Orbax number such children.

    Two children of a node with the same name are refused, as in `OrderedDict({1: x, "1": y})`.
    """
    keys: list[Key] = []
    leaves: list[Any] = []
    twins: list[Key] = []

    def walk(node: Any, key: Key) -> Any:
        children = None if type(node) in _leaf_types else _children(node, key, by_fields)
        if children is None:
            if node is None or (is_static is not None and is_static(node)):
                return None
            keys.append(key)
            leaves.append(node)
            return len(keys) - 1
        described: dict[str, Any] = {}
        for part, child in children:
            if part in described:
                twins.append((*key, part))
            described[part] = walk(child, (*key, part))
        if isinstance(node, list | tuple) and not hasattr(node, "_fields"):
            return list(described.values())
        # JSON has no integer keys.
        return to_json(described) if _has_integer_keys(node, described) else described

    with refusing_depth():
        structure = walk(tree, ())
    if twins:
        names = sorted(printable(name_of(key)) for key in twins)
        more = f" and {len(names) - MAX_LINES} more" if len(names) > MAX_LINES else ""
        raise CheckpointError(
            f"leaves with the same name: {', '.join(names[:MAX_LINES])}{more}; rename one of each; "
            "dict keys such as 1 and '1' give the same name"
        )
    return FlatTree(keys, leaves, structure)


def to_json(structure: Any) -> str:
    with refusing_depth():
        return json.dumps(structure, separators=(",", ":"))


@contextlib.contextmanager
def refusing_depth() -> Generator[None]:
    """Raise a clear error if Python cannot recurse as deeply as the pytree is nested."""
    try:
        yield
    except (RecursionError, SystemError) as error:
        # JAX's C++ code raises a SystemError from the RecursionError.
        if not isinstance(
            error.__cause__ if isinstance(error, SystemError) else error, RecursionError
        ):
            raise
        raise CheckpointError(
            "the target is nested too deeply; use fewer levels, or raise sys.setrecursionlimit"
        ) from None


def _children(node: Any, key: Key, by_fields: bool) -> Sequence[tuple[str, Any]] | None:
    """Return a node's children by name; None for a leaf, and for None."""
    kind = type(node)
    if kind is dict or kind is defaultdict:
        try:
            return [(str(part), node[part]) for part in sorted(node)]
        except TypeError:
            kinds = ", ".join(sorted({type(part).__name__ for part in node}))
            raise CheckpointError(
                f"{printable(name_of(key))}: JAX cannot sort the keys of this dict, whose types "
                f"are {kinds}; use keys of one type"
            ) from None
    if kind is list or kind is tuple:
        return [(str(number), child) for number, child in enumerate(node)]
    if isinstance(node, jax.Array):
        _leaf_types.add(kind)
        return None
    pairs, _ = jax.tree.flatten_with_path(node, is_leaf=lambda other: other is not node)
    if node is None or (len(pairs) == 1 and not pairs[0][0]):
        return None
    is_numbered = bool(pairs) and type(pairs[0][0][0]) is jax.tree_util.FlattenedIndexKey
    names = _fields_of(node) if by_fields and is_numbered and dataclasses.is_dataclass(node) else {}
    return [
        (names.get(number) or _part(path[0]), child) for number, (path, child) in enumerate(pairs)
    ]


def _part(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _has_integer_keys(node: Any, children: Mapping[str, Any]) -> bool:
    """Whether a node is a dict whose keys are all integers; NumPy's equal Python's."""
    if not isinstance(node, Mapping) or not node:
        return False
    keys = list(cast(Mapping[Any, Any], node))
    if not all(isinstance(key, int | np.integer) and not isinstance(key, bool) for key in keys):
        return False
    # A user's node class may give its children other names.
    return {str(int(key)) for key in keys} == set(children)


def _fields_of(node: Any) -> dict[int, str]:
    """Return the field of each child of a dataclass by the child's number; of all or none."""
    try:
        return _fields_of_stand_in(node)
    except Exception as error:
        # The class may refuse placeholders as children.
        raise_if_foreign(error, lambda: _fields_of_stand_in(node))
        return {}


def _fields_of_stand_in(node: Any) -> dict[int, str]:
    # Placeholders, since two fields may hold the same object.
    definition = jax.tree.structure(node, is_leaf=lambda other: other is not node)
    children = [object() for _ in range(definition.num_leaves)]
    numbers = {id(child): number for number, child in enumerate(children)}
    stand_in = jax.tree.unflatten(definition, children)
    names: dict[int, str] = {}
    for field in dataclasses.fields(stand_in):
        number = numbers.get(id(getattr(stand_in, field.name, None)))
        if number is not None:
            names[number] = field.name
    are_unique = len(names) == len(children) and len(set(names.values())) == len(children)
    return names if are_unique else {}
