"""Values of metadata: conversion, comparison and order."""

import datetime
import math
import pathlib
from collections.abc import Iterable
from typing import Any

from ._missing import Missing
from ._walk import natural

MAX_BITS = 14_000
"""No larger int is written in decimal: Python stops at 4,300 digits."""


def showable(value: Any) -> Any:
    """Return an array of one value as a number, and an int too long for Python to print as text."""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return hex(value)
    if isinstance(value, list | tuple):
        return type(value)(map(showable, value))
    if isinstance(value, dict):
        return {key: showable(item) for key, item in value.items()}
    return to_plain(value) if getattr(value, "ndim", 1) == 0 else value


def comparable(value: Any) -> Any:
    """Return a value for comparison in expressions; paths and dates become text."""
    plain = to_plain(value)
    if isinstance(plain, tuple):
        return list(plain)
    return str(plain) if isinstance(plain, datetime.date | pathlib.PurePath) else plain


def to_plain(value: Any) -> Any:
    """Convert NumPy values to Python's, and sets to sorted lists."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return value.tolist() if hasattr(value, "tolist") else value


def differ(values: Iterable[Any]) -> bool:
    texts = iter(values)
    first = next(texts, None)
    exact = repr(to_plain(first))
    # 1 and 1.0 are equal, and so are sets and arrays whose plain forms are.
    return any(repr(plain) != exact and plain != to_plain(first) for plain in map(to_plain, texts))


def _sort_key(value: Any) -> tuple[int, Any]:
    """Return a key that sorts numbers, then texts, then lists."""
    if isinstance(value, int | float):
        return 0, value
    if isinstance(value, list | tuple):
        return 2, list(map(_sort_key, value))
    return 1, natural(value)


def _rank(value: Any) -> int:
    """Return 0, or the rank of a value that always comes last: NaN 1, None 2, missing 3."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return 3 if isinstance(value, Missing) else 2 if value is None else int(is_nan)


def in_order(values: Iterable[Any], reverse: bool = False) -> tuple[list[int], list[int]]:
    """Return the sorted positions of values, and those of values that always come last."""
    plain = list(map(to_plain, values))
    known = [number for number, value in enumerate(plain) if not _rank(value)]
    known.sort(key=lambda number: _sort_key(plain[number]), reverse=reverse)
    last = [number for number, value in enumerate(plain) if _rank(value)]
    return known, sorted(last, key=lambda number: _rank(plain[number]))
