"""The codec of classes with fields: dataclasses, attrs classes, NamedTuples, TypedDicts."""

import operator
from collections.abc import Callable
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ._codec import (
    Codec,
    Writing,
    codec_of,
    read_tagged,
    refuse_type,
    type_name,
    undeclared,
    without_tag,
)
from ._containers import MERGE_REFUSED
from ._problems import Reading, Refusal, did_you_mean
from ._scalars import quote, shorten
from ._tree import Mapping, Tree
from ._types import Field, Form, form_kind, form_of, subclasses

_PREFIX = "tag:yaml.org,2002:python/object"


def make_class(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of a class with fields, or of a base of such classes."""
    kind = form_kind(origin)
    if kind == "typeddict":
        return _ClassCodec(form_of(expression), type_name(expression)).typed_dict()
    if kind:
        return _ClassCodec(form_of(expression), type_name(expression)).codec()
    return None


def class_tag(cls: Any, candidates: list[type]) -> str:
    """Return the tag of a class, with its module where another candidate has the same name."""
    prefix = "!namedtuple:" if form_kind(cls) == "namedtuple" else "!dataclass:"
    if sum(c.__name__ == cls.__name__ for c in candidates) > 1:
        return prefix + _full_name(cls)
    return prefix + cls.__name__


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}".replace("<locals>.", "")


def class_named(tag: str, candidates: list[type]) -> type | None:
    """Return the candidate that a tag names: ours, PyYAML's, or that of dcargs and tyro."""
    for prefix in ("!dataclass:", "!namedtuple:"):
        if tag.startswith(prefix):
            name = tag.removeprefix(prefix)
            return next((c for c in candidates if name in (c.__name__, _full_name(c))), None)
    if tag.startswith(_PREFIX):
        name = tag.rpartition(":")[2]
        short = name.rpartition(".")[2]
        exact = [c for c in candidates if _full_name(c) == name]
        return next(iter(exact + [c for c in candidates if c.__name__ == short]), None)
    return None


def namesakes(tag: str, candidates: list[type]) -> list[str]:
    """Return the full names of the candidates that a tag without a module may mean."""
    name = tag.rpartition(":")[2]
    return sorted({_full_name(c) for c in candidates if c.__name__ == name})


def ambiguous(node: Node, others: list[str], reading: Reading) -> None:
    """Record that a tag names several classes."""
    prefix, _, name = node.tag.rpartition(":")
    reading.error(
        node,
        f"{len(others)} classes are named {name!r}; say which, as "
        f"{' or '.join(f'{prefix}:{other}' for other in others)}",
    )


def may_be(codec: Codec, tag: str) -> bool:
    """Tell whether a tag names what a type takes for one of its own."""
    return any(
        tag in member.tags or (member.base and class_named(tag, family(member.base)))
        for member in (codec.members or (codec,))
    )


def family(cls: type) -> list[type]:
    """Return a class and all that inherit from it, as far as they have fields."""
    return [c for c in (cls, *subclasses(cls)) if form_kind(c)]


def decode_subclass(base: type, node: Node, reading: Reading) -> Any:
    """Read a node whose tag may name a class of a family; NotImplemented if it names none."""
    candidates = family(base)
    cls = class_named(node.tag, candidates)
    others = namesakes(node.tag, candidates)
    if cls is not base and len(others) > 1:
        return ambiguous(node, others, reading)
    if cls is not None:
        return decode_as(codec_of(cls), cls, node, reading)
    if not node.tag.startswith(("!dataclass:", "!namedtuple:")):
        return NotImplemented
    names = [c.__name__ for c in candidates]
    name = node.tag.partition(":")[2]
    return reading.error(
        node,
        f"expected {' or '.join(names[:10])}, got the class {shorten(repr(name))}"
        f"{did_you_mean(name, names)}; a class must be imported before it is read",
    )


def decode_as(codec: Codec, cls: type, node: Node, reading: Reading) -> Any:
    """Read a node as a class that its tag names, in the way that the tag calls for."""
    if not node.tag.startswith(_PREFIX):
        return without_tag(node, reading, codec.decode)
    if type(node) is SequenceNode and form_kind(cls) == "namedtuple":
        # PyYAML wrote a NamedTuple as the arguments of its class.
        fields = form_of(cls).fields
        pairs = [
            (ScalarNode("", f.name, item.start_mark, item.end_mark), item)
            for f, item in zip(fields, node.value, strict=False)
        ]
        return codec.decode(MappingNode("", pairs, node.start_mark, node.end_mark), reading)
    if type(node) is MappingNode and node.tag.startswith(_PREFIX + "/new:"):
        state = [v for k, v in node.value if k.value == "state"]
        return codec.read(state[0], reading) if state else reading.expected(node, codec.name)
    return without_tag(node, reading, codec.decode)


class _ClassCodec:
    """What is known beforehand of a class with fields."""

    def __init__(self, form: Form, name: str) -> None:
        self.form = form
        self.name = name
        self.codecs = {field.name: codec_of(field.type, form.cls) for field in form.fields}
        self.fields = {field.name: field for field in form.fields}
        self.keys: dict[str, tuple[str, Codec]] = {}
        for field in form.fields:
            for alias in field.aliases:
                self.keys[alias] = (field.name, self.codecs[field.name])
        for field in form.fields:
            self.keys[field.name] = (field.name, self.codecs[field.name])

    def codec(self) -> Codec:
        """Return the codec of a class whose objects have attributes."""
        cls = self.form.cls

        def encode(value: Any, writing: Writing) -> Tree:
            if type(value) is cls:
                return Mapping(encode_fields(value, writing))
            if isinstance(value, cls) and form_kind(type(value)):
                return _encode_subclass(value, cls, writing)
            return undeclared.encode_off_type(value, writing, codec)

        def tagged(value: Any, writing: Writing) -> Tree:
            if type(value) is not cls:
                return _encode_subclass(value, cls, writing)
            tag = class_tag(cls, family(cls))
            writing.classes[tag] = cls
            return Mapping(encode_fields(value, writing), tag)

        def special(node: Node, reading: Reading) -> Any:
            # The class itself is read with its parameters, which its tag does not name.
            if class_named(node.tag, family(cls)) is cls:
                return decode_as(codec, cls, node, reading)
            return decode_subclass(cls, node, reading)

        encode_fields = self._field_encoder()
        codec = Codec(
            name=self.name,
            kinds=frozenset(["map"]),
            accepts=lambda value: isinstance(value, cls),
            encode=encode,
            decode=self.decode,
            special=special,
            tagged=tagged,
            base=cls,
        )
        return codec

    def typed_dict(self) -> Codec:
        """Return the codec of a TypedDict, whose objects are dicts."""
        required = {field.name for field in self.form.fields if field.required}
        encoders = {name: codec.encode for name, codec in self.codecs.items()}

        def accepts(value: Any) -> bool:
            return (
                type(value) is dict and value.keys() >= required and value.keys() <= encoders.keys()
            )

        def encode(value: Any, writing: Writing) -> Tree:
            if not accepts(value):
                return undeclared.encode_off_type(value, writing, codec)
            pairs: list[tuple[Tree, Tree]] = []
            refused: Refusal | None = None
            for name, part in value.items():
                try:
                    pairs.append((quote(name), encoders[name](part, writing)))
                except Refusal as refusal:
                    refused = refusal.under(f".{name}", refused)
            if refused:
                raise refused
            return Mapping(pairs)

        codec = Codec(
            name=self.name,
            kinds=frozenset(["map"]),
            tags=frozenset([f"!dataclass:{self.form.cls.__name__}", "!dict"]),
            accepts=accepts,
            encode=encode,
            decode=self.decode,
            tagged=lambda value, writing: undeclared.encode(value, writing),
        )
        return codec

    def _field_encoder(self) -> Callable[[Any, Writing], list[tuple[Tree, Tree]]]:
        names = [field.name for field in self.form.fields]
        keys = [quote(name) for name in names]
        if len(names) == 1:
            first = operator.attrgetter(names[0])
            getter: Callable[[Any], Any] = lambda value: (first(value),)  # noqa: E731  # a pair of the next
        else:
            getter = operator.attrgetter(*names) if names else lambda value: ()
        codecs = [self.codecs[name] for name in names]

        def encode_fields(value: Any, writing: Writing) -> list[tuple[Tree, Tree]]:
            try:
                parts = getter(value)
            except AttributeError as error:
                raise Refusal.because(f"a field has no value: {error}") from None
            pairs: list[tuple[Tree, Tree]] = []
            refused: Refusal | None = None
            for name, key, codec, part in zip(names, keys, codecs, parts, strict=True):
                try:
                    pairs.append((key, codec.encode(part, writing)))
                except Refusal as refusal:
                    refused = refusal.under(f".{name}", refused)
            if refused:
                raise refused
            return pairs

        return encode_fields

    def decode(self, node: Node, reading: Reading) -> Any:
        """Read the fields of a mapping, and make the object that has them."""
        if type(node) is not MappingNode:
            return reading.expected(node, self.name, f", a mapping of {_some(list(self.fields))}")
        errors = len(reading.errors)
        values: dict[str, Any] = {}
        unknown: list[ScalarNode] = []
        keys = self.keys
        for key_node, value_node in node.value:
            known = keys.get(key_node.value) if type(key_node) is ScalarNode else None
            if known is None:
                unknown.append(key_node)
                continue
            name, codec = known
            if name in values:
                reading.error(key_node, f"the field {name!r} is there twice")
            if not value_node.tag:
                values[name] = codec.decode(value_node, reading)
            else:
                values[name] = read_tagged(codec, value_node, reading)
        if unknown or len(values) != len(self.fields):
            self._complete(node, values, unknown, reading)
        if len(reading.errors) > errors:
            return None
        try:
            return self._construct(values)
        except Exception as error:
            return reading.error(
                node, f"{self.name} does not take these values: {type(error).__name__}: {error}"
            )

    def _complete(
        self, node: Node, values: dict[str, Any], unknown: list[ScalarNode], reading: Reading
    ) -> None:
        """Say what is wrong with the keys of a mapping."""
        missing = [
            f for f in self.form.fields if f.name not in values and f.argument and f.required
        ]
        names = list(self.fields)
        gap = f"{_some([f.name for f in missing])} {'is' if len(missing) == 1 else 'are'} missing"
        for key in unknown:
            if type(key) is ScalarNode and key.value == "<<" and not key.style:
                reading.error(key, MERGE_REFUSED)
                continue
            text = str(key.value) if type(key) is ScalarNode else "that is no text"
            hint = did_you_mean(text, [f.name for f in missing] or names)
            what = f"{self.name} has no field {shorten(repr(text))}"
            if missing:
                reading.error(
                    key,
                    f"{what}, and {gap}{hint} (if it was renamed, declare "
                    'field(metadata={"aliases": (...)}); if it is gone, delete the line)',
                )
            else:
                reading.unknown.append((key, f"{what}, which is ignored{hint}"))
        if unknown:
            return
        for field in missing:
            if not field.has_default:
                reading.error(
                    node, f"{self.name} needs {field.name!r}, which has no default and is missing"
                )

    def _construct(self, values: dict[str, Any]) -> Any:
        form = self.form
        if form.kind == "typeddict":
            return values
        if form.init and not form.reset and form.kind == "dataclass":
            return form.cls(**values)
        if form.init:
            made = form.cls(**{f.argument: values[f.name] for f in form.fields
                               if f.argument and f.name in values})  # fmt: skip
            if not form.reset:
                return made
        else:
            made = object.__new__(form.cls)
            for field in form.fields:
                if field.name not in values and field.has_default:
                    values[field.name] = _default(field)
        # As pickle does: what was stored is what the fields held, whatever the class made of it.
        for name, value in values.items():
            object.__setattr__(made, name, value)
        return made


def _default(field: Field) -> Any:
    return field.factory() if field.factory else field.default


def _encode_subclass(value: Any, base: type, writing: Writing) -> Tree:
    cls = type(value)
    tag = class_tag(cls, family(base))
    writing.classes[tag] = cls
    tree = codec_of(cls).encode(value, writing)
    if type(tree) is not Mapping:
        raise refuse_type(value, base.__name__)
    return Mapping(tree.pairs, tag)


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return shown + (", ..." if len(names) > 8 else "")
