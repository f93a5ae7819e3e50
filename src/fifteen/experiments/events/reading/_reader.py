"""EventReader: the curves of one directory."""

import fnmatch
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import _console
from ..._errors import LogDataError
from ...storage import Directory
from .._series import HistogramSeries, ScalarSeries
from ._event_file import EventFile, Points, event_files

Integers = npt.NDArray[np.int64]


class EventReader:
    """Read the event files of a directory, again and again while they grow.

    The files may be those of this package, flax, tensorboardX, PyTorch or TensorFlow. No point is
    sampled away. If a step was logged twice, the last write counts, and what `rewind_logs` made
    void is left out. Damaged bytes are skipped with an `ExperimentWarning` that names the file and
    the place; an incomplete record at the end of a file is skipped silently.
    """

    def __init__(self, directory: Directory, window: int | None = None) -> None:
        """Read all of each file, or of those that are larger than a window only their ends."""
        self._directory = directory
        self._window = window
        self._files: dict[str, EventFile] = {}
        # Reentrant: a handler of warnings may read in turn.
        self._lock = threading.RLock()

    @property
    def is_whole(self) -> bool:
        """Whether all of the files has been read, none of them being larger than the window."""
        return self._window is None or all(
            file.end <= self._window for file in self._files.values()
        )

    def scalars(self, tags: Iterable[str] | None = None) -> dict[str, ScalarSeries]:
        """Return a series for each tag that is there, sorted by tag."""
        return {
            tag: ScalarSeries(*map(_read_only, points[1:]))
            for tag, points in self._read("scalars", tags).items()
        }

    def histograms(self, tags: Iterable[str] | None = None) -> dict[str, HistogramSeries]:
        """Return a series for each tag that is there, sorted by tag."""
        return {
            tag: HistogramSeries(
                _read_only(points.step),
                _read_only(points.wall_time),
                tuple(_read_only(edges) for edges, _ in points.value),
                tuple(_read_only(counts) for _, counts in points.value),
            )
            for tag, points in self._read("histograms", tags).items()
        }

    def _read(self, kind: str, tags: Iterable[str] | None) -> dict[str, Points]:
        if isinstance(tags, str):
            raise LogDataError(
                f"tags: expected several tags, found the str {tags!r}; pass [{tags!r}]"
            )
        patterns = ("*",) if tags is None else tuple(tags)
        with self._lock:
            files = self._read_files()
            by_tag: list[dict[str, list[Points]]] = [getattr(file, kind) for file in files]
            known = {tag for parts in by_tag for tag in parts}
            wanted = known.intersection(patterns)
            wanted.update(*(fnmatch.filter(known, pattern) for pattern in patterns))
            # Points are ordered as if all files were one.
            bases = np.cumsum([0, *(file.end + 1 for file in files)]).tolist()
            starts = [
                (base + offset, step)
                for base, file in zip(bases, files, strict=False)
                for offset, step in sorted(file.starts)
            ]
            series: dict[str, Points] = {}
            for tag in sorted(wanted):
                parts: list[Points] = []
                for base, points_of in zip(bases, by_tag, strict=False):
                    if found := points_of.get(tag):
                        joined = _join(found)
                        found[:] = [joined]
                        parts.append(joined._replace(offset=joined.offset + base))
                points = _in_order(_visible(_join(parts), starts))
                if len(points.step):
                    series[tag] = points
            return series

    def _read_files(self) -> list[EventFile]:
        """Read what is new, and return the files in order."""
        files: dict[str, EventFile] = {}
        for name in event_files(self._directory):
            path = f"{self._directory}/{name}"
            try:
                with self._directory.open(name) as file:
                    files[name] = self._files.get(name, EventFile(self._window)).updated(file)
            except FileNotFoundError:
                continue
            except OSError as error:
                _console.warn(f"{path}: cannot be read, and is left out: {error.strerror or error}")
                continue
            if report := files[name].report():
                _console.warn(f"{path}: {report}")
        self._files = files
        return list(files.values())


def _visible(points: Points, starts: list[tuple[int, int]]) -> Points:
    """Leave out what was written before a session start and has its step or a later one.

    As in TensorBoard (`event_accumulator.py`), the order of the files and the place in a file say
    what was written before.
    """
    if not starts:
        return points
    offsets = np.array([offset for offset, _ in starts], np.int64)
    # After the last start, nothing is hidden.
    steps = np.array([*(step for _, step in starts), np.iinfo(np.int64).max], np.int64)
    lowest = np.minimum.accumulate(steps[::-1])[::-1]
    return _take(points, points.step < lowest[np.searchsorted(offsets, points.offset)])


def _in_order(points: Points) -> Points:
    """Sort by step; of several points at a step, keep the one written last."""
    if not _is_ascending(points.offset):
        points = _take(points, np.argsort(points.offset, kind="stable"))
    if _is_ascending(points.step):
        return points
    points = _take(points, np.argsort(points.step, kind="stable"))
    return _take(points, np.append(points.step[1:] != points.step[:-1], True))


def _join(parts: list[Points]) -> Points:
    return parts[0] if len(parts) == 1 else Points(*map(np.concatenate, zip(*parts, strict=True)))


def _take(points: Points, which: Any) -> Points:
    return Points(
        points.offset[which], points.step[which], points.wall_time[which], points.value[which]
    )


def _is_ascending(numbers: Integers) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())


def _read_only(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view
