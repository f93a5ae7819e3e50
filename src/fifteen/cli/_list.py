"""`fifteen list`."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ._arguments import Flag, Names
from ._errors import CommandError
from ._fields import Fields, enumerate_names, sorted_by
from ._table import (
    ABSENT,
    Column,
    Format,
    Missing,
    iso_time,
    print_table,
    printable,
    show_bytes,
    show_iso_time,
)

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
) -> int:
    """List the experiments below a directory.

    Args:
        root: where to look.
        columns: metadata (`config.opt.lr`, `lr`) and scalars (`loss`, `loss:min`) to show too.
        sort: what to sort by: a column, metadata or a scalar. Numbers are sorted by value.
        reverse: sort in descending order.
        format: a table for people, or exact values for other programs.
    """
    from fifteen.experiments import Experiment, ExperimentNotFoundError, find_experiments, summarize

    built_in = [column.name for column in _BUILT_IN]
    taken = [column for column in columns if column in built_in]
    if taken:
        raise CommandError(
            f"{taken[0]!r} is a column already; write more of the name: config.{taken[0]}"
        )
    asked = [name for name in dict.fromkeys([*columns, sort]) if name not in built_in]
    names = [*built_in, *asked]
    # Absolute, as the experiments' paths are.
    top = Experiment(root, verbose=False).data_dir
    rows: list[list[Any]] = []
    is_whole = True
    # Paths alone, since an experiment keeps the curves that have been read.
    paths = [experiment.data_dir for experiment in find_experiments(root)]
    for path in paths:
        # It may have been moved or deleted meanwhile.
        with contextlib.suppress(ExperimentNotFoundError):
            fields = Fields(Experiment(path, verbose=False))
            row = _row(top, summarize(path))
            rows.append(row + [fields.value(column) for column in asked])
            is_whole &= not fields.unreadable
    _refuse_unknown(asked, rows, paths)
    if sort != "name":
        rows = sorted_by(rows, names.index(sort), reverse)
    elif reverse:
        rows.reverse()
    if not rows and format == "table":
        print(f"fifteen: no experiments below {printable(str(root))}", file=sys.stderr)
        return 0
    more = [Column(name, is_number=_is_numeric(rows, names.index(name))) for name in asked]
    print_table(_BUILT_IN + more, rows, format)
    return int(not is_whole)


def _row(top: pathlib.Path, summary: "Summary") -> list[Any]:
    return [
        os.path.relpath(summary.path, top),
        ABSENT if summary.latest_step is None else summary.latest_step,
        sum(map(len, summary.checkpoints.values())),
        summary.size,
        iso_time(summary.modified),
    ]


def _refuse_unknown(
    columns: Sequence[str], rows: list[list[Any]], paths: list[pathlib.Path]
) -> None:
    from fifteen.experiments import Experiment

    for index, column in enumerate(columns, start=len(_BUILT_IN)):
        if rows and all(row[index] is ABSENT for row in rows):
            some = [Fields(Experiment(path, verbose=False)) for path in paths[:20]]
            known = dict.fromkeys(name for fields in some for name in fields.names())
            raise CommandError(
                f"no experiment has metadata or a scalar called {column!r}; "
                f"there is: {enumerate_names(list(known))}"
            )


def _is_numeric(rows: list[list[Any]], index: int) -> bool:
    return all(isinstance(row[index], Missing | int | float) for row in rows)
