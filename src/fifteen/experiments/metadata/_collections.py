"""The schemas of list, tuple, set, mappings and the abstract classes over them."""

import collections
import collections.abc
import itertools
import types
from collections.abc import Sequence
from typing import Any, Union

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fifteen._text import counted

from ._fields import UNSET, is_mapping_class
from ._problems import Problem, construct, each, expected
from ._scalars import shorten
from ._schema import YAML, Context, Declared, Schema, Schemas, load_any, type_name
from ._yaml import pyyaml_mapping, text_of

_TAGS: dict[type, tuple[str, ...]] = {
    list: ("!list", f"{YAML}seq", f"{YAML}python/list"),
    tuple: ("!tuple", f"{YAML}python/tuple"),
    set: ("!set", f"{YAML}set"),
    frozenset: ("!frozenset",),
    dict: ("!dict", f"{YAML}map", f"{YAML}python/dict"),
    collections.OrderedDict: ("!ordered_dict",),
}
TAGS = {tag: cls for cls, tags in _TAGS.items() for tag in tags}

MERGE_REFUSED = "merge keys (<<) are not read; write the keys out, or quote '<<' if it is a name"
_MAX_ALIKE = 100


def check_hashes(keys: Sequence[Any], node: Node | None = None) -> None:
    """Refuse keys crafted to collide: a dict or a set of them could take hours."""
    if len(keys) > _MAX_ALIKE:
        counts = collections.Counter(hash(key) for key in keys if type(key) is not str)
        if counts and max(counts.values()) > _MAX_ALIKE:
            raise Problem(f"more than {_MAX_ALIKE} keys with the same hash", node)


def make_abstract(schemas: Schemas, declared: Declared) -> Schema | None:
    """Return the schema of an abstract class: its first concrete one, or another with a tag."""
    _, origin, arguments = declared
    if origin not in vars(collections.abc).values():
        return None
    classes = [c for c in (list, tuple, set, frozenset) if issubclass(c, origin)]
    classes = classes or [c for c in (dict, collections.OrderedDict) if issubclass(c, origin)]
    if not classes:
        return None
    arguments = arguments or ((Any, Any) if classes[0] is dict else (Any,))
    concrete = [
        types.GenericAlias(c, (*arguments, ...) if c is tuple else arguments) for c in classes
    ]
    return schemas.of(Union[tuple(concrete)])  # noqa: UP007  # known at run time only


def make_sequence(schemas: Schemas, declared: Declared) -> Schema | None:
    """Return the schema of a list, set or tuple, with one item type or one per position."""
    expression, origin, arguments = declared
    if origin not in (list, set, frozenset, tuple):
        return None
    is_fixed = expression == tuple[()] or (
        origin is tuple and bool(arguments) and arguments[-1] is not Ellipsis
    )
    count = len(arguments) if is_fixed else None
    item = schemas.of(arguments[0] if arguments else Any)
    items = [schemas.of(argument) for argument in arguments] if is_fixed else itertools.repeat(item)
    name = type_name(expression)
    is_set = origin in (set, frozenset)

    def accept(value: Any) -> Any:
        return value if type(value) is origin and count in (None, len(value)) else UNSET

    def dump(value: Any, context: Context) -> Node:
        nodes = each(itertools.count(), (item.dump for item in items), value, context)
        # The order of a set differs between processes, but its file must not.
        return SequenceNode("", sorted(nodes, key=text_of) if is_set else nodes)

    def load(node: Node, context: Context) -> Any:
        if type(node) is MappingNode and is_set:
            # A set of YAML 1.1 is a mapping without values.
            nodes = [key for key, _ in node.value]
        elif type(node) is SequenceNode:
            nodes = node.value
        else:
            expected(name, node)
        if count not in (None, len(nodes)):
            if not node.tag:
                expected(f"{name}, {counted(count, 'value')}", node)
            return load_any(node, context)  # A tuple of another length was written with a tag.
        values = each(itertools.count(), (item.load for item in items), nodes, context)
        return _make_set(origin, values, node) if is_set else origin(values)

    return Schema(name, {"seq": 0 if origin is list else 1}, accept, dump, load, _TAGS[origin])


def _make_set(cls: Any, values: list[Any], node: Node) -> Any:
    try:
        check_hashes(values, node)
        result = cls(values)
    except TypeError as error:
        raise Problem(f"{error}; tag lists in it !tuple", node) from None
    if len(result) != len(values):
        raise Problem("a value appears twice in the set", node)
    return result


_FACTORIES = (bool, int, float, str, list, dict, set)
"""The default factories that a type can name; all others are code."""


def make_mapping(schemas: Schemas, declared: Declared) -> Schema | None:
    """Return the schema of a mapping with any types of keys and values."""
    expression, origin, arguments = declared
    if not is_mapping_class(origin):
        return None
    if issubclass(origin, collections.Counter):
        arguments = (*arguments[:1], int) if arguments else ()
    key, item = (schemas.of(a) for a in (arguments if len(arguments) == 2 else (Any, Any)))
    name = type_name(expression)

    def accept(value: Any) -> Any:
        if type(value) is origin:
            return value
        # An OrderedDict has its own tag. Any other mapping is written as its items.
        is_other = type(value) is not collections.OrderedDict and is_mapping_class(type(value))
        return dict(value.items()) if origin is dict and is_other else UNSET

    def dump(value: Any, context: Context) -> Node:
        pairs = dict(value.items())
        keys = each(pairs, itertools.repeat(key.dump), pairs, context)
        items = each(pairs, itertools.repeat(item.dump), pairs.values(), context)
        return MappingNode("", list(zip(keys, items, strict=True)))

    def load(node: Node, context: Context) -> Any:
        if type(node) is not MappingNode:
            expected(name, node)
        values = _load_pairs(node, key, item, context)
        if origin is dict:
            return values
        parts: list[Any] = [values]
        if issubclass(origin, collections.defaultdict):
            made = getattr(arguments[-1], "__origin__", arguments[-1]) if arguments else None
            parts.insert(0, made if made in _FACTORIES else None)
        return construct(name, lambda: origin(*parts), node)

    def load_tagged(node: Node, context: Context) -> Any:
        name = node.tag.rpartition(":")[2].rpartition(".")[2]
        known = ("OrderedDict", "Counter", "defaultdict", origin.__name__)
        if not node.tag.startswith(f"{YAML}python/object") or name not in known:
            return NotImplemented
        return load(pyyaml_mapping(node), context)

    ranks = {"map": 0 if origin is dict else 1}
    return Schema(name, ranks, accept, dump, load, _TAGS.get(origin, ()), load_tagged)


def _load_pairs(node: Node, key: Schema, item: Schema, context: Context) -> dict[Any, Any]:
    nodes = [key_node for key_node, _ in node.value]
    values: list[Any] = []
    # The bad keys are reported along with the bad values.
    keys: list[Any] = [n.value if type(n) is ScalarNode else None for n in nodes]
    problems = Problem()
    with problems:
        keys = each(itertools.repeat(None), itertools.repeat(key.load), nodes, context)
        _check_keys(keys, nodes, node)
    with problems:
        parts = [part for _, part in node.value]
        values = each(keys, itertools.repeat(item.load), parts, context)
    problems.raise_if_any()
    return dict(zip(keys, values, strict=True))


def _check_keys(keys: list[Any], nodes: list[Node], node: Node) -> None:
    """Raise all problems of a mapping's keys."""
    try:
        check_hashes(keys, node)
        unique = dict.fromkeys(keys)
        if len(unique) == len(keys) and "<<" not in unique:
            return
    except TypeError:
        pass
    problems = Problem()
    first: dict[Any, Node] = {}
    for key, key_node in zip(keys, nodes, strict=True):
        reason = ""
        try:
            if first.setdefault(key, key_node) is not key_node:
                line = first[key].start_mark.line + 1
                reason = f"the key {shorten(repr(key))} appears twice, first in line {line}"
        except TypeError:
            reason = f"a {type(key).__name__} cannot be a key; tag it !tuple"
        if key == "<<" and type(key_node) is ScalarNode and not key_node.style:
            reason = MERGE_REFUSED
        if reason:
            problems.add(reason, key_node)
    problems.raise_if_any()
