"""`fifteen scalars`."""

import csv
import dataclasses
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fifteen._text import printable
from fifteen.experiments._names import matching
from fifteen.view._columns import Column

from ._arguments import Directory, Names
from ._selection import open_experiment
from ._table import ExactOutput, Format, print_table, show_time, text_column, to_json

if TYPE_CHECKING:
    from fifteen.experiments import ScalarSeries


def scalars(
    directory: Directory,
    tags: Names = (),
    format: Format = "table",
) -> None:
    """Print every logged point of an experiment's scalars, one per line.

    Args:
        directory: the experiment's directory.
        tags: which scalars to print, by their tags; `*` matches any text. All by default.
        format: a table for people, or exact values with times in seconds since the epoch.
    """
    # A handle that is not verbose would keep back its warnings of damaged files.
    experiment = open_experiment(directory)
    curves = dataclasses.replace(experiment, verbose=True).read_scalars()
    chosen = matching(tags, curves, "scalar") if tags else list(curves)
    series = {tag: curves[tag] for tag in chosen}
    if format == "json":
        exact = to_json({tag: _columns(curve) for tag, curve in series.items()})
        print(exact, file=ExactOutput())
    elif format == "csv":
        writer = csv.writer(ExactOutput(), lineterminator="\n")
        writer.writerow(["tag", "step", "wall_time", "value"])
        for tag, curve in series.items():
            writer.writerows(_rows(tag, curve))
    elif not series:
        print(f"fifteen: no scalars in {printable(str(directory))}", file=sys.stderr)
    else:
        columns = [
            text_column("tag"),
            Column("step"),
            Column("time", show_time),
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
