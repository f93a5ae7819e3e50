"""`fifteen compare`."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import numpy as np
from tyro.conf import arg

from fifteen.experiments._fields import SHOWN_STATISTICS, Fields
from fifteen.experiments._missing import ABSENT, UNREADABLE
from fifteen.experiments._names import matching
from fifteen.experiments._tables import columns_of, tag_of
from fifteen.experiments._values import differ, showable
from fifteen.experiments.metadata import compare_files
from fifteen.view._columns import Column, show_value
from fifteen.view._runs import diverged_of_means, field_called, grouped

from ._arguments import Flag, Names, OptionalText
from ._errors import CommandError, print_message, print_problems
from ._selection import Chosen, Selection
from ._table import Format, print_table, show_apart, text_column

_KEYS = ("kind", "name")
"""The columns before the experiments' values, for other programs."""


def compare(
    selection: Chosen = Selection(),
    metadata: Names = (),
    tags: Names = (),
    over: Annotated[OptionalText, arg(metavar="FIELD", help_behavior_hint="")] = None,
    all: Flag = False,
    format: Format = "table",
) -> int:
    """Compare experiments: metadata that differ, and values of scalars.

    Args:
        metadata: which metadata to compare; all but `provenance` and `notes` by default.
        tags: which scalars to compare, by their tags; `*` matches any text. All by default.
        over: compare groups of experiments that are alike but for this field, such as `seed`, by
            mean and standard deviation.
        all: show equal metadata too.
        format: a table for people, or exact values for other programs.
    """
    experiments = selection.find_some().load()
    fields = experiments.fields
    if len(fields) < 2:
        raise CommandError(f"{selection}: expected at least two experiments, found one")
    if over:
        over = field_called(experiments, over)
        lines = grouped(experiments, over)
        for text in diverged_of_means(experiments, lines, over):
            print_message("note", text)
    else:
        names = [f"./{field.name}" if field.name in _KEYS else field.name for field in fields]
        lines = {name: [number] for number, name in enumerate(names)}

    def rows(values: dict[str, list[Any]], reduce: Callable[[list[Any]], Any]) -> list[list[Any]]:
        return [
            [name, *(reduce([own[number] for number in group]) for group in lines.values())]
            for name, own in values.items()
            if name != over
        ]

    kinds = {
        "metadata": rows(_metadata_of(fields, metadata, all), _common),
        "scalar": rows(_scalars_of(fields, tags), _mean),
    }
    labels = list(map(Column, lines))
    if format in ("table", "md"):
        _print_for_people(labels, kinds, format)
    else:
        exact = [[kind, *row] for kind, own in kinds.items() for row in _exact(own)]
        print_table([*map(Column, _KEYS), *labels], exact, format)
    print_problems(fields)
    return int(any(field.unreadable for field in fields))


def _print_for_people(
    labels: list[Column], kinds: dict[str, list[list[Any]]], format: Format
) -> None:
    if not kinds["metadata"]:
        print("No difference in metadata.")
    for heading, rows in kinds.items():
        if rows:
            if heading == "scalar":
                print()
            texts = [[str(v) if isinstance(v, _Mean) else v for v in row] for row in rows]
            shown = [[key, *show_apart(values)] for key, *values in texts]
            print_table([text_column(heading), *labels], shown, format)


def _exact(rows: list[list[Any]]) -> Iterator[list[Any]]:
    """Yield a row for each number of a mean, which other programs can read."""
    for key, *values in rows:
        if not any(isinstance(value, _Mean) for value in values):
            yield [key, *values]
            continue
        for part in ("mean", "std", "n"):
            own = [getattr(v, part) if isinstance(v, _Mean) else v for v in values]
            yield [f"{key} {part}", *own]


def _metadata_of(
    fields: list[Fields], names: tuple[str, ...], equal_ones: bool
) -> dict[str, list[Any]]:
    known = [field.metadata_names if names else field.own_metadata for field in fields]
    rows: dict[str, list[Any]] = {}
    for name in matching(names, itertools.chain(*known), "metadata"):
        rows |= _compare_file(fields, name, equal_ones)
    return rows


def _compare_file(fields: list[Fields], name: str, equal_ones: bool) -> dict[str, list[Any]]:
    """Compare the metadata of one name: the values themselves, not what is shown of them."""
    for field in fields:
        field.metadata([name])  # It shows which files cannot be read.
    readable = [field for field in fields if name not in field.unreadable]
    paths = [f.path / f"{name}.yaml" if name in f.metadata_names else None for f in readable]
    rows: dict[str, list[Any]] = {}

    def add(key: str, values: Iterable[Any]) -> None:
        cells = dict(zip(readable, values, strict=True))
        rows[key] = [cells.get(field, UNREADABLE) for field in fields]

    if len(readable) < len(fields):
        mark = "not compared" if len(readable) == 1 else "readable"
        add(name, [ABSENT if path is None else mark for path in paths])
    for key, (values, is_same) in compare_files(paths).items():
        if equal_ones or not is_same:
            add(f"{name}.{key}" if key else name, map(showable, values))
    return rows


def _scalars_of(fields: list[Fields], patterns: tuple[str, ...]) -> dict[str, list[Any]]:
    columns = columns_of([field.statistics() for field in fields])
    return {
        f"{tag} {statistic}": columns[f"{tag}:{statistic}"]
        for tag in matching(patterns, sorted(map(tag_of, columns)), "scalar")
        for statistic in SHOWN_STATISTICS
    }


def _common(values: list[Any]) -> Any:
    """Return what a group has in common: a value, or the mean of numbers that differ."""
    if not differ(values):
        return values[0]
    numbers = [value for value in values if type(value) in (int, float)]
    if len(numbers) + values.count(ABSENT) == len(values):
        return _mean_of(numbers, len(values))
    return UNREADABLE if UNREADABLE in values else "differs"


def _mean(values: list[Any]) -> Any:
    """Return the mean of a group, even if its numbers are equal."""
    numbers = [value for value in values if value is not ABSENT]
    return _mean_of(numbers, len(values)) if numbers and len(values) > 1 else values[0]


def _mean_of(numbers: list[float], size: int) -> "_Mean":
    std = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else ABSENT
    return _Mean(float(np.mean(numbers)), std, len(numbers), size)


@dataclasses.dataclass(frozen=True)
class _Mean:
    """The mean over a group of experiments of which `n` have a value."""

    mean: float
    std: Any
    n: int
    size: int

    def __str__(self) -> str:
        """Write them for people; the count is added if not all of the group have a value."""
        deviation = f" ± {self.std:.2g}" if self.n > 1 else ""
        count = f" (n={self.n})" if self.n < self.size else ""
        return f"{show_value(self.mean)}{deviation}{count}"
