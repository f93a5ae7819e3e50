"""Verification of an experiment's files."""

import dataclasses
import pathlib
from collections.abc import Iterator

from . import metadata
from ._console import quiet
from ._errors import MetadataError
from .checkpoints._inventory import checkpoint_problems
from .events.reading import EventReader
from .storage import Directory


@dataclasses.dataclass(frozen=True)
class Verified:
    """A verified file, or directory of a checkpoint."""

    path: pathlib.Path
    problem: str  # Empty if it is intact.


def verify(directory: pathlib.Path) -> Iterator[Verified]:
    """Yield the metadata, checkpoints and event files of a directory, each read to its end.

    Every checksum that the formats have is compared.
    """
    for name in metadata.names(directory):
        path, problem = metadata.path_of(directory, name), ""
        try:
            metadata.flatten(path)
        except (MetadataError, OSError) as error:
            problem = str(error)
        yield Verified(path, problem)
    for path, problem in checkpoint_problems(directory):
        yield Verified(path, problem)
    yield from _event_files(directory)


def _event_files(directory: pathlib.Path) -> Iterator[Verified]:
    reader = EventReader(Directory(directory))
    with quiet():
        reader.scalars()
    for name in reader.names():
        yield Verified(directory / name, reader.problems.get(name, ""))
