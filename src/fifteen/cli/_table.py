"""Tables: for people, and for other programs."""

import csv
import dataclasses
import datetime
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from fifteen.experiments._fields import to_plain
from fifteen.experiments._missing import ABSENT, Missing

from ._text import printable

Format = Literal["table", "csv", "json", "md"]


STATISTICS = ("last", "min", "max")
"""What is shown of a curve."""

_MAX_ITEMS = 16
"""How many items of a list or an array are shown."""

_MIN_FIRST = 12
"""How wide the first column is at least on a terminal, if its texts are that long."""

_GAP = "  "


def show_value(value: Any) -> str:
    """Write a value for people: in one line, numbers to six digits and long lists shortened."""
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
            for index, exact_text in zip(alike, exact, strict=True):
                # What is missing keeps its mark.
                if not isinstance(values[index], Missing):
                    shown[index] = printable(exact_text)
    return shown


def _show_exactly(values: list[Any]) -> list[str]:
    """Write values with all their digits; of lists, the first item that differs."""
    plain = list(map(to_plain, values))
    lengths = {len(value) if isinstance(value, list | tuple) else -1 for value in plain}
    if len(lengths) == 1 and lengths != {-1}:
        for index, items in enumerate(zip(*plain, strict=True)):
            if len(set(map(repr, items))) > 1:
                return [f"[{index}]: {text}" for text in _show_exactly(list(items))]
    texts = list(map(repr, plain))
    if len(set(texts)) > 1:
        return texts
    kinds = [getattr(value, "dtype", type(value).__name__) for value in values]
    return [f"{text} ({kind})" for text, kind in zip(texts, kinds, strict=True)]


def show_bytes(value: Any) -> str:
    """Write a number of bytes with a binary unit."""
    size = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def show_time(seconds: Any) -> str:
    """Write a moment, in seconds since the epoch, without its zone."""
    return show_iso_time(iso_time(seconds))


def iso_time(seconds: float) -> str:
    """Return a moment, in seconds since the epoch, in ISO 8601 with the zone."""
    try:
        moment = datetime.datetime.fromtimestamp(seconds).astimezone()
    except (OverflowError, ValueError, OSError):  # A damaged file may hold any number.
        return str(seconds)
    return moment.isoformat(timespec="seconds")


def show_iso_time(moment: Any) -> str:
    """Write what `iso_time` returns as `show_time` does."""
    return moment[:19].replace("T", " ")


@dataclasses.dataclass(frozen=True)
class Column:
    """Describe a column.

    Attributes:
        name: its heading, and its key in JSON.
        show: how a value is written for people.
        is_number: whether to align it to the right.
        best: which of its numbers is marked with `*`, if any.
        dispensable: whether it is left out of a terminal that is too narrow; the largest first.
    """

    name: str
    show: Callable[[Any], str] = show_value
    is_number: bool = True
    best: Literal["min", "max"] | None = None
    dispensable: int = 0


def print_table(columns: list[Column], rows: Iterable[list[Any]], format: Format = "table") -> None:
    """Print rows on stdout.

    As a table they are fitted to the terminal. If stdout is no terminal, lines are as long as they
    need to be, and nothing depends on the environment. CSV and JSON hold the values themselves.
    """
    names = [column.name for column in columns]
    rows = list(rows)
    if format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(map(_for_csv, row) for row in rows)
    elif format == "json":
        objects = [
            to_json({name: v for name, v in zip(names, row, strict=True) if v is not ABSENT})
            for row in rows
        ]
        # An object per line, as easy to read as to take apart.
        print("[" + ",\n ".join(objects) + "]")
    else:
        cells = [list(map(printable, names)), *_shown(columns, rows)]
        if format == "md":
            _print_markdown(columns, cells)
        else:
            (_print_on_terminal if sys.stdout.isatty() else _print_plain)(columns, cells)


def _shown(columns: list[Column], rows: list[list[Any]]) -> list[list[str]]:
    shown = [
        [
            show_value(value) if isinstance(value, Missing) else column.show(value)
            for column, value in zip(columns, row, strict=True)
        ]
        for row in rows
    ]
    for index, column in enumerate(columns):
        numbers = [row[index] for row in rows if isinstance(row[index], int | float)]
        numbers = [number for number in numbers if math.isfinite(number)]
        if column.best and len(set(numbers)) > 1:
            best = min(numbers) if column.best == "min" else max(numbers)
            for row, cells in zip(rows, shown, strict=True):
                cells[index] += "*" if row[index] == best else " "
    return shown


def _print_markdown(columns: list[Column], cells: list[list[str]]) -> None:
    escaped = [[text.replace("|", "\\|").rstrip() for text in row] for row in cells]
    rule = ["---:" if column.is_number else "---" for column in columns]
    for row in [escaped[0], rule, *escaped[1:]]:
        print(f"| {' | '.join(row)} |")


def _for_csv(value: Any) -> Any:
    # The module would write nothing for None.
    return str(value) if value is None else to_plain(value)


def to_json(value: Any) -> str:
    """Write JSON; numbers that it does not have are written as protocol buffers write them."""
    return json.dumps(_for_json(value), ensure_ascii=False, allow_nan=False)


def _for_json(value: Any) -> Any:
    value = to_plain(value)
    if isinstance(value, dict):
        return {str(key): _for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _print_plain(columns: list[Column], cells: list[list[str]]) -> None:
    widths = [max(map(_width, texts)) for texts in zip(*cells, strict=True)]
    out = io.StringIO()
    for row in cells:
        padded: list[str] = []
        for column, text, width in zip(columns, row, widths, strict=True):
            space = " " * (width - _width(text))
            padded.append(space + text if column.is_number else text + space)
        out.write(_GAP.join(padded).rstrip() + "\n")
    sys.stdout.write(out.getvalue())


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # Some characters are two columns wide.

    return cell_len(text)


def _print_on_terminal(columns: list[Column], cells: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    # What a row is called stays readable, however many columns there are.
    least = min(_MIN_FIRST, max(_width(row[0]) for row in cells))
    kept = _fitting(columns, cells, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="bold")
    for index in kept:
        justify = "right" if columns[index].is_number else "left"
        width = None if index else least
        table.add_column(Text(cells[0][index]), justify=justify, overflow="fold", min_width=width)
    for row in cells[1:]:
        table.add_row(*(Text(row[index]) for index in kept))
    console.print(table)


def _fitting(columns: list[Column], cells: list[list[str]], width: int) -> list[int]:
    """Return the columns to show: without those that may be left out, as far as that is needed."""
    widths = [max(map(_width, texts)) + len(_GAP) for texts in zip(*cells, strict=True)]
    kept = list(range(len(columns)))
    for index in sorted(kept, key=lambda index: -columns[index].dispensable):
        if columns[index].dispensable and sum(widths[kept_one] for kept_one in kept) > width:
            kept.remove(index)
    return kept
