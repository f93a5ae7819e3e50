"""Curve: the points of one tag, which may grow while a run logs."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Starts = list[tuple[int, int]]
"""The position and the step of each session start, in the order of the positions."""


class Points(NamedTuple):
    """Points of one tag, each array `(n,)`."""

    position: Integers  # Of the event in all files of a directory.
    step: Integers
    wall_time: npt.NDArray[np.float64]  # Seconds since the epoch.
    # A float64 for a scalar, `Buckets` for a histogram, otherwise the bytes of the event.
    value: npt.NDArray[Any]


_NO_POINTS = Points._make(np.zeros((4, 0), np.int64))


class Curve:
    """The points of one tag by step; the last write of a step wins.

    The arrays have room for more points, so adding some does not copy the others.
    """

    def __init__(self) -> None:
        self._columns = _NO_POINTS
        self.count = 0
        self.series: Any = None
        """The reader's series of the points; None once they have changed."""

    @property
    def points(self) -> Points:
        """The points, in arrays that do not change when points are added."""
        if self.count == len(self._columns.step):
            return self._columns
        return Points._make(column[: self.count] for column in self._columns)

    def add(self, parts: list[Points]) -> None:
        """Add points, which may have been written before or after the existing ones."""
        old, new = self.points, _join(parts)
        if not (self.count and _is_ascending(np.append(old.step[-1:], new.step))):
            self._replace(_in_order(_join([old, new]) if self.count else new))
            return
        start, end = self.count, self.count + len(new.step)
        if end > len(self._columns.step):
            self._columns = Points._make(np.empty(end + end // 2, c.dtype) for c in new)
            for column, values in zip(self._columns, old, strict=True):
                column[:start] = values
        for column, values in zip(self._columns, new, strict=True):
            column[start:end] = values
        self.count, self.series = end, None

    def hide(self, starts: Starts) -> None:
        """Remove what session starts hide."""
        self._replace(visible(self.points, starts))

    def _replace(self, points: Points) -> None:
        self._columns, self.count, self.series = points, len(points.step), None


def visible(points: Points, starts: Starts) -> Points:
    """Drop points that were written before a session start at its step or later.

    As in TensorBoard (`event_accumulator.py`), files and their records are ordered by position,
    not by time.
    """
    if not starts:
        return points
    positions = np.array([position for position, _ in starts], np.int64)
    # Nothing after the last start is hidden.
    steps = np.array([*(step for _, step in starts), np.iinfo(np.int64).max], np.int64)
    lowest = np.minimum.accumulate(steps[::-1])[::-1]
    return _take(points, points.step < lowest[np.searchsorted(positions, points.position)])


def _in_order(points: Points) -> Points:
    """Sort by step; keep the last written point of each."""
    if _is_ascending(points.step):
        return points
    points = _take(points, np.lexsort((points.position, points.step)))
    return _take(points, np.append(points.step[1:] != points.step[:-1], True))


def _join(parts: list[Points]) -> Points:
    return parts[0] if len(parts) == 1 else Points(*map(np.concatenate, zip(*parts, strict=True)))


def _take(points: Points, which: Any) -> Points:
    return Points._make(column[which] for column in points)


def _is_ascending(numbers: Integers) -> bool:
    return not np.count_nonzero(numbers[1:] <= numbers[:-1])
