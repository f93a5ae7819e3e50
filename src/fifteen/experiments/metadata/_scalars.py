"""Plain scalars as text: what a number, a word or a string looks like in YAML.

Two versions of YAML are in use, and they read the same text differently (`no`, `0o17`, `1e-3`,
`12:30`). What we write must mean the same to readers of both, so a string that either of them
would take for something else is quoted. What we read follows the declared type; only where
nothing is declared does the text decide, by YAML 1.1 as PyYAML implements it, since that is what
wrote the files that are around.

Sources: https://yaml.org/type/ (1.1), https://yaml.org/spec/1.2.2/#103-core-schema (1.2).
"""

import datetime
import math
import re
from typing import Any

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = ("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON")
_FALSE = ("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF")
BOOLS = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)", re.ASCII)
_INT_WITH_BASE = re.compile(r"[-+]?0(?:x[0-9a-fA-F_]+|o[0-7_]+|b[01_]+)", re.ASCII)
_OCTAL_IN_1_1 = re.compile(r"[-+]?0[0-7_]+", re.ASCII)
_SEXAGESIMAL = re.compile(r"[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+", re.ASCII)
_SEXAGESIMAL_FLOAT = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*", re.ASCII)
_FLOAT_IN_1_1 = re.compile(
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?", re.ASCII
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NAMED_FLOAT = re.compile(r"[-+]?\.?(?:inf|Inf|INF|infinity)|[-+]?\.?(?:nan|NaN|NAN)", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}"
    r"(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?))?",
    re.ASCII,
)

MAX_DECIMAL_DIGITS = 4_000
"""Python refuses to convert longer decimals, which would take it quadratic time."""


class ScalarError(ValueError):
    """A text is not what was expected of it; the message says what it is."""


def parse_int(text: str) -> int:
    """Return the integer that a plain scalar stands for where an int is declared.

    Raises:
        ScalarError: it stands for something else.
    """
    if _INT.fullmatch(text):
        if len(text) > MAX_DECIMAL_DIGITS:
            raise ScalarError(f"a decimal of {len(text)} digits; write it as 0x...")
        return int(text.replace("_", ""))
    if _INT_WITH_BASE.fullmatch(text):
        try:
            return int(text.replace("_", ""), 0)
        except ValueError:
            pass
    if _OCTAL_IN_1_1.fullmatch(text):
        raise ScalarError(
            f"{text}, which is octal to some readers of YAML and decimal to others; "
            "leave out the leading zero, or write 0o"
        )
    raise ScalarError(describe_plain(text))


def parse_float(text: str) -> float:
    """Return the number that a plain scalar stands for where a float is declared.

    An integer becomes the float that equals it.

    Raises:
        ScalarError: it stands for something else, or no float equals the integer.
    """
    if _FLOAT.fullmatch(text):
        digits = text.replace("_", "")
        value = float(digits)
        if _INT.fullmatch(text) and len(digits) > 15 and parse_int(text) != value:
            raise ScalarError(f"the integer {shorten(text)}, which no float equals")
        if math.isinf(value):
            raise ScalarError(f"{shorten(text)}, too large for a float; write .inf if it is meant")
        return value
    if _NAMED_FLOAT.fullmatch(text):
        return float(text.replace(".", ""))
    raise ScalarError(describe_plain(text))


def resolve_plain(text: str, modern: bool) -> Any:
    """Return what a plain scalar stands for where no type is declared.

    Args:
        text: the scalar.
        modern: whether what only YAML 1.2 takes for a number (`1e-3`, `0o17`) is one. It is in a
            file that we wrote, where such a string would have been quoted, and is not in a file
            that PyYAML wrote.
    """
    if not text or text[0] not in "0123456789+-.":
        if text in NULLS:
            return None
        return BOOLS.get(text, text)
    if _INT.fullmatch(text) and len(text) <= MAX_DECIMAL_DIGITS:
        return int(text.replace("_", ""))
    if _FLOAT_IN_1_1.fullmatch(text):
        return float(text.replace("_", ""))
    if text[0] == "0" or text[1:2] == "0":
        number = _resolve_based(text, modern)
        if number is not None:
            return number
    if text in (".nan", ".NaN", ".NAN"):
        return float("nan")
    if re.fullmatch(r"[-+]?\.(?:inf|Inf|INF)", text):
        return float(text.replace(".", ""))
    if modern and _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if ":" in text and len(text) < 100:
        if _SEXAGESIMAL.fullmatch(text) or _SEXAGESIMAL_FLOAT.fullmatch(text):
            return _parse_sexagesimal(text)
        return _resolve_timestamp(text)
    if text[4:5] == "-":
        return _resolve_timestamp(text)
    return text


def _resolve_based(text: str, modern: bool) -> int | None:
    if _INT_WITH_BASE.fullmatch(text) and (modern or "o" not in text):
        digits = text.replace("_", "")
        return int(digits, 0) if digits[-1] not in "xob" else None
    # PyYAML reads these as octal, and quotes the strings that look like them.
    if _OCTAL_IN_1_1.fullmatch(text) and len(text) <= MAX_DECIMAL_DIGITS:
        return int(text.replace("_", ""), 8)
    return None


def _parse_sexagesimal(text: str) -> int | float:
    sign = -1 if text[0] == "-" else 1
    value: int | float = 0
    for part in text.lstrip("+-").replace("_", "").split(":"):
        value = value * 60 + (float(part) if "." in part else int(part))
    return sign * value


def _resolve_timestamp(text: str) -> Any:
    try:
        if _DATE.fullmatch(text):
            return datetime.date.fromisoformat(text)
        if _TIMESTAMP.fullmatch(text):
            return parse_datetime(text)
    except ValueError:
        pass
    return text


_DATETIME = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)(?:[Tt]|[ \t]+)(\d\d?):(\d\d):(\d\d)(?:\.(\d*))?"
    r"(?:[ \t]*(?:(Z)|([-+])(\d\d?)(?::?(\d\d))?(?::?(\d\d)(?:\.(\d{6}))?)?))?",
    re.ASCII,
)


def parse_datetime(text: str) -> datetime.datetime:
    """Return the datetime of an ISO 8601 text, or of the variations that YAML 1.1 allows."""
    match = _DATETIME.fullmatch(text)
    if not match:
        raise ScalarError(describe_plain(text))
    fraction = (match[7] or "")[:6].ljust(6, "0")
    zone: datetime.tzinfo | None = None
    if match[8]:
        zone = datetime.UTC
    elif match[9]:
        offset = datetime.timedelta(
            hours=int(match[10]),
            minutes=int(match[11] or 0),
            seconds=int(match[12] or 0),
            microseconds=int(match[13] or 0),
        )
        offset = -offset if match[9] == "-" else offset
        zone = datetime.timezone(offset) if offset else datetime.UTC
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    try:
        return datetime.datetime(year, month, day, hour, minute, second, int(fraction), zone)
    except ValueError as error:
        raise ScalarError(f"{text!r}: {error}") from None


_TIMEDELTA = re.compile(r"(?:(-?\d+) days?, )?(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?", re.ASCII)


def parse_timedelta(text: str) -> datetime.timedelta:
    """Return the duration of a text such as `2 days, 3:04:05.000006`, as `str` formats it."""
    match = _TIMEDELTA.fullmatch(text)
    if not match:
        raise ScalarError(f"{text!r}; write a duration as '2 days, 3:04:05'")
    days, hours, minutes, seconds, fraction = match.groups()
    try:
        return datetime.timedelta(
            days=int(days or 0),
            hours=int(hours),
            minutes=int(minutes),
            seconds=int(seconds),
            microseconds=int((fraction or "").ljust(6, "0")),
        )
    except OverflowError as error:
        raise ScalarError(f"{text!r}: {error}") from None


def format_int(value: int) -> str:
    """Return an int as text; a huge one in hexadecimal, which any reader converts fast."""
    return int.__repr__(value) if value.bit_length() < 13_000 else hex(value)


def format_float(value: float) -> str:
    """Return the shortest text that reads back as the same float, also to YAML 1.1."""
    text = float.__repr__(value)
    if "e" in text:
        # YAML 1.1 takes `1e-05` for a string: it wants a point, and a sign in the exponent.
        mantissa, exponent = text.split("e")
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}"
    if text[-1] in "nf":
        return text.replace("nan", ".nan").replace("inf", ".inf")
    return text


# Letters first, then what no version of YAML gives a meaning to, single spaces in between. What
# begins with a digit or a sign is quoted, so that no number or date can look like it.
_SAFE = re.compile(
    r"[A-Za-z_/][A-Za-z0-9_./+@=()|*-]*(?: [A-Za-z0-9_./+@=(][A-Za-z0-9_./+@=()|*-]*)*"
)
_WORDS = frozenset(word for word in (*NULLS, *BOOLS, "y", "Y", "n", "N"))
_LITERAL = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]*")
_ESCAPES = {
    "\0": "\\0", "\a": "\\a", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\v": "\\v", "\f": "\\f",
    "\r": "\\r", "\x1b": "\\e", '"': '\\"', "\\": "\\\\", "\x85": "\\N", "\u2028": "\\L",
    "\u2029": "\\P",
}  # fmt: skip


def quote(text: str) -> str:
    """Return a string as one line of YAML that every reader takes for that string.

    Raises:
        ScalarError: it holds a surrogate, which no file in UTF-8 can.
    """
    if len(text) < 500 and _SAFE.fullmatch(text) and text not in _WORDS:
        return text
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return _double_quote(text)


def _double_quote(text: str) -> str:
    parts: list[str] = []
    for position, character in enumerate(text):
        code = ord(character)
        if 0xD800 <= code <= 0xDFFF:
            raise ScalarError(
                f"a str with the lone surrogate {character!r} at index {position}, which UTF-8 "
                "cannot hold; write bytes, or replace it"
            )
        if character in _ESCAPES:
            parts.append(_ESCAPES[character])
        elif character.isprintable():
            parts.append(character)
        elif code <= 0xFF:
            parts.append(f"\\x{code:02x}")
        else:
            parts.append(f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
    return '"' + "".join(parts) + '"'


def literal_block(text: str) -> str | None:
    """Return the header of a literal block (`|`, `|-`, `|+`) that holds a text of several lines.

    Returns:
        None where the text would not come back exactly, or is of one line.
    """
    if "\n" not in text or text[0] in " \t\n" or not _LITERAL.fullmatch(text):
        return None
    body = text.rstrip("\n")
    if any(line and not line.strip() for line in body.split("\n")):
        return None
    newlines = len(text) - len(body)
    return ("|-", "|", "|+")[min(newlines, 2)]


def describe_plain(text: str) -> str:
    """Say what a plain scalar is, for an error."""
    value = resolve_plain(text, modern=True)
    if value is None:
        return "null"
    return f"{type(value).__name__} {shorten(repr(text) if isinstance(value, str) else text)}"


def shorten(text: str, limit: int = 60) -> str:
    """Cut a text that is to be part of a message."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
