"""Tables: for people, and for other programs."""

import csv
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fifteen._text import printable
from fifteen.experiments._missing import ABSENT, Missing
from fifteen.experiments._values import to_plain
from fifteen.view._columns import (
    LEAST_INFORMATIVE,
    Column,
    iso_time,
    show_bytes,
    show_rows,
    show_value,
)

from ._errors import print_message

if TYPE_CHECKING:
    from rich.console import RenderableType

Format = Literal["table", "csv", "json", "md"]

_MIN_TEXT = 12
"""How wide a column of texts is at least on a terminal, if its texts are that long."""

_ENOUGH_TEXT = 16
"""How wide it is, if another column is to be left out otherwise."""

_GAP = "  "


def text_column(name: str) -> Column:
    """Return a column of texts."""
    return Column(name, is_number=False)


STEPS = Column("steps", lambda steps: " ".join(map(str, steps)), is_number=False)
"""A column of lists of steps."""


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


def show_time(seconds: Any) -> str:
    """Write a moment, in seconds since the epoch, without its zone."""
    return iso_time(seconds)[:19].replace("T", " ")


class ExactOutput:
    """Where exact values go: stdout. On a terminal, what could do anything to it is escaped."""

    def write(self, text: str) -> None:
        """Write lines of text."""
        is_seen = sys.stdout.isatty()
        sys.stdout.write("\n".join(map(printable, text.split("\n"))) if is_seen else text)


def print_table(columns: list[Column], rows: Iterable[list[Any]], format: Format = "table") -> None:
    """Print rows on stdout.

    As a table they are fitted to the terminal. If stdout is not one, lines are as long as they
    need to be, and nothing depends on the environment. CSV and JSON hold the values themselves.
    """
    names = [column.name for column in columns]
    rows = list(rows)
    if format == "csv":
        writer = csv.writer(ExactOutput(), lineterminator="\n")
        writer.writerow(names)
        # The module would write nothing for None.
        writer.writerows([str(v) if v is None else to_plain(v) for v in row] for row in rows)
    elif format == "json":
        objects = [
            to_json({name: v for name, v in zip(names, row, strict=True) if v is not ABSENT})
            for row in rows
        ]
        # An object per line, as easy to read as to take apart.
        print("[" + ",\n ".join(objects) + "]", file=ExactOutput())
    elif format == "md":
        _print_markdown(columns, _cells(columns, rows))
    elif sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False)
        console.print(terminal_table(columns, rows, console.width))
    else:
        cells = _cells(columns, rows)
        print(*_lines(columns, cells, dict(enumerate(_natural_widths(cells)))), sep="\n")


def print_removal(
    columns: Sequence[Column], rows: list[list[Any]], is_done: bool, format: Format
) -> None:
    """Print what was removed, or would be; the last value of each row is its size in bytes."""
    if rows or format != "table":
        print_table([*columns, Column("size", show_bytes)], rows, format)
    if format == "table":
        size = show_bytes(sum(row[-1] for row in rows))
        print(f"{'Removed' if is_done else 'Would remove'} {size}")
    if rows and not is_done:
        print_message("note", "nothing was removed; pass --yes to remove this")


def _cells(columns: list[Column], rows: list[list[Any]]) -> list[list[str]]:
    return [[printable(column.name) for column in columns], *show_rows(columns, rows)]


def _print_markdown(columns: list[Column], cells: list[list[str]]) -> None:
    # A name such as `<b>` or `a*b*` is no markup.
    escaped = [[re.sub(r"[\\|<*`]", r"\\\g<0>", text).rstrip() for text in row] for row in cells]
    rule = ["---:" if column.is_number else "---" for column in columns]
    for row in [escaped[0], rule, *escaped[1:]]:
        print(f"| {' | '.join(row)} |")


def to_json(value: Any) -> str:
    """Write JSON; numbers that it does not have are written as protocol buffers write them."""
    return json.dumps(_for_json(value), ensure_ascii=False, allow_nan=False)


def _for_json(value: Any) -> Any:
    # Most values are these, so they are tried first.
    if type(value) in (int, str) or (type(value) is float and math.isfinite(value)):
        return value
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


def _natural_widths(cells: list[list[str]]) -> list[int]:
    return [_widest(texts) for texts in zip(*cells, strict=True)]


def _widest(texts: Sequence[str]) -> int:
    is_ascii = all(map(str.isascii, texts))
    return max(map(len if is_ascii else _width, texts), default=0)


def _lines(columns: list[Column], cells: list[list[str]], widths: dict[int, int]) -> list[str]:
    """Return a line for each row, if nothing in some columns is wider than its column."""
    texts_of = list(zip(*cells, strict=True))
    padded: list[list[str]] = []
    for index, width in widths.items():
        pad = str.rjust if columns[index].is_number else str.ljust
        padded.append([pad(text, width - _width(text) + len(text)) for text in texts_of[index]])
    return [_GAP.join(row).rstrip() for row in zip(*padded, strict=True)]


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # Some characters are two columns wide.

    return cell_len(text)


def terminal_table(columns: list[Column], rows: list[list[Any]], width: int) -> "RenderableType":
    """Return a table; columns that do not fit beside the others continue in another one.

    Those that are left out are named below.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    cells = _cells(columns, rows)
    parts: list[Table | Text] = []
    shown: set[int] = set()
    natural = _natural_widths(cells)
    for widths in _parts(columns, cells, width):
        shown.update(widths)
        if all(natural[index] <= own for index, own in widths.items()):
            # A table takes 0.3 ms per row.
            heading, *lines = _lines(columns, cells, widths)
            text = Text("\n".join([heading, *lines]), no_wrap=True, overflow="ignore")
            text.stylize("bold", 0, len(heading))
            parts += [Text(), text] if parts else [text]
            continue
        table = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="bold")
        for index, own in widths.items():
            justify = "right" if columns[index].is_number else "left"
            table.add_column(Text(cells[0][index]), justify=justify, overflow="fold", width=own)
        for row in cells[1:]:
            table.add_row(*(Text(row[index]) for index in widths))
        parts += [Text(), table] if parts else [table]
    left = [name for index, name in enumerate(cells[0]) if index not in shown]
    if left:
        text = f"Not shown: {', '.join(left)} (too narrow; see --columns)"
        parts.append(Text(text, style="dim"))
    return Group(*parts)


def _parts(columns: list[Column], cells: list[list[str]], width: int) -> Iterator[dict[int, int]]:
    """Yield the columns of each table with their widths; the first one is in all of them."""
    half = max(1, (width - len(_GAP)) // 2)
    natural, least = [], []
    for column, (heading, *texts) in zip(columns, zip(*cells, strict=True), strict=True):
        longest = _widest(texts)
        natural.append(max(longest, _width(heading)))
        # Texts are folded, numbers are not.
        needed = max(_MIN_TEXT, longest if column.is_number else 0)
        least.append(min(natural[-1], needed, half))
    enough = [
        own if column.is_number else min(own, _ENOUGH_TEXT)
        for own, column in zip(natural, columns, strict=True)
    ]
    kept = _fitting(columns, enough, width)
    part = kept[:1]
    for index in kept[1:]:
        if _total(least, [*part, index]) > width:
            yield _shrunk(part, natural, least, width)
            part = kept[:1]
        part.append(index)
    yield _shrunk(part, natural, least, width)


def _fitting(columns: list[Column], widths: list[int], width: int) -> list[int]:
    """Return the columns to show: without those that may be left out, as far as that is needed."""
    kept: list[int] = []
    ranks = {index: column.dispensable for index, column in enumerate(columns)}
    # Of two that are as dispensable, the field on the left is left out before the scalar.
    for count, index in enumerate(sorted(ranks, key=lambda index: (ranks[index], -index))):
        has_room = _total(widths, [*kept, index]) <= width
        is_next = len(kept) == count or ranks[index] < LEAST_INFORMATIVE
        if not ranks[index] or (has_room and is_next):
            kept.append(index)
    return sorted(kept)


def _total(widths: list[int], part: list[int]) -> int:
    return sum(widths[index] + len(_GAP) for index in part) - len(_GAP)


def _shrunk(part: list[int], widths: list[int], least: list[int], width: int) -> dict[int, int]:
    """Return the widths of some columns, of which the widest are folded as far as is needed."""
    widths = [min(own, width) for own in widths]
    while _total(widths, part) > width:
        widest = max(part, key=lambda index: widths[index] - least[index])
        widths[widest] -= 1
    return {index: widths[index] for index in part}
