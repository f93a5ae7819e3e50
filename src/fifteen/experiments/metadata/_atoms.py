"""Values written as one piece of text: what they look like, and how the text is read.

The numbers, strings and None have codecs of their own in `_basic`; this is the rest.
"""

import base64
import binascii
import dataclasses
import datetime
import decimal
import fractions
import pathlib
import re
import uuid
from collections.abc import Callable
from typing import Any

from yaml.nodes import Node, ScalarNode

from ._codec import Codec, Writing, undeclared
from ._problems import Reading, Refusal
from ._scalars import NULLS, ScalarError, parse_datetime, parse_timedelta, quote, shorten
from ._tree import Tree
from ._types import UNSET

BINARY = "tag:yaml.org,2002:binary"


@dataclasses.dataclass(frozen=True)
class Atom:
    """A class whose values are texts.

    Attributes:
        cls: the class; a value must be exactly of it.
        tag: what tells the class where nothing is declared.
        format: returns the text of a value, or raises ScalarError.
        parse: returns the value of a text, or raises ValueError.
        example: a text, for messages.
        kinds: what the text looks like.
        plain: whether the text needs no quotes, and no tag either.
    """

    cls: type
    tag: str
    format: Callable[[Any], str]
    parse: Callable[[str], Any]
    example: str
    kinds: frozenset[str] = frozenset(["str"])
    plain: bool = False

    def encode(self, value: Any) -> str:
        """Return the text as YAML, without a tag where the type is declared."""
        try:
            text = self.format(value)
            if self.tag == "!!binary":
                return f"!!binary '{text}'"
            return text if self.plain else quote(text)
        except ScalarError as error:
            raise Refusal.because(str(error)) from None

    def encode_tagged(self, value: Any) -> str:
        """Return the text as YAML that tells its class."""
        text = self.encode(value)
        return text if self.plain or self.tag == "!!binary" else f"{self.tag} {text}"


def _format_zoned(value: Any) -> str:
    if value.tzinfo is not None and type(value.tzinfo) is not datetime.timezone:
        raise ScalarError(
            f"a time in the zone {value.tzinfo}: only fixed offsets are written exactly; "
            "use .astimezone(datetime.timezone.utc)"
        )
    if value.tzinfo is not None and value.tzinfo.tzname(None) != datetime.timezone(
        value.tzinfo.utcoffset(None)
    ).tzname(None):
        raise ScalarError(f"a time zone with a name of its own, {value.tzinfo.tzname(None)!r}")
    if value.fold:
        raise ScalarError("a time with fold=1, which no text of it shows")
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    return value.isoformat()


def _parse_binary(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ScalarError(f"not base64: {error}") from None


def _format_decimal(value: decimal.Decimal) -> str:
    return str(value)


def _parse_decimal(text: str) -> decimal.Decimal:
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ScalarError(shorten(repr(text))) from None


def _parse_fraction(text: str) -> fractions.Fraction:
    # The exponents that Fraction takes as well could make a number that fills the memory.
    if not re.fullmatch(r"-?\d{1,4000}(?:/\d{1,4000})?", text, re.ASCII):
        raise ScalarError(shorten(repr(text)))
    try:
        return fractions.Fraction(text)
    except ZeroDivisionError:
        raise ScalarError(f"{shorten(repr(text))}, a division by zero") from None


_ATOMS = [
    Atom(complex, "!complex", repr, complex, "(1+2j)"),
    Atom(bytes, "!!binary", lambda v: base64.b64encode(v).decode(), _parse_binary, "!!binary ''"),
    Atom(
        datetime.date, "!date", lambda v: v.isoformat(), datetime.date.fromisoformat, "2026-01-31",
        frozenset(["date"]), plain=True,
    ),
    Atom(
        datetime.datetime, "!datetime", _format_zoned, parse_datetime, "2026-01-31 12:30:00",
        frozenset(["datetime"]), plain=True,
    ),
    Atom(datetime.time, "!time", _format_zoned, datetime.time.fromisoformat, "'12:30:00'"),
    Atom(datetime.timedelta, "!timedelta", str, parse_timedelta, "'2 days, 3:04:05'"),
    Atom(decimal.Decimal, "!decimal", _format_decimal, _parse_decimal, "'1.50'"),
    Atom(fractions.Fraction, "!fraction", str, _parse_fraction, "'1/3'"),
    Atom(uuid.UUID, "!uuid", str, uuid.UUID, "a UUID in hexadecimal"),
    Atom(type(pathlib.Path()), "!path", str, pathlib.Path, "runs/a"),
    Atom(pathlib.PurePosixPath, "!pure_posix_path", str, pathlib.PurePosixPath, "runs/a"),
    Atom(pathlib.PureWindowsPath, "!pure_windows_path", str, pathlib.PureWindowsPath, "runs/a"),
]  # fmt: skip

ATOMS_BY_CLASS: dict[type, Atom] = {atom.cls: atom for atom in _ATOMS}
ATOMS_BY_TAG: dict[str, Atom] = {
    atom.tag.replace("!!", "tag:yaml.org,2002:"): atom for atom in _ATOMS
}
_LENIENT = frozenset(["str", "int", "float", "bool", "date", "datetime"])


def read_atom(atom: Atom, node: Node, reading: Reading) -> Any:
    """Return the value of a node's text, whatever its quotes."""
    if type(node) is not ScalarNode:
        return reading.expected(node, f"{atom.cls.__name__} as {atom.example}")
    if not node.style and node.value in NULLS:
        return reading.expected(node, atom.cls.__name__, "; quote it if the text is meant")
    try:
        return atom.parse(node.value)
    except (ValueError, OverflowError):
        return reading.expected(node, f"{atom.cls.__name__} such as {atom.example}")


def make_atom(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of a class whose values are texts."""
    if not isinstance(origin, type):
        return None
    cls = type(pathlib.Path()) if origin in (pathlib.Path, pathlib.PurePath) else origin
    atom = ATOMS_BY_CLASS.get(cls)
    if atom is None:
        return None
    # A field declared as PurePath may hold any path; what is not the usual one carries its tag.
    family = [
        a for a in _ATOMS if issubclass(a.cls, pathlib.PurePath) and issubclass(a.cls, origin)
    ]
    family = family if issubclass(origin, pathlib.PurePath) else [atom]

    def accepts(value: Any) -> bool:
        return any(type(value) is a.cls for a in family)

    def encode(value: Any, writing: Writing) -> Tree:
        if type(value) is atom.cls:
            return atom.encode(value)
        return undeclared.encode_off_type(value, writing, codec)

    def decode(node: Node, reading: Reading) -> Any:
        return read_atom(atom, node, reading)

    tag = atom.tag.replace("!!", "tag:yaml.org,2002:")
    codec = Codec(
        name=origin.__name__,
        kinds=atom.kinds,
        lenient=_LENIENT,
        tags=frozenset([tag]),
        accepts=accepts,
        encode=encode,
        decode=decode,
        tagged=lambda value, writing: ATOMS_BY_CLASS[type(value)].encode_tagged(value),
        adopt=_adopt_complex if atom.cls is complex else None,
    )
    return codec


def _adopt_complex(value: Any) -> Any:
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return complex(value) if kind == "c" and value.ndim == 0 else UNSET
