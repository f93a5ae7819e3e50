"""The keys of a pytree's leaves, their names, and the nested dicts and lists that keys describe.

A key has one string per level of the pytree above the leaf: the key of a dict, the name of an
attribute or of a namedtuple's field, or the index in a list, tuple or custom node, each as its
`str`. The state dicts of flax, the key paths of Orbax and our own files all have such keys, so a
leaf has the same key in each. The exception is a dataclass without key paths: we and flax use the
names of its fields, and Orbax numbers them. The leaf of a pytree without levels has the empty key.
"""

import json
from collections.abc import Collection, Mapping, Sequence
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
    """Split a name into its key."""
    if "~" not in name:
        return tuple(name.split("/"))
    if name == _ROOT:
        return ()
    if name == f"~{_RESERVED}":
        return (_RESERVED,)
    return tuple([part.replace("~1", "/").replace("~0", "~") for part in name.split("/")])


def unflatten(structure: Any, leaves: Sequence[Any]) -> Any:
    """Put leaves into a structure: dicts and lists that contain the leaves' numbers, or None.

    A dict with integer keys, which JSON lacks, is stored as the JSON text of a dict.

    Raises:
        ValueError: the structure does not contain each leaf once.
        AttributeError, IndexError or TypeError: the structure is malformed.
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
    ends: Mapping[Key, Any], lists: Collection[Key] = frozenset(), above: Key = ()
) -> Any:
    """Nest the ends of a tree by their keys: leaves' numbers, None, or empty dicts and lists.

    `lists` has the keys of nodes that are lists. All keys begin with `above`.

    Raises:
        ValueError: a key is a prefix of another, or an index in a list is not a number.
    """
    if above in ends:
        if len(ends) > 1:
            raise ValueError(f"{name_of(above)} is both a leaf and a node that contains others")
        return ends[above]
    children: dict[str, dict[Key, Any]] = {}
    for key, end in ends.items():
        children.setdefault(key[len(above)], {})[key] = end
    if above in lists:
        parts = sorted(children, key=int)
        return [structure_of(children[part], lists, (*above, part)) for part in parts]
    return {part: structure_of(child, lists, (*above, part)) for part, child in children.items()}
