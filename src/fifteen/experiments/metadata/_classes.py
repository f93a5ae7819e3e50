"""The schemas of classes with fields, and of unknown classes."""

from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ._collections import MERGE_REFUSED
from ._fields import UNSET, Fields, class_tag, fields_of, full_name, kind_of_class, subclasses
from ._problems import Problem, construct, did_you_mean, each, expected
from ._scalars import shorten
from ._schema import YAML, Context, Declared, Schema, Schemas, load_untagged, tagged, type_name
from ._yaml import pyyaml_mapping, quoted

_OBJECT = f"{YAML}python/object"


def make_class(schemas: Schemas, declared: Declared) -> Schema | None:
    """Make the schema of a class with fields, or of a base of such classes."""
    expression, origin, _ = declared
    if not kind_of_class(origin):
        return None
    return _ClassSchema(schemas, fields_of(expression), type_name(expression)).schema()


def family(cls: Any) -> list[type]:
    """Return a class and its subclasses that have fields."""
    return [c for c in (cls, *subclasses(cls)) if kind_of_class(c)] if cls else []


def class_named(node: Node, candidates: list[type]) -> type | None:
    """Return the candidate named by a tag of ours, PyYAML, dcargs or tyro."""
    prefix, _, name = node.tag.rpartition(":")
    if prefix not in ("!dataclass", "!namedtuple") and not node.tag.startswith(_OBJECT):
        return None
    named = [c for c in candidates if full_name(c) == name]
    # A class of the script (`__main__`) may have moved to a module.
    short = name.removeprefix("__main__.") if prefix[0] == "!" else name.rpartition(".")[2]
    named = named or [c for c in candidates if c.__name__ == short]
    names = {full_name(c) for c in named}
    if len(names) > 1:
        ways = " or ".join(f"{prefix}:{n}" for n in sorted(names))
        raise Problem(f"{len(names)} classes are named {name!r}; say which, as {ways}", node)
    return named[0] if named else None


def load_class(node: Node, context: Context, candidates: list[type], own: Schema | None) -> Any:
    """Load a node whose tag may name one of some classes; NotImplemented if it names none."""
    if not candidates:
        return NotImplemented
    cls = class_named(node, candidates)
    if cls is None:
        name = node.tag.rpartition(":")[2]
        is_object = node.tag.startswith((f"{_OBJECT}:", f"{_OBJECT}/new:"))
        is_known = node.tag in context.schemas.tags or name == "uuid.UUID"
        if not node.tag.startswith(("!dataclass:", "!namedtuple:")) and (is_known or not is_object):
            return NotImplemented
        names = [c.__name__ for c in candidates]
        raise Problem(
            f"expected {' or '.join(names[:10])}, got the class {shorten(repr(name))}"
            f"{did_you_mean(name.rpartition('.')[2], names)}; a class must be imported before it "
            "is read; if it has another name today, write that in the tag: !dataclass:NAME",
            node,
        )
    schema = own if own and own.classes()[0] is cls else context.schemas.of(cls)
    if node.tag.startswith(_OBJECT):
        is_call = type(node) is SequenceNode and kind_of_class(cls) == "namedtuple"
        node = _with_names(node, cls) if is_call else pyyaml_mapping(node)
    return schema.load_node(node, context)


def _with_names(node: Node, cls: type) -> Node:
    pairs = [(ScalarNode("", field.name, part.start_mark, part.end_mark), part)
             for field, part in zip(fields_of(cls).all, node.value, strict=False)]  # fmt: skip
    return MappingNode("", pairs, node.start_mark, node.end_mark)


class _ClassSchema:
    """The schema of a class with fields."""

    def __init__(self, schemas: Schemas, fields: Fields, name: str) -> None:
        self.fields = fields
        self.cls: Any = fields.cls
        self.name = name
        self.names = [field.name for field in fields.all]
        self.styles = {name: quoted(name).style for name in self.names}
        self.schemas = {f.name: schemas.of(f.type, fields.cls) for f in fields.all}
        self.by_key = {alias: f.name for f in fields.all for alias in f.aliases}
        self.by_key.update({name: name for name in self.names})

    def schema(self) -> Schema:
        cls, is_dict = self.cls, self.fields.kind == "typeddict"
        if is_dict:
            tags = ("!dict", f"!dataclass:{cls.__name__}")
            return Schema(self.name, {"map": 1}, self.accept, self.dump, self.load, tags)
        schema = Schema(
            self.name, {"map": 1}, self.accept, self.dump, self.load,
            load_tagged=lambda node, context: load_class(node, context, family(cls), schema),
            classes=lambda: family(cls),
        )  # fmt: skip
        return schema

    def accept(self, value: Any) -> Any:
        if self.fields.kind != "typeddict":
            return value if isinstance(value, self.cls) else UNSET
        if type(value) is not dict or not value.keys() <= self.schemas.keys():
            return UNSET
        lacks = any(f.required and f.name not in value for f in self.fields.all)
        return UNSET if lacks else value

    def dump(self, value: Any, context: Context) -> Node:
        if self.fields.kind == "typeddict":
            names, parts = list(value), list(value.values())
        elif type(value) is not self.cls:
            return _dump_subclass(value, self.cls, context)
        else:
            names = self.names
            try:
                parts = [getattr(value, name) for name in names]
            except AttributeError as error:
                raise Problem(f"a field has no value: {error}") from None
            if getattr(value, "model_extra", None) and self.fields.kind == "pydantic":
                raise Problem(f"values that are not fields: {_some(list(value.model_extra))}")
        nodes = each(names, [self.schemas[name].dump for name in names], parts, context)
        keys = (ScalarNode("", name, style=self.styles[name]) for name in names)
        return MappingNode("", list(zip(keys, nodes, strict=True)))

    def load(self, node: Node, context: Context) -> Any:
        if type(node) is not MappingNode:
            expected(self.name, node, f", a mapping of {_some(self.names)}")
        known: dict[str, Node] = {}
        problems = Problem()
        unknown: list[Node] = []
        for key, value in node.value:
            name = self.by_key.get(key.value) if type(key) is ScalarNode else None
            if name is None:
                unknown.append(key)
            elif name in known:
                problems.add(f"the field {name!r} appears twice", key)
            else:
                known[name] = value
        if unknown or len(known) < len(self.names):
            self.check_keys(node, known, unknown, problems, context)
        values: list[Any] = []
        with problems:
            loads = [self.schemas[name].load for name in known]
            values = each(known, loads, known.values(), context)
        problems.raise_if_any()
        arguments = dict(zip(known, values, strict=True))
        return construct(self.name, lambda: self.make(arguments), node)

    def check_keys(
        self,
        node: Node,
        known: dict[str, Node],
        unknown: list[Node],
        problems: Problem,
        context: Context,
    ) -> None:
        """Collect problems of a mapping's keys, and warn about suspicious ones."""
        fields = [f for f in self.fields.all if f.name not in known and f.argument and f.required]
        missing = [field.name for field in fields]
        for key in unknown:
            is_text = type(key) is ScalarNode
            if is_text and key.value == "<<" and not key.style:
                problems.add(MERGE_REFUSED, key)
                continue
            text = str(key.value) if is_text else "(not text)"
            hint = did_you_mean(text, missing or self.names)
            what = f"{self.name} has no field {shorten(repr(text))}"
            if not missing:
                context.warnings.append(("", key, f"{what}, which is ignored{hint}"))
                continue
            gap = f"{_some(missing)} {'is' if len(missing) == 1 else 'are'} missing"
            problems.add(
                f"{what}, and {gap}{hint} (if it was renamed, declare "
                'field(metadata={"aliases": (...)}); if it is gone, delete the line)',
                key,
            )
        for field in fields if not unknown else ():
            if not field.default:
                reason = f"{self.name} needs {field.name!r}, which has no default and is missing"
                problems.add(reason, node)

    def make(self, values: dict[str, Any]) -> Any:
        if self.fields.kind == "typeddict":
            return values
        if self.fields.callable:
            made = self.cls(**{f.argument: values[f.name] for f in self.fields.all
                               if f.argument and f.name in values})  # fmt: skip
        else:
            made = object.__new__(self.cls)
            for f in self.fields.all:
                if f.name not in values and f.default:
                    values[f.name] = f.default()
        # As in pickle, a field gets its stored value, not one that the constructor computes.
        for name, value in values.items():
            if getattr(made, name, UNSET) is not value:
                object.__setattr__(made, name, value)
        return made


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")


def _dump_subclass(value: Any, base: Any, context: Context) -> Node:
    cls: Any = type(value)
    node = context.schemas.of(cls).dump_accepted(value, context)
    tag = class_tag(cls, family(base))
    context.classes[tag] = cls
    return tagged(node, tag)


def make_opaque(schemas: Schemas, declared: Declared) -> Schema:
    """Make the schema of an unknown class, or of a base of classes with fields."""
    expression, origin, _ = declared
    # A class that implements a protocol need not inherit from it, so no tag could name it.
    is_base = isinstance(origin, type) and not getattr(origin, "_is_protocol", False)
    cls: Any = origin if is_base else None
    name = type_name(expression)

    def dump(value: Any, context: Context) -> Node:
        if not kind_of_class(type(value)):
            raise Problem(_why_not(value))
        return _dump_subclass(value, cls, context)

    def load(node: Node, context: Context) -> Any:
        names = ", ".join(f"!dataclass:{c.__name__}" for c in family(cls)[:8])
        if names:
            raise Problem(f"expected {name}; say which with a tag, one of {names}", node)
        value = load_untagged(node, context)
        return value if cls and isinstance(value, cls) else expected(name, node)

    return Schema(
        name, {"map": 1}, lambda v: v if cls and isinstance(v, cls) else UNSET, dump, load,
        load_tagged=lambda node, context: load_class(node, context, family(cls), None),
        classes=lambda: family(cls),
    )  # fmt: skip


def _why_not(value: Any) -> str:
    cls = type(value)
    name = type_name(cls)
    if callable(value) and hasattr(value, "__qualname__"):
        is_lambda = "<lambda>" in value.__qualname__
        what = "a lambda" if is_lambda else f"the {name} {value.__qualname__}"
        return f"{what}: code is not written; write its name, and look the name up"
    if hasattr(value, "read") and hasattr(value, "close"):
        return "an open file; write its path"
    for base in (str, int, float, complex, bytes, dict, list, tuple, set):
        if issubclass(cls, base):
            return f"a {name}, which would come back as a plain {base.__name__}; convert it to one"
    return f"a {cls.__module__}.{name} is not written; make it a dataclass, or write its parts"
