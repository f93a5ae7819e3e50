"""`fifteen list`."""

import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ._arguments import Flag, Names
from ._errors import CommandError
from ._fields import Fields, enumerate_names
from ._table import Column, Format, iso_time, print_table, show_bytes, show_iso_time

if TYPE_CHECKING:
    from fifteen.experiments._discovery import Summary

_BUILT_IN = [
    Column("name", is_number=False),
    Column("step"),
    Column("checkpoints"),
    Column("size", show_bytes),
    Column("changed", show_iso_time),
]


def list_experiments(
    root: Annotated[Positional[pathlib.Path], arg(metavar="[ROOT]")] = pathlib.Path(),
    columns: Annotated[Names, arg(metavar="COLUMN ...")] = (),
    sort: Annotated[str, arg(metavar="COLUMN")] = "name",
    reverse: Flag = False,
    format: Format = "table",
) -> None:
    """List the experiments below a directory.

    Args:
        root: where to look.
        columns: metadata (`config.opt.lr`, `lr`) and scalars (`loss`, `loss:min`) to show as well.
        sort: the column to sort by, numbers by value and names in natural order.
        reverse: sort from the last to the first.
        format: for people, or with exact values for other programs.
    """
    from fifteen.experiments._discovery import find_paths, summarize

    paths = find_paths(root)
    rows = [_row(root, summarize(path)) + _values(path, columns) for path in paths]
    _refuse_unknown(columns, rows, paths)
    names = [column.name for column in _BUILT_IN] + list(columns)
    if sort not in names:
        raise CommandError(f"cannot sort by {sort!r}; the columns are: {', '.join(names)}")
    if sort != "name":
        rows.sort(key=lambda row: _order(row[names.index(sort)], reverse), reverse=reverse)
    elif reverse:
        rows.reverse()
    if not rows and format == "table":
        print(f"fifteen: no experiments below {root}", file=sys.stderr)
        return
    more = [Column(name, is_number=_is_numeric(rows, names.index(name))) for name in columns]
    print_table(_BUILT_IN + more, rows, format)


def _row(root: pathlib.Path, summary: "Summary") -> list[Any]:
    return [
        os.path.relpath(summary.path, root),
        summary.latest_step,
        sum(map(len, summary.checkpoints.values())),
        summary.size,
        iso_time(summary.modified),
    ]


def _values(path: pathlib.Path, columns: Sequence[str]) -> list[Any]:
    if not columns:
        return []
    fields = Fields(path)
    return [fields.value(column) for column in columns]


def _refuse_unknown(
    columns: Sequence[str], rows: list[list[Any]], paths: list[pathlib.Path]
) -> None:
    for index, column in enumerate(columns, start=len(_BUILT_IN)):
        if rows and all(row[index] is None for row in rows):
            known = dict.fromkeys(name for path in paths[:20] for name in Fields(path).names())
            raise CommandError(
                f"no experiment has metadata or a scalar called {column!r}; "
                f"there is: {enumerate_names(list(known))}"
            )


def _order(value: Any, reverse: bool) -> tuple[bool, bool, Any]:
    """Return a key that sorts numbers before text, and what is absent last in either direction."""
    is_text = not isinstance(value, int | float)
    return (value is None) != reverse, is_text, str(value) if is_text else value


def _is_numeric(rows: list[list[Any]], index: int) -> bool:
    return all(isinstance(row[index], int | float | None) for row in rows)
