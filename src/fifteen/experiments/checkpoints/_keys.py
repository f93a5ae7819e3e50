"""The names of a pytree's leaves, and its shape in dicts and lists."""

import collections
import contextlib
import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import jax
import numpy as np

from .._errors import CheckpointError
from ._stored import Key, printable

T = TypeVar("T")

_RESERVED = "__metadata__"
"""What no tensor of a safetensors file can be called. After a tilde, where an escaped name has a
digit, it is free."""

_SHOWN = 20
"""How many names an error lists."""

_DICT_KEY = jax.tree_util.DictKey
_NUMBER = jax.tree_util.FlattenedIndexKey

_ROOT = "~"
"""The name of a pytree that is a single leaf. No escaped key is a lone tilde."""


def name_of(key: Key) -> str:
    """Join a key to a name with `/`, escaped as in a JSON pointer (RFC 6901)."""
    if not key:
        return _ROOT
    name = "/".join(part.replace("~", "~0").replace("/", "~1") for part in key)
    return f"~{name}" if name == _RESERVED else name


def key_of(name: str) -> Key:
    """Take a name apart again."""
    if name == _ROOT:
        return ()
    if name == f"~{_RESERVED}":
        return (_RESERVED,)
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in name.split("/"))


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
        keys = _remembering(
            lambda known: list(_fields_of_definition(known, tuple(keys))),
            lambda whole: list(_walk(whole, ())),
            tree,
            definition,
        )
    if len(set(keys)) < len(keys):
        counts = collections.Counter(keys)
        repeated = sorted(printable(name_of(key)) for key, count in counts.items() if count > 1)
        more = f" and {len(repeated) - _SHOWN} more" if len(repeated) > _SHOWN else ""
        raise CheckpointError(
            f"leaves with the same name: {', '.join(repeated[:_SHOWN])}{more}; rename one of each, "
            "since a dict's keys are told apart by their text"
        )
    return keys, [leaf for _, leaf in pairs], definition


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


def structure(
    tree: Any,
    definition: Any,
    statics: tuple[bool, ...],
    keys: Sequence[Key],
    by_fields: bool = True,
) -> str:
    """Describe a pytree in JSON: a dict, a list, a null, or the number of a leaf.

    Lists and tuples are lists; everything else with children is a dict by the names of `Key`. A
    dict by integers, which JSON has not, is the text of such a dict.

    Args:
        tree: the pytree.
        definition: its definition.
        statics: for each leaf whether it is a part of the program, which stands as a null and
            has no number.
        keys: its leaves' keys.
        by_fields: as `flatten` was told.
    """
    return _remembering(
        lambda known: _structure_of_definition(known, statics, tuple(keys), by_fields),
        lambda whole: _structure(whole, statics, by_fields),
        tree,
        definition,
    )


def _remembering(
    by_definition: Callable[[Any], T], by_tree: Callable[[Any], T], tree: Any, definition: Any
) -> T:
    """Answer from a pytree's definition, which a loop saves again and again, if possible."""
    try:
        return by_definition(definition)
    except CheckpointError:
        raise
    except Exception:
        # The definition cannot be hashed, or a node refuses to hold anything but its own leaves.
        return by_tree(tree)


# A definition holds what is static in a pytree, such as a whole model, so that few are kept.
@functools.lru_cache(maxsize=2)
def _structure_of_definition(
    definition: Any, statics: tuple[bool, ...], names: tuple[Key, ...], by_fields: bool
) -> str:
    # Definitions are equal where keys are, which need not be called alike.
    del names
    return _structure(_hollow(definition), statics, by_fields)


@functools.lru_cache(maxsize=2)
def _fields_of_definition(definition: Any, names: tuple[Key, ...]) -> tuple[Key, ...]:
    del names
    return tuple(_walk(_hollow(definition), ()))


def forget() -> None:
    """Let go of the definitions that are remembered."""
    _structure_of_definition.cache_clear()
    _fields_of_definition.cache_clear()


def _hollow(definition: Any) -> Any:
    """Return a pytree of a definition.

    Raises:
        ValueError: its nodes make something else of what they do not know.
    """
    hollow = jax.tree.unflatten(definition, [_Placeholder() for _ in range(definition.num_leaves)])
    if jax.tree.structure(hollow) != definition:
        raise ValueError("a node changes its leaves")
    return hollow


class _Placeholder:
    """A leaf that stands for another one."""


def _part(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _structure(tree: Any, statics: tuple[bool, ...], by_fields: bool) -> str:
    is_static = iter(statics)
    number = itertools.count()

    def describe(node: Any) -> Any:
        if node is None:
            return None
        children = _children(node, by_fields)
        if children is None:
            return None if next(is_static) else next(number)
        described = [(part, describe(child)) for part, child in children]
        if isinstance(node, list | tuple) and not hasattr(node, "_fields"):
            return [child for _, child in described]
        return _dump(dict(described)) if _is_by_integers(node, children) else dict(described)

    return _dump(describe(tree))


def _is_by_integers(node: Any, children: Sequence[tuple[str, Any]]) -> bool:
    """Whether a node is a dict by integers, also by NumPy's, which are equal to Python's."""
    if not isinstance(node, Mapping) or not node:
        return False
    keys = list(cast(Mapping[Any, Any], node))
    if not all(isinstance(key, int | np.integer) and not isinstance(key, bool) for key in keys):
        return False
    # A node of one's own may call its children otherwise.
    return {str(int(key)) for key in keys} == {part for part, _ in children}


def _dump(described: Any) -> str:
    return json.dumps(described, separators=(",", ":"))


def _children(node: Any, by_fields: bool) -> list[tuple[str, Any]] | None:
    """Return a node's children by name, or None for a leaf."""
    pairs, _ = jax.tree.flatten_with_path(node, is_leaf=lambda other: other is not node)
    if len(pairs) == 1 and not pairs[0][0] and pairs[0][1] is node:
        return None
    is_numbered = bool(pairs) and type(pairs[0][0][0]) is _NUMBER
    names = _fields_of(node) if by_fields and is_numbered and dataclasses.is_dataclass(node) else {}
    return [
        (names.get(number, _part(path[0])), child) for number, (path, child) in enumerate(pairs)
    ]


def _fields_of(node: Any) -> dict[int, str]:
    """Return the fields' names of a dataclass's children by their numbers, of all or of none.

    What stands in the fields does not count, since two of them may hold the same object.
    """
    definition = jax.tree.structure(node, is_leaf=lambda other: other is not node)
    children = [_Placeholder() for _ in range(definition.num_leaves)]
    numbers = {id(child): number for number, child in enumerate(children)}
    names: dict[int, str] = {}
    # It may refuse to hold anything but its own children, or a field may be none of the object's.
    with contextlib.suppress(Exception):
        stand_in = jax.tree.unflatten(definition, children)
        for field in dataclasses.fields(stand_in):
            number = numbers.get(id(getattr(stand_in, field.name)))
            if number is not None:
                names[number] = field.name
    is_whole = len(names) == len(children) and len(set(names.values())) == len(children)
    return names if is_whole else {}


def nest(described: Any, leaves: Sequence[Any]) -> Any:
    """Put leaves into what `structure` described.

    Raises:
        ValueError: it does not have each of them once.
    """
    used: list[int] = []

    def put(described: Any) -> Any:
        if isinstance(described, Mapping):
            children = cast(Mapping[str, Any], described)
            return {part: put(child) for part, child in children.items()}
        if isinstance(described, list):
            return [put(child) for child in cast(list[Any], described)]
        if isinstance(described, str):
            return {int(part): put(child) for part, child in json.loads(described).items()}
        if described is None:
            return None
        used.append(described)
        return leaves[described]

    nested = put(described)
    if sorted(used) != list(range(len(leaves))):
        raise ValueError("it does not have each leaf once")
    return nested
