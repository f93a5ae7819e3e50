"""Verification of an experiment's files."""

import pathlib
from collections.abc import Iterator

from . import metadata
from ._console import quiet
from ._errors import MetadataError
from .checkpoints._inventory import checkpoint_problems
from .events.reading import EventReader, event_files
from .storage import Directory


def verify(directory: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    """Yield the path of each metadata file, checkpoint and event file, and what is wrong with it.

    Each is read to its end, and every checksum that the formats have is compared.
    """
    for name in metadata.names(directory):
        path, problem = metadata.path_of(directory, name), ""
        try:
            metadata.flatten(path)
        except (MetadataError, OSError) as error:
            problem = str(error)
        yield path, problem
    yield from checkpoint_problems(directory)
    reader = EventReader(Directory(directory))
    with quiet():
        reader.scalars()
    for name in event_files(Directory(directory)):
        yield directory / name, reader.problems.get(name, "")
