"""`fifteen scalars`."""

import csv
import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ._fields import Fields, matching
from ._table import Column, Format, iso_time, print_json, print_table, show_time

if TYPE_CHECKING:
    from fifteen.experiments import ScalarSeries


def scalars(
    directory: Annotated[Positional[pathlib.Path], arg(metavar="DIR")],
    tags: tuple[str, ...] = (),
    format: Format = "table",
) -> None:
    """Print every logged point of an experiment's scalars, one in a line.

    Args:
        directory: the experiment's directory.
        tags: which scalars, by their tags; `*` stands for anything (`train/*`). All by default.
        format: `csv` and `json` hold the exact values and the time in seconds since the epoch.
    """
    curves = Fields(directory).scalars
    chosen = matching(tags, curves, "scalar") if tags else list(curves)
    series = {tag: curves[tag] for tag in chosen}
    if format == "json":
        print_json({tag: _columns(curve) for tag, curve in series.items()})
    elif format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["tag", "step", "wall_time", "value"])
        for tag, curve in series.items():
            writer.writerows(_rows(tag, curve))
    else:
        columns = [
            Column("tag", is_number=False),
            Column("step"),
            Column("time", lambda seconds: show_time(iso_time(seconds))),
            Column("value"),
        ]
        rows = [row for tag, curve in series.items() for row in _rows(tag, curve)]
        print_table(columns, rows, format)


def _columns(curve: "ScalarSeries") -> dict[str, list[Any]]:
    return {
        "step": curve.step.tolist(),
        "wall_time": curve.wall_time.tolist(),
        "value": curve.value.tolist(),
    }


def _rows(tag: str, curve: "ScalarSeries") -> Iterator[list[Any]]:
    for point in zip(*_columns(curve).values(), strict=True):
        yield [tag, *point]
