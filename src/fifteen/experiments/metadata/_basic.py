"""The codecs of None, bool, int, float, str, Literal and Enum."""

import enum
import types
import typing
from typing import Any

from yaml.nodes import Node, ScalarNode

from ._arrays import as_plain_number
from ._codec import Codec, Writing, codec_of, type_name, undeclared
from ._problems import Reading, Refusal, did_you_mean
from ._scalars import (
    BOOLS,
    NULLS,
    ScalarError,
    format_float,
    format_int,
    parse_float,
    parse_int,
    quote,
    resolve_plain,
)
from ._tree import Text, Tree
from ._types import UNSET

_PREFIX = "tag:yaml.org,2002:"


def _tags(*names: str) -> frozenset[str]:
    return frozenset(f"{_PREFIX}{name}" for name in names)


def _decode_none(node: Node, reading: Reading) -> None:
    if type(node) is not ScalarNode or node.style or node.value not in NULLS:
        reading.expected(node, "null")


def _decode_bool(node: Node, reading: Reading) -> Any:
    if type(node) is ScalarNode and not node.style:
        value = BOOLS.get(node.value)
        if value is not None:
            return value
    return reading.expected(node, "bool", "; write true or false")


def _decode_int(node: Node, reading: Reading) -> Any:
    if type(node) is ScalarNode and not node.style:
        text: str = node.value
        # The common case first: a decimal that no version of YAML takes for anything else.
        if len(text) < 19 and text.isdigit() and text[0] != "0" and text.isascii():
            return int(text)
        try:
            return parse_int(text)
        except ScalarError as error:
            return reading.error(node, f"expected int, got {error}")
    return reading.expected(node, "int")


def _decode_float(node: Node, reading: Reading) -> Any:
    if type(node) is ScalarNode and not node.style:
        text: str = node.value
        try:
            value = parse_float(text)
        except ScalarError as error:
            return reading.error(node, f"expected float, got {error}")
        if "." not in text and "e" not in text and "n" not in text:
            reading.inexact += 1
        return value
    return reading.expected(node, "float")


def _decode_str(node: Node, reading: Reading) -> Any:
    if type(node) is ScalarNode and (node.style or node.value not in NULLS):
        if reading.trial and not node.style:
            reading.inexact += type(resolve_plain(node.value, reading.modern)) is not str
        return node.value
    hint = "" if type(node) is not ScalarNode else "; quote it if the text is meant"
    return reading.expected(node, "str", hint)


def _encode_none(value: Any, writing: Writing) -> Tree:
    return "null" if value is None else undeclared.encode_off_type(value, writing, NONE)


def _encode_bool(value: Any, writing: Writing) -> Tree:
    if type(value) is bool:
        return "true" if value else "false"
    number = as_plain_number(value)
    if type(number) is bool:
        return "true" if number else "false"
    return undeclared.encode_off_type(value, writing, BOOL)


def _encode_int(value: Any, writing: Writing) -> Tree:
    if type(value) is int:
        return format_int(value)
    number = as_plain_number(value)
    if type(number) is int:
        return format_int(number)
    return undeclared.encode_off_type(value, writing, INT)


def _encode_float(value: Any, writing: Writing) -> Tree:
    if type(value) is float:
        return format_float(value)
    number = as_plain_number(value)
    if type(number) is float:
        return format_float(number)
    if type(number) is int and _is_exact(number):
        return format_int(number)
    return undeclared.encode_off_type(value, writing, FLOAT)


def _is_exact(value: int) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


def _encode_str(value: Any, writing: Writing) -> Tree:
    if type(value) is str:
        return encode_text(value)
    text = as_plain_number(value)
    if type(text) is str:
        return encode_text(text)
    return undeclared.encode_off_type(value, writing, STR)


def encode_text(value: str) -> Tree:
    """Return a string's tree; one of several lines may get a block of its own."""
    try:
        quoted = quote(value)
    except ScalarError as error:
        raise Refusal.because(str(error)) from None
    return Text(value) if "\n" in value else quoted


def _adopt(wanted: type) -> Any:
    def adopt(value: Any) -> Any:
        number = as_plain_number(value)
        if wanted is float and type(number) is int and _is_exact(number):
            return float(number)
        return number if type(number) is wanted else UNSET

    return adopt


def _accepts_float(value: Any) -> bool:
    if type(value) is float:
        return True
    number = as_plain_number(value)
    return type(number) is float or (type(number) is int and _is_exact(number))


NONE = Codec("None", frozenset(["null"]), lambda v: v is None, _encode_none, _decode_none,
             tags=_tags("null", "python/none"))  # fmt: skip
BOOL = Codec("bool", frozenset(["bool"]), lambda v: type(as_plain_number(v)) is bool, _encode_bool,
             _decode_bool, tags=_tags("bool", "python/bool"), adopt=_adopt(bool))  # fmt: skip
INT = Codec("int", frozenset(["int"]), lambda v: type(as_plain_number(v)) is int, _encode_int,
            _decode_int, tags=_tags("int", "python/int", "python/long"),
            adopt=_adopt(int))  # fmt: skip
FLOAT = Codec("float", frozenset(["float"]), _accepts_float, _encode_float, _decode_float,
              lenient=frozenset(["int"]), tags=_tags("float", "python/float"),
              adopt=_adopt(float))  # fmt: skip
STR = Codec("str", frozenset(["str"]), lambda v: type(v) is str, _encode_str, _decode_str,
            lenient=frozenset(["bool", "int", "float", "date", "datetime"]), owner=True,
            tags=_tags("str", "python/str", "python/unicode"))  # fmt: skip

_BASIC: dict[Any, Codec] = {
    None: NONE,
    types.NoneType: NONE,
    bool: BOOL,
    int: INT,
    float: FLOAT,
    str: STR,
}


def make_basic(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Return the codec of None, bool, int, float and str."""
    try:
        return _BASIC.get(origin)
    except TypeError:
        return None


def make_literal(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of a Literal: its values, each read as its own type."""
    if origin is not typing.Literal:
        return None
    values: list[Any] = []
    for argument in arguments:
        values.extend(typing.get_args(argument) if typing.get_origin(argument) else [argument])
    codecs: dict[type, Codec] = {type(value): codec_of(type(value)) for value in values}
    name = f"one of {', '.join(repr(value) for value in values)}"

    def find(value: Any) -> Any:
        return next((v for v in values if type(v) is type(value) and v == value), UNSET)

    def encode(value: Any, writing: Writing) -> Tree:
        if find(value) is UNSET:
            return undeclared.encode_off_type(value, writing, codec)
        return codecs[type(value)].encode(value, writing)

    def tagged(value: Any, writing: Writing) -> Tree:
        kind = codecs[type(value)]
        return (kind.tagged or kind.encode)(value, writing)

    def decode(node: Node, reading: Reading) -> Any:
        found: list[tuple[int, Any]] = []
        for kind in codecs.values():
            trial = reading.attempt()
            value = find(kind.read(node, trial))
            if not trial.errors and value is not UNSET:
                found.append((trial.inexact, value))
        if found:
            return min(found, key=lambda fit: fit[0])[1]
        text = node.value if type(node) is ScalarNode else ""
        return reading.expected(node, name, did_you_mean(text, [str(v) for v in values]))

    codec = Codec(
        name=name,
        kinds=frozenset().union(*(c.kinds for c in codecs.values())),
        lenient=frozenset().union(*(c.lenient for c in codecs.values())),
        tags=frozenset().union(*(c.tags for c in codecs.values())),
        accepts=lambda value: find(value) is not UNSET,
        encode=encode,
        decode=decode,
        tagged=tagged,
        # Its very words say more than that any path, or any member of an enum, may look like them.
        owner=all(kind.owner for kind in codecs.values()),
    )
    return codec


def make_enum(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of an Enum: its members by name, those of a Flag joined by `|`."""
    if not (isinstance(origin, type) and issubclass(origin, enum.Enum)):
        return None
    members = origin.__members__
    name = type_name(origin)
    tag = f"!enum:{origin.__name__}"

    def encode(value: Any, writing: Writing) -> Tree:
        if type(value) is not origin:
            return undeclared.encode_off_type(value, writing, codec)
        return quote(_member_text(value))

    def tagged(value: Any, writing: Writing) -> Tree:
        writing.classes[tag] = origin
        return f"{tag} {quote(_member_text(value))}"

    def decode(node: Node, reading: Reading) -> Any:
        if type(node) is not ScalarNode:
            return reading.expected(node, f"{name}, one of {', '.join(members)}")
        if node.value in members:
            return members[node.value]
        if issubclass(origin, enum.Flag):
            flag = _parse_flag(origin, node.value)
            if flag is not None:
                return flag
        by_value = [m.name for m in origin if str(m.value) == node.value]
        hint = did_you_mean(node.value, members)
        if by_value:
            hint = f"; that is the value of {by_value[0]!r}, write its name"
        shown = ", ".join(list(members)[:20]) + (", ..." if len(members) > 20 else "")
        return reading.expected(node, f"{name}, one of {shown}", hint)

    def special(node: Node, reading: Reading) -> Any:
        call = f"{_PREFIX}python/object/apply:"
        if not (node.tag.startswith(call) and node.tag.endswith(f".{origin.__name__}")):
            return NotImplemented
        arguments = undeclared.decode_untagged(node, reading)
        try:
            return origin(*arguments)
        except (TypeError, ValueError) as error:
            return reading.error(node, f"expected {name}: {error}")

    codec = Codec(
        name=name,
        kinds=frozenset(["str"]),
        lenient=frozenset(["bool", "int", "null"]),
        tags=frozenset([tag]),
        accepts=lambda value: type(value) is origin,
        encode=encode,
        decode=decode,
        special=special,
        tagged=tagged,
    )
    return codec


def _member_text(value: Any) -> str:
    if not isinstance(value, enum.Flag):
        return value.name
    if value.name is not None and value.name in type(value).__members__:
        return value.name
    rest: int = value.value
    names: list[str] = []
    for member in type(value):
        if member.value and member.value & rest == member.value:
            names.append(member.name or "")
            rest &= ~member.value
    return "|".join(names + ([str(rest)] if rest or not names else []))


def _parse_flag(cls: Any, text: str) -> Any:
    value = 0
    for part in (part.strip() for part in text.split("|")):
        if part in cls.__members__:
            value |= cls.__members__[part].value
        elif part.isdecimal() and len(part) < 40:
            value |= int(part)
        else:
            return None
    try:
        return cls(value)
    except ValueError:
        return None
