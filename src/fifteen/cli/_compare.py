"""`fifteen compare`."""

import os
import pathlib
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ._arguments import Directory, Flag, Names
from ._fields import PROVENANCE, STATISTICS, Fields, matching, statistic
from ._table import ABSENT, Column, Format, print_table

_KEYS = ("kind", "name")
"""What stands before the experiments' values, for other programs."""


def compare(
    first: Directory,
    second: Directory,
    others: Annotated[
        Positional[tuple[pathlib.Path, ...]], arg(metavar="[DIR ...]", help_behavior_hint="")
    ] = (),
    metadata: Names = (),
    tags: Names = (),
    all: Flag = False,
    format: Format = "table",
) -> None:
    """Compare experiments: where their metadata differ, and how their scalars came out.

    Args:
        first: an experiment's directory.
        second: another one.
        others: further ones.
        metadata: which metadata to compare; all but `provenance` by default.
        tags: which scalars to compare, by their tags; `*` stands for anything. All by default.
        all: show what is equal as well.
        format: for people, or with exact values for other programs.
    """
    directories = [first, second, *others]
    fields = [Fields(directory) for directory in directories]
    found = _compare_metadata(fields, metadata, all)
    scalars = _compare_scalars(fields, tags)
    labels = [Column(label) for label in _labels(directories)]
    if format != "table":
        kinds = [["metadata", *row] for row in found] + [["scalar", *row] for row in scalars]
        print_table([*map(Column, _KEYS), *labels], kinds, format)
        return
    if found:
        print_table([Column("metadata", is_number=False), *labels], found, format)
    else:
        print("No difference in metadata.")
    if scalars:
        print()
        print_table([Column("scalar", is_number=False), *labels], scalars, format)


def _compare_metadata(
    fields: list[Fields], names: tuple[str, ...], equal_ones: bool
) -> list[list[Any]]:
    there = list(
        dict.fromkeys(name for field in fields for name in field.experiment.metadata_names())
    )
    if names:
        wanted = matching(names, there, "metadata")
    else:
        wanted = [name for name in there if name != PROVENANCE]
    flat = [field.metadata(wanted) for field in fields]
    rows: list[list[Any]] = []
    for key in dict.fromkeys(key for values in flat for key in values):
        values = [values.get(key, ABSENT) for values in flat]
        is_equal = all(key in values for values in flat) and len(set(map(repr, values))) == 1
        if equal_ones or not is_equal:
            rows.append([key, *values])
    return rows


def _compare_scalars(fields: list[Fields], patterns: tuple[str, ...]) -> list[list[Any]]:
    curves = [field.scalars for field in fields]
    tags = sorted({tag for curve in curves for tag in curve})
    if patterns:
        tags = matching(patterns, tags, "scalar")
    rows: list[list[Any]] = []
    for tag in tags:
        for wanted in STATISTICS:
            values = [statistic(found[tag], wanted) if tag in found else ABSENT for found in curves]
            rows.append([f"{tag} {wanted}", *values])
    return rows


def _labels(directories: list[pathlib.Path]) -> list[str]:
    """Return the shortest ends of the paths that tell them apart."""
    paths = [pathlib.Path(os.path.abspath(directory)) for directory in directories]
    names = [path.name for path in paths]
    if len({*names, *_KEYS}) == len(names) + len(_KEYS):
        return names
    common = os.path.commonpath([path.parent for path in paths])
    return [f"./{os.path.relpath(path, common)}" for path in paths]
