"""Reading back what a directory's event files hold, as curves."""

import pathlib
import warnings
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _directory
from .._errors import ExperimentWarning
from ._file_reading import HistogramPoint, Points, Rewind, read_file
from ._series import HistogramSeries, ScalarSeries

Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[Any]]
"""Steps, times and values of one tag, in the order in which they were written."""


def read_scalars(
    directory: pathlib.Path, tags: Iterable[str] | None = None
) -> dict[str, ScalarSeries]:
    """Read the scalars of all event files of a directory.

    Args:
        directory: where they lie; sub-directories are other runs.
        tags: which tags; all by default.

    Returns:
        A series for each tag, sorted by tag. Of a step that was written twice the later write
        counts, and what a rewind hides is left out.
    """
    wanted = _as_set(tags)
    pieces: dict[str, list[Columns]] = defaultdict(list)
    for part in _parts(directory):
        if isinstance(part, Rewind):
            _hide(pieces, part.step)
        elif isinstance(part, Points):
            for column, tag in enumerate(part.tags):
                if wanted is None or tag in wanted:
                    pieces[tag].append((part.steps, part.wall_times, part.values[:, column]))
    return {tag: ScalarSeries(*columns) for tag, columns in _in_order(pieces)}


def read_histograms(
    directory: pathlib.Path, tags: Iterable[str] | None = None
) -> dict[str, HistogramSeries]:
    """Read the histograms of all event files of a directory; see `read_scalars`."""
    wanted = _as_set(tags)
    pieces: dict[str, list[Columns]] = defaultdict(list)
    for part in _parts(directory):
        if isinstance(part, Rewind):
            _hide(pieces, part.step)
        elif isinstance(part, HistogramPoint) and (wanted is None or part.tag in wanted):
            value = np.empty(1, object)
            value[0] = part.buckets
            steps, times = np.array([part.step], np.int64), np.array([part.wall_time])
            pieces[part.tag].append((steps, times, value))
    return {
        tag: HistogramSeries(
            steps, times, [edges for edges, _ in buckets], [counts for _, counts in buckets]
        )
        for tag, (steps, times, buckets) in _in_order(pieces)
    }


def _as_set(tags: Iterable[str] | None) -> set[str] | None:
    if isinstance(tags, str):
        raise TypeError(f"tags: expected several tags, found the str {tags!r}; pass [{tags!r}]")
    return None if tags is None else set(tags)


def _parts(directory: pathlib.Path) -> Iterable[Points | HistogramPoint | Rewind]:
    paths = [directory / name for name in _directory.list_names(directory) if "tfevents" in name]
    files = [read_file(path) for path in paths if path.is_file()]
    files.sort(key=lambda file: (file.first_wall_time, file.path.name))
    for file in files:
        for problem in file.problems:
            warnings.warn(problem, ExperimentWarning, stacklevel=6)
        # Another thread may read on meanwhile.
        yield from list(file.parts)


def _hide(pieces: dict[str, list[Columns]], step: int) -> None:
    for tag, columns in pieces.items():
        pieces[tag] = [
            (steps[kept], times[kept], values[kept])
            for steps, times, values in columns
            if (kept := steps < step).any()
        ]


def _in_order(pieces: dict[str, list[Columns]]) -> Iterable[tuple[str, Columns]]:
    for tag in sorted(pieces):
        if not pieces[tag]:
            continue
        steps, times, values = (np.concatenate(column) for column in zip(*pieces[tag], strict=True))
        if len(steps) > 1 and not (steps[1:] > steps[:-1]).all():
            order = np.argsort(steps, kind="stable")
            ordered = steps[order]
            # Of equal steps the last one written comes last, and is kept.
            kept = order[np.append(ordered[1:] != ordered[:-1], True)]
            steps, times, values = steps[kept], times[kept], values[kept]
        yield tag, (steps, times, values)
