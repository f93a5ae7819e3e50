"""The schema of a type: how its values are dumped to YAML nodes and loaded from them.

Factories create schemas, each for some type expressions. To support a type, add a hook (`_values`)
if its values can be written as another type's, else a factory (`_registry`).
"""

import collections
import dataclasses
import enum
import functools
import threading
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias, Union, get_args, get_origin

import numpy as np
from yaml.nodes import MappingNode, Node, ScalarNode

from .._errors import MetadataError
from ._fields import UNSET, class_tag, is_mapping_class, kind_of_class
from ._hints import bind, strip
from ._numbers import as_plain_number, is_dtype
from ._problems import Part, Problem, did_you_mean, expected
from ._scalars import resolve_plain, shorten

YAML = "tag:yaml.org,2002:"
CLASS_TAGS = ("!dataclass:", "!namedtuple:", "!enum:")
CLASS_KEY = "!class"
"""The key of a class's name in a mapping that is read without its types."""

OPEN_ITEM: Any = typing.TypeVar("OPEN_ITEM")
"""Like Any, but tags may name classes, since the reader declares them."""


@dataclasses.dataclass(eq=False)
class Context:
    """The state of one dump or load."""

    schemas: "Schemas"
    modern: bool = True  # We wrote the file. This decides the meaning of undeclared plain text.
    pyyaml: bool = False  # dcargs or tyro wrote it, with PyYAML.
    bare: bool = False  # A file is read without its types, as plain data.
    # The classes that tags name if no type is declared.
    classes: dict[str, type] = dataclasses.field(default_factory=dict[str, type])
    # Warnings about suspicious parts.
    warnings: list[Part] = dataclasses.field(default_factory=list[Part])
    misfits: int = 0  # The number of scalars read as another type than their text suggests.
    is_trial: bool = False  # This load tries one of several types.
    # The results of trials, without which unions in unions take exponential time.
    tried: dict[Any, tuple[Any, "Context"]] = dataclasses.field(default_factory=dict[Any, Any])

    def trial(self, load: Callable[[Node, "Context"], Any], node: Node) -> Any:
        """Return a loader's result, or its Problem, and the context of the trial."""
        key = (load, id(node), node.tag)
        if key not in self.tried:
            trial = dataclasses.replace(self, warnings=[], misfits=0, is_trial=True)
            try:
                result = load(node, trial)
            except Problem as problem:
                result = problem
            self.tried[key] = result, trial
        return self.tried[key]

    def adopt(self, trial: "Context") -> None:
        """Take over the warnings and misfits of a successful trial."""
        self.warnings += trial.warnings
        self.misfits += trial.misfits


@dataclasses.dataclass(eq=False)
class Schema:
    """How values of one type are dumped and loaded."""

    name: str  # The type, for messages.
    # For each kind of untagged node that the type can be loaded from, how natural that is: 0 if the
    # node is of the type even if none is declared, 1 for the type's own form, 2 and 3 for forms
    # that it takes if no other type does.
    ranks: Mapping[str, float]
    accept: Callable[[Any], Any]  # A value as the type has it, or UNSET.
    dump_accepted: Callable[[Any, Context], Node]  # The untagged node of an accepted value.
    load_node: Callable[[Node, Context], Any]  # The value of a node, whatever its tag.
    # The first is written if the declared type does not say it; the others are in older files.
    tags: tuple[str, ...] = ()
    # The value of a node with another tag, or NotImplemented.
    load_tagged: Callable[[Node, Context], Any] = lambda node, context: NotImplemented
    classes: Callable[[], list[type]] = list  # The classes that a tag may name.
    members: "tuple[Schema, ...]" = ()  # The alternatives of a union.

    @property
    def tag(self) -> str:
        """The tag to write, or an empty string."""
        return self.tags[0] if self.tags else ""

    def dump(self, value: Any, context: Context) -> Node:
        """Return the node of a value, with a tag if the value is not of the type."""
        accepted = self.accept(value)
        if accepted is not UNSET:
            return self.dump_accepted(accepted, context)
        # The tag brings it back as it was.
        node = dump_any(value, context, declared=self.name)
        return tagged(node, node.tag or context.schemas.own(type(as_plain_number(value))).tag)

    def load(self, node: Node, context: Context) -> Any:
        """Return the value of a node, or raise Problem."""
        if not node.tag or node.tag in self.tags:
            return self.load_node(node, context)
        value = self.load_tagged(node, context)
        if value is not NotImplemented:
            return value
        value = load_any(node, context)
        accepted = self.accept(value)
        if accepted is not UNSET:
            return accepted
        # We and PyYAML write such tags for a value off its declared type.
        is_ours = node.tag.startswith("!") and not node.tag.startswith(CLASS_TAGS)
        is_meant = is_ours or node.tag in (f"{YAML}binary", f"{YAML}python/tuple")
        return value if is_meant else expected(self.name, node)


class Declared(NamedTuple):
    """A type expression, with its origin (itself if it has none) and its arguments."""

    expression: Any
    origin: Any
    arguments: tuple[Any, ...]


Factory: TypeAlias = Callable[["Schemas", Declared], Schema | None]
"""Makes the schema of a type, or returns None if it is of another kind."""


class Schemas:
    """All schemas, each made when it is first asked for, by the first factory that knows it.

    `tags` are those of types. `loaders` load the tags of other writers, or return NotImplemented.
    """

    def __init__(
        self,
        factories: Sequence[Factory],
        tags: Mapping[str, Any],
        loaders: Sequence[Callable[[Node, Context], Any]],
    ) -> None:
        self.tags = tags
        self.loaders = loaders
        self._factories = factories
        self._lock = threading.RLock()
        self._unfinished: dict[Any, Schema] = {}
        self._make = functools.lru_cache(maxsize=4096)(self._make_uncached)
        self.own = functools.lru_cache(maxsize=4096)(self._own_uncached)

    def of(self, expression: Any, owner: Any = None) -> Schema:
        """Return the schema of any type expression; `owner` is the class of Self."""
        if isinstance(expression, str | typing.ForwardRef):
            raise MetadataError(f"{expression!r} is the name of a type; pass the type itself")
        expression = strip(bind(strip(expression), {}, owner))
        with self._lock:
            # A type that contains itself finds its unfinished schema here.
            return self._unfinished.get(expression) or self._make(expression)

    def _make_uncached(self, expression: Any) -> Schema:
        unfinished: Any = object.__new__(Schema)
        unfinished.name = type_name(expression)
        self._unfinished[expression] = unfinished
        declared = Declared(expression, get_origin(expression) or expression, get_args(expression))
        try:
            schema = next(s for make in self._factories if (s := make(self, declared)))
        except BaseException:
            # Other schemas may refer to the unfinished one.
            self._make.cache_clear()
            raise
        finally:
            del self._unfinished[expression]
        unfinished.__dict__.update(schema.__dict__)
        return unfinished

    def _own_uncached(self, cls: type, item: Any = Any) -> Schema:
        """Return the schema of a class, with items of the given type if it is a container."""
        count = 2 if is_mapping_class(cls) else _ITEMS.get(cls, 0)
        arguments = {1: item, 2: (item, item), 3: (item, ...)}.get(count)
        return self.of(cls if arguments is None else types.GenericAlias(cls, arguments))


_ITEMS: dict[type, int] = {list: 1, set: 1, frozenset: 1, collections.deque: 1, tuple: 3}
"""Containers by their type arguments: [item] or [item, ...]."""


def type_name(expression: Any) -> str:
    """Return a type as written in code."""
    if expression is None or expression is types.NoneType:
        return "None"
    origin, arguments = get_origin(expression), get_args(expression)
    if origin is None and isinstance(expression, type):
        return expression.__qualname__.rpartition("<locals>.")[2]
    if origin in (Union, types.UnionType):
        return " | ".join(map(type_name, arguments))
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None and arguments and not isinstance(arguments[0], list):
        inner = ", ".join("..." if a is Ellipsis else type_name(a) for a in arguments)
        return f"{type_name(origin)}[{inner}]"
    return str(expression).replace("typing.", "")


def kind_of(node: Node, modern: bool = True) -> str:
    """Return the kind of an untagged node: null, int, str, date, seq, map..."""
    if type(node) is not ScalarNode:
        return "map" if type(node) is MappingNode else "seq"
    if node.style:
        return "str"
    value = resolve_plain(node.value, modern)
    return "null" if value is None else type(value).__name__


def dump_any(value: Any, context: Context, item: Any = Any, declared: str = "no type") -> Node:
    """Dump a value by its own class, with a tag unless the node alone shows the class."""
    value = as_plain_number(value)
    cls = type(value)
    if cls is object:
        # Its own schema is the one of any object, which would call this function again.
        raise Problem("a plain object() is not written: it holds nothing")
    schema = context.schemas.own(np.dtype if is_dtype(value) else cls, item)
    if isinstance(value, enum.Enum) or kind_of_class(cls):
        if item is Any:
            raise Problem(
                f"a {type_name(cls)}, but {declared} is declared; declare the field as "
                f"{type_name(cls)}, so that a reader knows its class"
            )
        tag = schema.tag or class_tag(cls, [cls])
        if context.classes.setdefault(tag, cls) is not cls:
            raise Problem(f"another class is named {cls.__name__} too; declare the types")
        return tagged(schema.dump_accepted(value, context), tag)
    node = schema.dump_accepted(value, context)
    return node if schema.ranks.get(kind_of(node)) == 0 else tagged(node, schema.tag)


def tagged(node: Node, tag: str) -> Node:
    """Give a new node a tag."""
    node.tag = tag
    return node


def load_any(node: Node, context: Context) -> Any:
    """Return the value of a node if no type is declared: its tag and its text decide."""
    tag = node.tag
    if not tag:
        return load_untagged(node, context)
    if tag in context.schemas.tags:
        return context.schemas.of(context.schemas.tags[tag]).load_node(node, context)
    if tag in context.classes:
        return context.schemas.of(context.classes[tag]).load(node, context)
    if not (context.bare and tag.startswith(_CODE_TAGS)):
        for load in context.schemas.loaders:
            value = load(node, context)
            if value is not NotImplemented:
                return value
    return _load_bare(node, context) if context.bare else _unknown_tag(node)


def load_untagged(node: Node, context: Context) -> Any:
    """Return the value of a node as if it had no tag."""
    if type(node) is not ScalarNode:
        cls = dict if type(node) is MappingNode else list
        return context.schemas.own(cls).load_node(node, context)
    # Without a type, a text that looks like a number is one, also in handwritten files.
    is_modern = context.modern or (context.bare and not context.pyyaml)
    return node.value if node.style else resolve_plain(node.value, is_modern)


_CODE_TAGS = (f"{YAML}python/name:", f"{YAML}python/module:")


def _load_bare(node: Node, context: Context) -> Any:
    """Load an unknown tag as plain data: code as its name, an object as a mapping."""
    name = node.tag.partition(":")[2] if node.tag[0] == "!" else node.tag.rpartition(":")[2]
    if node.tag.startswith(_CODE_TAGS):
        return name
    value = load_untagged(node, context)
    if node.tag.startswith("!enum:"):
        return value
    if type(node) is ScalarNode:
        return f"{name or node.tag} {value}".strip()
    parts = value if type(node) is MappingNode else {"args": value}
    return {CLASS_KEY: name or node.tag, **parts}


def _unknown_tag(node: Node) -> NoReturn:
    tag = shorten(node.tag.replace(YAML, "!!"), 100)
    if tag.startswith(CLASS_TAGS):
        name = shorten(repr(tag.partition(":")[2]))
        reason = f"the class {name} is not declared here; read the file with a type that names it"
    elif tag.startswith("!!python/"):
        reason = f"the tag {tag} asks for code, which is never run"
        if tag.startswith(("!!python/object:", "!!python/object/new:")):
            name = tag.rpartition(":")[2].rpartition(".")[2]
            reason += f"; if {name} is a class with another name today, "
            reason += "write !dataclass:NAME in its place"
    else:
        reason = f"unknown tag {tag}{did_you_mean(tag, ('!tuple', '!set', '!array', '!path'))}"
    raise Problem(reason, node)


_KINDS = ("null", "bool", "int", "float", "str", "date", "datetime", "seq", "map")


# In a union, Any ranks below the natural form of other types (0) and above their own form (1).
ANY = Schema(
    "any value", dict.fromkeys(_KINDS, 0.5), lambda v: v, dump_any, load_untagged,
    load_tagged=load_any,
)  # fmt: skip
OPEN = dataclasses.replace(ANY, dump_accepted=lambda v, c: dump_any(v, c, OPEN_ITEM))
