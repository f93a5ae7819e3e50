"""Follower: experiments that grow, of which only what is new is read."""

import contextlib
import pathlib
from collections.abc import Generator, Sequence

from fifteen.experiments import ScalarSeries
from fifteen.experiments._fields import Fields, Statistics
from fifteen.experiments._loading import listed, load_remote
from fifteen.experiments.events.reading import Ends, EventReader, diverged_at
from fifteen.experiments.storage import Directory

_TAIL_POINTS = 100
_MAX_READERS = 128

Scalars = dict[str, ScalarSeries]


class Follower:
    """Look at experiments again and again."""

    def __init__(self) -> None:
        self.readers: dict[pathlib.Path, EventReader] = {}
        """Those that are kept to read on later; the one that was used last is at the end."""
        self._known: dict[pathlib.Path, tuple[object, Fields]] = {}

    @contextlib.contextmanager
    def looking(self, found: Sequence[Fields]) -> Generator[list[Fields | None]]:
        """Look at each; until the block ends, directories are listed at most once.

        What is new at an address is read, many files at a time.
        """
        with listed(found):
            runs = list(map(self._look, found))
            load_remote([field for run, field in zip(runs, found, strict=True) if run is field])
            yield runs

    def _look(self, found: Fields) -> Fields | None:
        """Return what was found before if its files are as they were; None if they are gone."""
        directory = Directory(found.path)
        try:
            stamp = directory.usage(), directory.open_state()
        except OSError:  # It was removed since.
            return None
        if stamp != self._known.get(found.path, (None, None))[0]:
            self._known[found.path] = stamp, found
        return self._known[found.path][1]

    def reader(self, run: Fields) -> EventReader:
        """Return the reader of a run's curves, and keep it."""
        reader = self.readers.pop(run.path, None) or reader_of(run)
        self.readers[run.path] = reader
        while len(self.readers) > _MAX_READERS:
            del self.readers[next(iter(self.readers))]
        return reader


def read_scalars(run: Fields, reader: EventReader | None = None) -> Scalars:
    """Return the curves of a run, and keep what its row in a table needs, so as to read once."""
    reader = reader or reader_of(run)
    found = reader.scalars()
    run.scalars = {tag: Statistics.of(curve) for tag, curve in found.items()}
    run.last = {tag: statistics.last for tag, statistics in run.scalars.items()}
    run.diverged_at = diverged_at(found)
    run.timeline = reader.timeline
    tail = {tag: _end_of(curve) for tag, curve in found.items()}
    run.ends = Ends(run.timeline, tail, is_complete=False)
    return found


def _end_of(curve: ScalarSeries) -> ScalarSeries:
    """Return a copy of the last points, which does not keep all the others in memory."""
    end = slice(-_TAIL_POINTS, None)
    return ScalarSeries(
        curve.step[end].copy(), curve.wall_time[end].copy(), curve.value[end].copy()
    )


def reader_of(run: Fields) -> EventReader:
    """Return a new reader of a run's curves; that of the experiment would keep them for good."""
    return EventReader(Directory(run.path))
