"""`fifteen compare`."""

import os
import pathlib
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ._arguments import Directory, Flag, Names
from ._fields import PROVENANCE, STATISTICS, Fields, matching, open_experiment, statistic
from ._table import ABSENT, UNREADABLE, Column, Format, print_table, show_apart

_KEYS = ("kind", "name")
"""The columns before the experiments' values, for other programs."""


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
) -> int:
    """Compare experiments: metadata that differ, and the last and extreme values of scalars.

    Args:
        first: an experiment's directory.
        second: another one.
        others: more of them.
        metadata: which metadata to compare; all but `provenance` by default.
        tags: which scalars to compare, by their tags; `*` stands for anything. All by default.
        all: show equal metadata too.
        format: a table for people, or exact values for other programs.
    """
    directories = [first, second, *others]
    fields = [Fields(open_experiment(directory)) for directory in directories]
    found = _compare_metadata(fields, metadata, all)
    scalars = _compare_scalars(fields, tags)
    labels = [Column(label) for label in _labels([field.experiment.data_dir for field in fields])]
    if format == "table":
        _print_for_people(labels, found, scalars)
    else:
        kinds = [["metadata", *row] for row in found] + [["scalar", *row] for row in scalars]
        print_table([*map(Column, _KEYS), *labels], kinds, format)
    return int(any(field.unreadable for field in fields))


def _print_for_people(
    labels: list[Column], metadata: list[list[Any]], scalars: list[list[Any]]
) -> None:
    if not metadata:
        print("No difference in metadata.")
    for heading, rows in (("metadata", metadata), ("scalar", scalars)):
        if rows:
            if heading == "scalar":
                print()
            shown = [[key, *show_apart(values)] for key, *values in rows]
            print_table([Column(heading, is_number=False), *labels], shown)


def _compare_metadata(
    fields: list[Fields], names: tuple[str, ...], equal_ones: bool
) -> list[list[Any]]:
    there = list(dict.fromkeys(name for field in fields for name in field.metadata_names))
    if names:
        wanted = matching(names, there, "metadata")
    else:
        wanted = [name for name in there if name != PROVENANCE]
    return [row for name in wanted for row in _compare_file(fields, name, equal_ones)]


def _compare_file(fields: list[Fields], name: str, equal_ones: bool) -> list[list[Any]]:
    """Compare the metadata of one name: the values themselves, not what is shown of them."""
    flat = [dict(field.metadata([name])) for field in fields]
    readable = [index for index, field in enumerate(fields) if name not in field.unreadable]
    rows: list[list[Any]] = []
    if len(readable) < len(fields):
        cells: list[Any] = [UNREADABLE] * len(fields)
        for index in readable:
            is_there = name in fields[index].metadata_names
            alone = "not compared" if len(readable) == 1 else "readable"
            cells[index] = alone if is_there else ABSENT
        rows.append([name, *cells])
    differences = {
        index: _differences(name, fields[readable[0]], fields[index]) for index in readable[1:]
    }
    for index, pairs in differences.items():
        # Only `diff` tells the class of a whole config, and keys apart that have one name.
        for key, values in pairs.items():
            for side, value in zip((readable[0], index), values, strict=True):
                if value is ABSENT:
                    flat[side].pop(key, None)
                else:
                    flat[side].setdefault(key, value)
    for key in dict.fromkeys(key for values in flat for key in values):
        if not equal_ones and not any(key in pairs for pairs in differences.values()):
            continue
        row: list[Any] = [UNREADABLE] * len(fields)
        for index in readable:
            same = flat[readable[0]] if key not in differences.get(index, {}) else {}
            row[index] = flat[index].get(key, same.get(key, ABSENT))
        rows.append([key, *row])
    return rows


def _differences(name: str, first: Fields, other: Fields) -> dict[str, tuple[Any, Any]]:
    """Return the values that are not the same in the metadata of two experiments."""
    from fifteen.experiments import diff

    sides: list[Any] = [
        field.path_of(name) if name in field.metadata_names else {} for field in (first, other)
    ]
    found = diff(*sides)
    pairs = {key: (value, ABSENT) for key, value in found.removed.items()}
    pairs |= {key: (ABSENT, value) for key, value in found.added.items()}
    pairs |= found.changed
    return {f"{name}.{key}" if key else name: pair for key, pair in pairs.items()}


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


def _labels(paths: list[pathlib.Path]) -> list[str]:
    """Return the names of directories, or their paths from a common parent if names repeat."""
    names = [path.name for path in paths]
    if len({*names, *_KEYS}) == len(names) + len(_KEYS):
        return names
    common = os.path.commonpath([path.parent for path in paths])
    return [f"./{os.path.relpath(path, common)}" for path in paths]
