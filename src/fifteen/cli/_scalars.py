"""`fifteen scalars`."""

import csv
import sys
from collections.abc import Iterator
from typing import Any

from fifteen._text import printable
from fifteen.experiments import ScalarSeries
from fifteen.experiments._names import matching
from fifteen.view._columns import Column

from ._arguments import Names
from ._selection import Chosen, Selection
from ._table import ExactOutput, Format, print_table, show_time, text_column, to_json

_COLUMNS = ("step", "wall_time", "value")


def scalars(
    selection: Chosen = Selection(),
    tags: Names = (),
    format: Format = "table",
) -> None:
    """Print every logged point of scalars, one per line.

    Points of several experiments begin with the experiment's name; `fifteen export` adds the fields
    that differ.

    Args:
        tags: which scalars to print, by their tags; `*` matches any text. All by default.
        format: a table for people, or exact values with times in seconds since the epoch.
    """
    fields = selection.find_some(each=True).fields
    curves = {field.name: field.read_scalars() for field in fields}
    chosen = matching(tags, (tag for own in curves.values() for tag in own), "scalar")
    series = {n: {tag: own[tag] for tag in chosen if tag in own} for n, own in curves.items()}
    if format == "json":
        exact = {n: {tag: _columns(one) for tag, one in own.items()} for n, own in series.items()}
        print(to_json(exact if len(exact) > 1 else exact.popitem()[1]), file=ExactOutput())
        return
    # The name says nothing if there is only one.
    start = len(series) == 1
    rows = (row[start:] for name, own in series.items() for row in _rows(name, own))
    if format == "csv":
        writer = csv.writer(ExactOutput(), lineterminator="\n")
        writer.writerow(["name", "tag", *_COLUMNS][start:])
        writer.writerows(rows)
    elif not chosen:
        print(f"fifteen: no scalars in {printable(str(selection))}", file=sys.stderr)
    else:
        texts = [text_column("name"), text_column("tag")][start:]
        numbers = [Column("step"), Column("time", show_time), Column("value")]
        print_table([*texts, *numbers], rows, format)


def _columns(curve: ScalarSeries) -> dict[str, list[Any]]:
    return {name: getattr(curve, name).tolist() for name in _COLUMNS}


def _rows(name: str, curves: dict[str, ScalarSeries]) -> Iterator[list[Any]]:
    for tag, curve in curves.items():
        for point in zip(*_columns(curve).values(), strict=True):
            yield [name, tag, *point]
