"""Tables: for people on a terminal, and for other programs."""

import csv
import dataclasses
import datetime
import enum
import functools
import io
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

Format = Literal["table", "csv", "json"]


class Missing(enum.Enum):
    """What a table holds instead of a value."""

    ABSENT = ""
    """Nothing: not even None, which a config may hold."""

    UNREADABLE = "unreadable"
    """There is a file, and it cannot be read."""

    def __str__(self) -> str:
        return self.value


ABSENT, UNREADABLE = Missing

_MAX_ITEMS = 16
"""How many items of a list or an array a table shows."""

_GAP = 2
"""How many spaces stand between columns."""

_FOLDED = 24
"""How wide a column stays when it is folded so that others fit beside it."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def show_value(value: Any) -> str:
    """Write a value for people, in one line and numbers to six digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is ABSENT:
        return "-"
    value = to_plain(value)
    if isinstance(value, list | tuple) and len(value) > _MAX_ITEMS:
        first = ", ".join(str(item) for item in value[:3])
        return printable(f"[{first}, … {len(value):,} values]")
    return printable(str(value))


def show_apart(values: Sequence[Any]) -> list[str]:
    """Write values as `show_value` does, but such that those that differ look different."""
    shown = list(map(show_value, values))
    for text in set(shown):
        alike = [index for index, other in enumerate(shown) if other == text]
        exact = _show_exactly([values[index] for index in alike])
        if len(set(exact)) > 1:
            for index, text in zip(alike, exact, strict=True):
                shown[index] = printable(text)
    return shown


def _show_exactly(values: list[Any]) -> list[str]:
    """Write values with all their digits; of lists, the first item that differs."""
    plain = list(map(to_plain, values))
    lengths = {len(value) if isinstance(value, list | tuple) else -1 for value in plain}
    if lengths.isdisjoint({-1}) and len(lengths) == 1:
        for index, items in enumerate(zip(*plain, strict=True)):
            if len(set(map(repr, items))) > 1:
                return [f"[{index}]: {text}" for text in _show_exactly(list(items))]
    texts = list(map(repr, plain))
    if len(set(texts)) > 1:
        return texts
    return [
        f"{text} ({getattr(v, 'dtype', type(v).__name__)})"
        for text, v in zip(texts, values, strict=True)
    ]


def to_plain(value: Any) -> Any:
    """Return what NumPy has as numbers and lists of Python, and a set as a sorted list."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return value.tolist() if hasattr(value, "tolist") else value


def show_bytes(value: Any) -> str:
    """Write a number of bytes with a binary unit."""
    size = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def show_time(seconds: Any) -> str:
    """Write a moment, in seconds since the epoch, to the minute and without its zone."""
    return _show_minute(int(seconds) // 60)


def iso_time(seconds: float) -> str:
    """Return a moment, in seconds since the epoch, in ISO 8601 with the zone."""
    return datetime.datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def show_iso_time(moment: Any) -> str:
    """Write what `iso_time` returns as `show_time` does."""
    return moment[:16].replace("T", " ")


@functools.lru_cache(maxsize=1024)
def _show_minute(minute: int) -> str:
    return datetime.datetime.fromtimestamp(minute * 60).strftime("%Y-%m-%d %H:%M")


def printable(text: str) -> str:
    """Escape control characters, which could do anything to a terminal."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


@dataclasses.dataclass(frozen=True)
class Column:
    """Describe a column.

    Attributes:
        name: its heading, and its key in JSON.
        show: how a value is written for people.
        is_number: whether to align it to the right.
    """

    name: str
    show: Callable[[Any], str] = show_value
    is_number: bool = True


def print_table(columns: list[Column], rows: Iterable[list[Any]], format: Format) -> None:
    """Print rows on stdout.

    As a table they are fitted to the terminal; where stdout is none, lines are as long as they
    need to be, and nothing depends on the environment. CSV and JSON hold the values themselves.
    """
    if format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([column.name for column in columns])
        writer.writerows(map(to_plain, row) for row in rows)
    elif format == "json":
        names = [column.name for column in columns]
        # An object in a line, as easy to read as to take apart.
        objects = [_to_json(dict(zip(names, row, strict=True))) for row in rows]
        print("[" + ",\n ".join(objects) + "]")
    else:
        cells = [
            [
                show_value(value) if isinstance(value, Missing) else column.show(value)
                for column, value in zip(columns, row, strict=True)
            ]
            for row in rows
        ]
        (_print_on_terminal if sys.stdout.isatty() else _print_plain)(columns, cells)


def print_json(value: Any) -> None:
    """Print JSON; numbers that it does not have are written as protocol buffers write them."""
    print(_to_json(value))


def _to_json(value: Any) -> str:
    return json.dumps(_for_json(value), ensure_ascii=False, allow_nan=False)


def _for_json(value: Any) -> Any:
    value = to_plain(value)
    if isinstance(value, dict):
        return {str(key): _for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is ABSENT or value is None:
        return None
    if isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _print_plain(columns: list[Column], cells: list[list[str]]) -> None:
    widths = _widths(columns, cells)
    out = io.StringIO()
    for row in [[column.name for column in columns], *cells]:
        padded = [
            text.rjust(width) if column.is_number else text.ljust(width)
            for column, text, width in zip(columns, row, widths, strict=True)
        ]
        out.write((" " * _GAP).join(padded).rstrip() + "\n")
    sys.stdout.write(out.getvalue())


def _print_on_terminal(columns: list[Column], cells: list[list[str]]) -> None:
    """Print a table as wide as the terminal; columns that have no place beside go below."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    groups = _fit(_widths(columns, cells), console.width)
    for number, group in enumerate(groups):
        if number:
            console.print()
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for index, width in group.items():
            justify = "right" if columns[index].is_number else "left"
            table.add_column(
                Text(columns[index].name), justify=justify, overflow="fold", width=width
            )
        for row in cells:
            table.add_row(*(Text(row[index]) for index in group))
        console.print(table)


def _fit(widths: list[int], available: int) -> list[dict[int, int]]:
    """Divide the columns into groups that fit beside each other, each with the first column.

    Args:
        widths: how wide each column would like to be.
        available: how wide a group may be.

    Returns:
        For each group, the widths of its columns by their indices.
    """
    narrowest = max(1, min(_FOLDED, (available - _GAP) // 2))
    groups = [{0: min(widths[0], narrowest)}]
    for index, width in enumerate(widths[1:], start=1):
        needed = min(width, narrowest)
        if len(groups[-1]) > 1 and _total(groups[-1]) + _GAP + needed > available:
            groups.append({0: min(widths[0], narrowest)})
        groups[-1][index] = needed
    for group in groups:
        # What is left goes to those that are folded, the narrowest of them first.
        for _ in range(available - _total(group)):
            folded = [index for index in group if group[index] < widths[index]]
            if folded:
                group[min(folded, key=lambda index: group[index])] += 1
    return groups


def _total(group: dict[int, int]) -> int:
    return sum(group.values()) + _GAP * (len(group) - 1)


def _widths(columns: list[Column], cells: list[list[str]]) -> list[int]:
    from rich.cells import cell_len  # Some characters are two columns wide.

    return [
        max(cell_len(text) for text in (column.name, *(row[index] for row in cells)))
        for index, column in enumerate(columns)
    ]
