"""Values where no type is declared: written with tags that tell their classes, read by those."""

import collections.abc
import dataclasses
import enum
import sys
import typing
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode

from ._arrays import (
    as_plain_number,
    decode_array,
    encode_array,
    finish,
    is_array,
)
from ._atoms import ATOMS_BY_CLASS, ATOMS_BY_TAG, read_atom
from ._basic import BOOL, FLOAT, INT, NONE, STR, encode_text
from ._classes import class_tag, decode_as
from ._codec import (
    CLASS_TAGS,
    Codec,
    Writing,
    codec_of,
    refuse_type,
    type_name,
    undeclared,
    without_tag,
)
from ._containers import (
    MAPPINGS,
    SEQUENCES,
    decode_items,
    decode_pairs,
    encode_items,
    encode_pairs,
)
from ._dtypes import dtype_text, is_dtype, parse_dtype_value
from ._legacy import decode_legacy
from ._namespaces import NAMESPACES
from ._problems import Reading, Refusal, did_you_mean
from ._ranges import decode_range, encode_range
from ._scalars import format_float, format_int, quote, resolve_plain, shorten
from ._tree import Mapping, Sequence, Text, Tree
from ._types import form_kind

_ANYTHING = frozenset(["null", "bool", "int", "float", "str", "date", "datetime", "seq", "map"])


def _encoder(open_to_classes: bool) -> Any:
    """Return what writes any value.

    Args:
        open_to_classes: whether the value may hold objects of classes. Where a field is declared
            as Any it may not, since no reader could know the class; where nothing is declared
            yet (a dict that is written as it is), the reader's type will tell.
    """

    def encode(value: Any, writing: Writing) -> Tree:
        cls: Any = type(value)
        if cls is str:
            return encode_text(value)
        if cls is int:
            return format_int(value)
        if cls is float:
            return format_float(value)
        if value is None:
            return "null"
        if cls is bool:
            return "true" if value else "false"
        if cls in SEQUENCES:
            tag = "" if cls is list else SEQUENCES[cls][0]
            return Sequence(encode_items(value, encode, writing), tag)
        if cls in MAPPINGS:
            tag = "" if cls is dict else MAPPINGS[cls][0]
            return Mapping(encode_pairs(value.items(), encode, encode, writing), tag)
        atom = ATOMS_BY_CLASS.get(cls)
        if atom is not None:
            return atom.encode_tagged(value)
        if is_array(value):
            number = as_plain_number(value)
            return encode_array(value, tagged=True) if is_array(number) else encode(number, writing)
        if cls is range:
            return encode_range(value, "!range")
        if is_dtype(value):
            return f"!dtype {quote(dtype_text(value))}"
        if cls in NAMESPACES:
            pairs = encode_pairs(vars(value).items(), encode, encode, writing)
            return Mapping(pairs, NAMESPACES[cls])
        if _is_missing(value):
            return "!missing ''"
        return _encode_object(value, writing, open_to_classes)

    return encode


def _encode_object(value: Any, writing: Writing, open_to_classes: bool) -> Tree:
    cls = type(value)
    if not (isinstance(value, enum.Enum) or form_kind(cls)):
        raise Refusal.because(_why_not(value))
    if not open_to_classes:
        raise Refusal.because(
            f"a {type_name(cls)} where no type is declared that could tell a reader its class; "
            f"declare the field as {type_name(cls)}"
        )
    codec = codec_of(cls)
    if isinstance(value, enum.Enum):
        return (codec.tagged or codec.encode)(value, writing)
    tag = class_tag(cls, [cls])
    if writing.classes.get(tag, cls) is not cls:
        writing.namesakes.add(cls.__name__)
    if cls.__name__ in writing.namesakes:
        tag = class_tag(cls, [cls, cls])
    writing.classes[tag] = cls
    tree = codec.encode(value, writing)
    return Mapping(tree.pairs, tag) if type(tree) is Mapping else tree


def _why_not(value: Any) -> str:
    cls = type(value)
    name = type_name(cls)
    if callable(value) and hasattr(value, "__qualname__"):
        what = (
            "a lambda" if "<lambda>" in value.__qualname__ else f"the {name} {value.__qualname__}"
        )
        return f"{what}: code is not written; write its name, and look the name up"
    if hasattr(value, "read") and hasattr(value, "close"):
        return "an open file; write its path"
    for base in (str, int, float, complex, bytes, dict, list, tuple, set):
        if issubclass(cls, base):
            return f"a {name}, which would come back as a plain {base.__name__}; convert it to one"
    return (
        f"a {cls.__module__}.{name} is not written; make it a dataclass, or write what it is made "
        "from"
    )


def _is_missing(value: Any) -> bool:
    """Tell whether a value is what tyro or dcargs put where the command line must give one."""
    modules = (sys.modules.get("tyro"), sys.modules.get("dcargs"))
    return any(m is not None and value is getattr(m, "MISSING", m) for m in modules)


encode_strict = _encoder(open_to_classes=False)
encode_open = _encoder(open_to_classes=True)

_FORCED: dict[type, str] = {type(None): "!null", bool: "!bool", int: "!int", float: "!float",
                            str: "!str", list: "!list", dict: "!dict"}  # fmt: skip


def _encode_off_type(value: Any, writing: Writing, codec: Codec) -> Tree:
    value = as_plain_number(value)
    cls = type(value)
    if isinstance(value, enum.Enum) or form_kind(cls):
        raise refuse_type(value, codec.name)
    tree = encode_strict(value, writing)
    atom = ATOMS_BY_CLASS.get(cls)
    tag = atom.tag if atom and atom.plain else _FORCED.get(cls)
    if tag is None:
        return tree
    if type(tree) is str:
        return f"{tag} {tree}"
    if type(tree) is Text:
        return f"{tag} {_one_line(tree.value)}"
    return Sequence(tree.items, tag) if type(tree) is Sequence else Mapping(tree.pairs, tag)  # pyright: ignore[reportAttributeAccessIssue]


def _one_line(text: str) -> str:
    return quote(text)


def _decode_untagged(node: Node, reading: Reading) -> Any:
    if type(node) is ScalarNode:
        if node.style:
            return node.value
        try:
            return resolve_plain(node.value, reading.modern)
        except ValueError:
            return node.value
    if type(node) is MappingNode:
        return decode_pairs(node, ANY, ANY, reading)
    return decode_items(node, ANY, reading)


_SCALAR_CODECS = (("!null", NONE), ("!bool", BOOL), ("!int", INT), ("!float", FLOAT), ("!str", STR))
_CODECS_BY_TAG: dict[str, Codec] = {
    **dict(_SCALAR_CODECS),
    **{tag: codec for _, codec in _SCALAR_CODECS for tag in codec.tags},
}


def _decode(node: Node, reading: Reading) -> Any:
    if not node.tag:
        return _decode_untagged(node, reading)
    tag: str = node.tag
    if tag in _CODECS_BY_TAG:
        return without_tag(node, reading, _CODECS_BY_TAG[tag].decode)
    if tag in ATOMS_BY_TAG:
        return read_atom(ATOMS_BY_TAG[tag], node, reading)
    for cls, tags in (*SEQUENCES.items(), *MAPPINGS.items()):
        if tag in tags:
            return without_tag(node, reading, codec_of(cls).decode)
    for cls, own in NAMESPACES.items():
        if tag == own:
            return without_tag(node, reading, codec_of(cls).decode)
    if tag == "!range":
        return decode_range(node, reading)
    if tag == "!dtype" and type(node) is ScalarNode:
        try:
            return parse_dtype_value(node.value)
        except ValueError as error:
            return reading.error(node, str(error))
    if tag in ("!array", "!jax_array"):
        return _decode_tagged_array(node, reading)
    if tag == "!missing":
        return _missing()
    cls = reading.classes.get(tag)
    if cls is not None:
        return decode_as(codec_of(cls), cls, node, reading)
    if reading.bare and tag.startswith(CLASS_TAGS):
        return _decode_named(node, reading)
    value = decode_legacy(node, reading)
    if value is not NotImplemented:
        return value
    return _decode_named(node, reading) if reading.bare else _unknown_tag(node, reading)


CLASS_KEY = "!class"


def _decode_named(node: Node, reading: Reading) -> Any:
    """Read what a tag names as plain data: code as its name, an object as a mapping."""
    tag = node.tag.replace("tag:yaml.org,2002:", "!!")
    kind, _, name = tag.partition(":")
    if kind in ("!!python/name", "!!python/module"):
        return name
    value = _decode_untagged(node, reading)
    if kind == "!enum":
        return value
    if type(node) is ScalarNode:
        return f"{name or tag} {value}".strip()
    parts = value if type(node) is MappingNode else {"args": value}
    return {CLASS_KEY: name or tag, **parts}


def _decode_tagged_array(node: Node, reading: Reading) -> Any:
    before = len(reading.errors)
    array = without_tag(node, reading, decode_array)
    if len(reading.errors) > before:
        return None
    try:
        return finish(array, node.tag == "!jax_array")
    except ValueError as error:
        return reading.error(node, str(error))


def _unknown_tag(node: Node, reading: Reading) -> None:
    tag = node.tag.replace("tag:yaml.org,2002:", "!!")
    if tag.startswith(CLASS_TAGS):
        name = tag.partition(":")[2]
        reading.error(
            node,
            f"the class {shorten(repr(name))} is not declared here; "
            "read the file with a type that names it",
        )
    elif tag.startswith("!!python/"):
        reading.error(node, f"the tag {shorten(tag, 100)} asks for code, which is never run")
    else:
        known = [*_CODECS_BY_TAG, *ATOMS_BY_TAG, "!tuple", "!set", "!array"]
        reading.error(node, f"unknown tag {shorten(tag, 100)}{did_you_mean(tag, known)}")


def _missing() -> Any:
    dcargs = sys.modules.get("dcargs")
    if dcargs is not None:
        return dcargs.MISSING
    import tyro

    return tyro.MISSING


undeclared.decode = _decode
undeclared.decode_untagged = _decode_untagged
undeclared.encode = encode_open
undeclared.encode_off_type = _encode_off_type

ANY = Codec(
    "any value", _ANYTHING, lambda value: True, encode_strict, _decode_untagged,
    special=_decode, owner=True,
)  # fmt: skip
OPEN = dataclasses.replace(ANY, encode=encode_open)


def make_any(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Return the codec of Any, object, and of a type variable that nothing is known of."""
    if expression is Any or origin is object or origin is collections.abc.Hashable:
        return ANY
    if isinstance(expression, typing.TypeVar):
        return OPEN
    return None


def make_opaque(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec:
    """Make the codec of a class that nothing is known of, or of a base of classes with fields."""
    from ._classes import decode_subclass, family

    cls: Any = origin
    is_class = isinstance(cls, type)
    name = type_name(expression)

    def accepts(value: Any) -> bool:
        return is_class and isinstance(value, cls)

    def encode(value: Any, writing: Writing) -> Tree:
        if is_class and isinstance(value, cls) and form_kind(type(value)):
            tag = class_tag(type(value), family(cls))
            writing.classes[tag] = type(value)
            tree = codec_of(type(value)).encode(value, writing)
            return Mapping(tree.pairs, tag) if type(tree) is Mapping else tree
        if is_dtype(value):
            return encode_strict(value, writing)
        return _encode_off_type(value, writing, codec)

    def decode(node: Node, reading: Reading) -> Any:
        if is_class and family(cls):
            names = ", ".join(f"!dataclass:{c.__name__}" for c in family(cls)[:8])
            return reading.error(node, f"expected {name}; say which with a tag, one of {names}")
        value = _decode_untagged(node, reading)
        return value if accepts(value) else reading.expected(node, name)

    def special(node: Node, reading: Reading) -> Any:
        return decode_subclass(cls, node, reading) if is_class and family(cls) else NotImplemented

    codec = Codec(
        name, frozenset(["map"]), accepts, encode, decode, special=special, tagged=encode,
        base=cls if is_class else None,
    )  # fmt: skip
    return codec
