"""`fifteen verify`."""

import pathlib
from collections.abc import Iterator

from fifteen._progress import progress
from fifteen._text import counted, message_of, printable
from fifteen.experiments import MetadataError, metadata
from fifteen.experiments._console import quiet
from fifteen.experiments._fields import Fields
from fifteen.experiments._missing import ABSENT
from fifteen.experiments.checkpoints._opening import checkpoint_problems
from fifteen.experiments.events.reading import EventReader, event_files
from fifteen.experiments.storage import Directory

from ._selection import Chosen, Selection
from ._table import Format, print_table, text_column


def verify(selection: Chosen = Selection(), format: Format = "table") -> int:
    """Read every file of experiments to its end, and compare all checksums.

    Names each damaged file, and what is intact beside it. The exit code is 1 if any is damaged.

    Args:
        format: sentences for people, or a row for each file with its problem, if it has one.
    """
    rows: list[list[object]] = []
    fields = selection.find_some().fields
    with progress("Verifying", sum(map(_count, fields))) as advance:
        for field in fields:
            problems: dict[str, str] = {}
            for path, problem in _verified(field.path):
                problems[str(path.relative_to(field.path))] = problem
                advance(1)
            rows.extend([field.name, file, found or ABSENT] for file, found in problems.items())
            if format == "table":
                _print_damage(field, problems)
    damaged = sum(problem is not ABSENT for *_, problem in rows)
    if format == "table":
        print(f"{counted(len(rows) - damaged, 'file')} intact, {damaged:,} damaged")
    else:
        print_table(list(map(text_column, ("name", "file", "problem"))), rows, format)
    return int(damaged > 0)


def _verified(directory: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    """Yield the path of each file that belongs to an experiment, and what is wrong with it."""
    for name in metadata.names(directory):
        path, problem = metadata.path_of(directory, name), ""
        try:
            metadata.flatten(path)
        except (MetadataError, OSError) as error:
            problem = message_of(error)
        yield path, problem
    yield from checkpoint_problems(directory)
    reader = EventReader(Directory(directory))
    with quiet():
        reader.scalars()
    for name in event_files(Directory(directory)):
        yield directory / name, reader.problems.get(name, "")


def _print_damage(field: Fields, problems: dict[str, str]) -> None:
    """Print what is damaged in an experiment, and what is intact beside it."""
    intact = [file for file, problem in problems.items() if not problem]
    for file, problem in problems.items():
        if problem:
            # An error in metadata has line and column right after the path.
            problem = " ".join(problem.split()).removeprefix(str(field.path / file))
            colon = "" if problem.startswith(":") else ": "
            print(printable(f"DAMAGED {field.name}/{file}{colon}{problem}"))
    if len(intact) < len(problems):
        print(printable(f"  intact in {field.name}: {', '.join(intact) or 'nothing'}"))


def _count(field: Fields) -> int:
    """Return about how many files there are to verify."""
    checkpoints = field.summary.checkpoints.values() if field.summary else ()
    return 1 + len(field.metadata_names) + sum(map(len, checkpoints))
