"""Scalars as text: how numbers, words and strings look in YAML.

Two versions of YAML are in use, which read the same text differently (`no`, `0o17`, `1e-3`,
`12:30`). Our files must mean the same to both, so a string that looks like another type to either
is quoted. When reading, the declared type decides. Without one, YAML 1.1 decides, as implemented by
PyYAML, which wrote the existing files.

Sources: https://yaml.org/type/ (1.1), https://yaml.org/spec/1.2.2/#103-core-schema (1.2).
"""

import datetime
import fractions
import functools
import math
import re
from typing import Any

import yaml
from yaml.nodes import ScalarNode

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = ("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON")
_FALSE = ("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF")
BOOLS = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)", re.ASCII)
_OCTAL_IN_1_1 = re.compile(r"[-+]?0[0-7_]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NAMED_FLOAT = re.compile(r"[-+]?\.?(?:inf|Inf|INF|infinity)|[-+]?\.?(?:nan|NaN|NAN)", re.ASCII)

MAX_DECIMAL_DIGITS = 4_000
"""Python refuses to convert longer decimals: the time grows with the square of their length."""


def parse_int(text: str) -> int:
    """Parse a plain scalar as an integer, or raise ValueError with its description."""
    if _INT.fullmatch(text):
        if len(text) > MAX_DECIMAL_DIGITS:
            raise ValueError(f"a decimal of {len(text)} digits; write it as 0x...")
        return int(text.replace("_", ""))
    _refuse_octal(text)
    value = resolve_plain(text)
    if type(value) is int and ":" not in text:
        return value
    raise ValueError(describe_plain(text))


def _refuse_octal(text: str) -> None:
    if _OCTAL_IN_1_1.fullmatch(text):
        raise ValueError(
            f"{text}, which is octal to some readers of YAML and decimal to others; "
            "leave out the leading zero, or write 0o"
        )


def parse_float(text: str) -> float:
    """Parse a plain scalar as a float, or raise ValueError with its description."""
    _refuse_octal(text)
    if _FLOAT.fullmatch(text):
        digits = text.replace("_", "")
        value = float(digits)
        if _INT.fullmatch(text) and len(digits) > 15 and parse_int(text) != value:
            raise ValueError(f"the integer {shorten(text)}, which no float equals")
        if math.isinf(value):
            raise ValueError(f"{shorten(text)}, too large for a float; write .inf if you mean it")
        return value
    if _NAMED_FLOAT.fullmatch(text):
        return float(text.replace(".", ""))
    raise ValueError(describe_plain(text))


_RESOLVER = yaml.resolver.Resolver()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_CONSTRUCTORS: dict[str, Any] = _CONSTRUCTOR.yaml_constructors


@functools.lru_cache(1024)  # Keys and values come again in each file.
def resolve_plain(text: str, modern: bool = True) -> Any:
    """Return the value of a plain scalar without a declared type, as PyYAML reads it.

    A number of YAML 1.2 alone (`1e-3`, `0o17`) is a number if `modern`: in our files, in which a
    string that looks like it is quoted. In PyYAML's files it is a string.
    """
    if len(text) > MAX_DECIMAL_DIGITS and "x" not in text[:3]:
        return text
    tag = _RESOLVER.resolve(ScalarNode, text, (True, False))
    if tag == "tag:yaml.org,2002:str":
        if not modern or text[:1] not in "0123456789+-.":
            return text
        if _FLOAT.fullmatch(text):
            number = float(text.replace("_", ""))
            return text if math.isinf(number) else number  # 12e4567 is more likely part of a hash.
        return int(text, 0) if re.fullmatch("[-+]?0o[0-7]+", text) else text
    try:
        return _CONSTRUCTORS[tag](_CONSTRUCTOR, ScalarNode(tag, text))
    except (KeyError, ValueError, OverflowError):
        return text


def parse_fraction(text: str) -> fractions.Fraction:
    """Return the fraction of a text such as `-1/3`."""
    # Fraction also takes exponents, and `1e999999999` would fill the memory.
    if not re.fullmatch(r"-?\d{1,4000}(?:/0*[1-9]\d{0,4000})?", text, re.ASCII):
        raise ValueError(shorten(repr(text)))
    return fractions.Fraction(text)


_TIMEDELTA = re.compile(r"(?:(-?\d+) days?, )?(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?", re.ASCII)


def parse_timedelta(text: str) -> datetime.timedelta:
    """Return the duration of a text such as `2 days, 3:04:05.000006`, as `str` formats it."""
    match = _TIMEDELTA.fullmatch(text)
    if not match:
        raise ValueError(text)
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups()[:4])
    microseconds = int((match[5] or "").ljust(6, "0"))
    return datetime.timedelta(days, seconds, microseconds, 0, minutes, hours)


def format_number(value: float) -> str:
    """Return the shortest text that reads back as the same int or float, in YAML 1.1 too."""
    if isinstance(value, int):
        # Every reader converts a huge number fast from hexadecimal.
        return int.__repr__(value) if value.bit_length() < 13_000 else hex(value)
    text = float.__repr__(value)
    if "e" in text:
        # YAML 1.1 reads `1e-05` as a string: it needs a point, and a sign in the exponent.
        mantissa, exponent = text.split("e")
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}"
    if text[-1] in "nf":
        return text.replace("nan", ".nan").replace("inf", ".inf")
    return text


# A letter, then characters without a meaning in any version of YAML, and single spaces. A text
# that starts with a digit or a sign is quoted, so that it cannot look like a number or a date.
_SAFE = re.compile(
    r"[A-Za-z_/][A-Za-z0-9_./+@=()|*-]*(?: [A-Za-z0-9_./+@=(][A-Za-z0-9_./+@=()|*-]*)*"
)
_WORDS = frozenset((*NULLS, *BOOLS, "y", "Y", "n", "N"))


def is_safe(text: str) -> bool:
    """Return whether every reader reads a text without quotes as a string."""
    return len(text) < 500 and bool(_SAFE.fullmatch(text)) and text not in _WORDS


def describe_plain(text: str) -> str:
    """Describe a plain scalar, for an error."""
    value = resolve_plain(text)
    if value is None:
        return "null"
    if isinstance(value, int | float) and ":" in text:
        return f"{text}, which YAML 1.1 reads as the number {value} in base 60; write the number"
    return f"{type(value).__name__} {shorten(repr(text) if isinstance(value, str) else text)}"


def shorten(text: str, limit: int = 60) -> str:
    """Shorten a text for a message."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
