"""The keys of a pytree's leaves, their names, and the nested dicts and lists that keys describe.

A key has one string per level of the pytree above the leaf: the key of a dict, the name of an
attribute or of a namedtuple's field, or the index in a list, tuple or custom node, each as its
`str`. The state dicts of flax, the key paths of Orbax and our own files all have such keys, so a
leaf has the same key in each. The exception is a dataclass without key paths: we and flax use the
names of its fields, and Orbax numbers them. The leaf of a pytree without levels has the empty key.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

Key = tuple[str, ...]

_RESERVED = "__metadata__"
"""A name that safetensors reserves. A leaf of this name is called `~__metadata__`, as no other leaf
can be, since a digit follows each tilde in an escaped name."""

_ROOT = "~"
"""The name of a pytree that is a single leaf. No escaped key is a lone tilde."""


def name_of(key: Key) -> str:
    """Join a key with `/`, escaped as in a JSON pointer (RFC 6901)."""
    if not key:
        return _ROOT
    name = "/".join([part.replace("~", "~0").replace("/", "~1") for part in key])
    return f"~{name}" if name == _RESERVED else name


def key_of(name: str) -> Key:
    if "~" not in name:
        return tuple(name.split("/"))
    if name == _ROOT:
        return ()
    if name == f"~{_RESERVED}":
        return (_RESERVED,)
    return tuple([part.replace("~1", "/").replace("~0", "~") for part in name.split("/")])


def unflatten(structure: Any, leaves: Sequence[Any]) -> Any:
    """Put leaves into a structure: dicts and lists that contain the leaves' numbers, or None.

    A dict with integer keys, which JSON lacks, is stored as the JSON text of a dict. If the
    structure is malformed, this raises one of `UNPARSABLE`.
    """
    used: list[int] = []

    def put(node: Any) -> Any:
        if isinstance(node, str):
            return {int(part): put(child) for part, child in json.loads(node).items()}
        if isinstance(node, Mapping):
            items = cast(Mapping[str, Any], node).items()
            return {part: put(child) for part, child in items}
        if isinstance(node, list):
            return [put(child) for child in cast(list[Any], node)]
        if node is None:
            return None
        used.append(node)
        return leaves[node]

    nested = put(structure)
    if sorted(used) != list(range(len(leaves))):
        raise ValueError("the structure does not contain each leaf exactly once")
    return nested


def structure_of(
    leaves: Iterable[Key], ends: Mapping[Key, Any] | None = None, lists: Collection[Key] = ()
) -> Any:
    """Nest the leaves' numbers by their keys.

    `ends` has None and empty dicts and lists by key, and may have leaves, whose order then counts.
    `lists` has the keys of nodes that are lists. Raises `ValueError` if a key is a prefix of
    another, or an index in a list is not a number.
    """
    numbers = {key: number for number, key in enumerate(leaves)}
    return _nested({**(ends or {}), **numbers}, lists, ())


def _nested(ends: Mapping[Key, Any], lists: Collection[Key], above: Key) -> Any:
    """Nest ends whose keys all begin with `above`."""
    if above in ends:
        if len(ends) > 1:
            raise ValueError(f"{name_of(above)} is both a leaf and a node that contains others")
        return ends[above]
    children: dict[str, dict[Key, Any]] = {}
    for key, end in ends.items():
        children.setdefault(key[len(above)], {})[key] = end
    if above in lists:
        parts = sorted(children, key=int)
        return [_nested(children[part], lists, (*above, part)) for part in parts]
    return {part: _nested(child, lists, (*above, part)) for part, child in children.items()}
