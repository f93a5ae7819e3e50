"""`fifteen list`."""

import contextlib
import math
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ._arguments import Flag, Names
from ._errors import CommandError
from ._fields import Fields, enumerate_names
from ._table import ABSENT, Column, Format, iso_time, print_table, show_bytes, show_iso_time

if TYPE_CHECKING:
    from fifteen.experiments import Summary

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
    from fifteen.experiments import ExperimentNotFoundError, find_experiments, summarize

    columns = tuple(dict.fromkeys(columns))
    names = [*(column.name for column in _BUILT_IN), *columns]
    if len(set(names)) < len(names):
        (taken, *_) = set(columns).intersection(column.name for column in _BUILT_IN)
        raise CommandError(f"{taken!r} is a column already; write more of the name: config.{taken}")
    paths = [experiment.data_dir for experiment in find_experiments(root)]
    rows: list[list[Any]] = []
    for path in paths:
        # One that has been moved or deleted meanwhile is not there any more.
        with contextlib.suppress(ExperimentNotFoundError):
            rows.append(_row(root, summarize(path)) + _values(path, columns))
    _refuse_unknown(columns, rows, paths)
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
        ABSENT if summary.latest_step is None else summary.latest_step,
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
        if rows and all(row[index] is ABSENT for row in rows):
            known = dict.fromkeys(name for path in paths[:20] for name in Fields(path).names())
            raise CommandError(
                f"no experiment has metadata or a scalar called {column!r}; "
                f"there is: {enumerate_names(list(known))}"
            )


def _order(value: Any, reverse: bool) -> tuple[bool, bool, Any]:
    """Return a key that sorts numbers before text, and what is no value last either way."""
    is_number = isinstance(value, int | float)
    is_missing = value is ABSENT or value is None or (is_number and math.isnan(value))
    if is_missing:
        return not reverse, False, 0
    return reverse, not is_number, value if is_number else str(value)


def _is_numeric(rows: list[list[Any]], index: int) -> bool:
    return all(row[index] is ABSENT or isinstance(row[index], int | float) for row in rows)
