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
    # A float64 for a scalar, `Buckets` for a histogram, the bytes of the event for all else.
    value: npt.NDArray[Any]


class Curve:
    """The points of one tag in the order of their steps; of several at a step, the last written.

    The arrays have room for more points, so adding some does not copy the others.
    """

    def __init__(self) -> None:
        self._columns = Points._make(np.zeros((4, 0), np.int64))
        self.count = 0
        self.series: Any = None
        """What the reader has made of the points; None once they have changed."""

    @property
    def points(self) -> Points:
        """The points, in arrays that stay as they are when points are added."""
        if self.count == len(self._columns.step):
            return self._columns
        return Points._make(column[: self.count] for column in self._columns)

    def add(self, parts: list[Points]) -> None:
        """Add points, which may have been written before or after those already there."""
        old, count = self.points, self.count
        steps = [old.step[-1:], *(part.step for part in parts)]
        if not (count and _is_ascending(np.concatenate(steps))):
            self._replace(_in_order(_join([old, *parts] if count else parts)))
            return
        end = count + sum(len(part.step) for part in parts)
        if end > len(self._columns.step):
            columns = [np.empty(end + end // 2, column.dtype) for column in parts[0]]
            for column, values in zip(columns, old, strict=True):
                column[:count] = values
            self._columns = Points._make(columns)
        for part in parts:
            start, count = count, count + len(part.step)
            for column, values in zip(self._columns, part, strict=True):
                column[start:count] = values
        self.count, self.series = end, None

    @property
    def last_written(self) -> tuple[int, int]:
        """The position and the step of the point that was written last; there must be one."""
        points = self.points
        number = int(points.position.argmax())
        return points.position.item(number), points.step.item(number)

    def hide(self, starts: Starts) -> None:
        """Remove what session starts hide."""
        left = visible(self.points, starts)
        if len(left.step) < self.count:
            self._replace(left)

    def _replace(self, points: Points) -> None:
        self._columns, self.count, self.series = points, len(points.step), None


def visible(points: Points, starts: Starts) -> Points:
    """Leave out what was written before a session start and has its step or a later one.

    As in TensorBoard (`event_accumulator.py`), the order of the files and the position in a file
    say what was written before.
    """
    if not starts:
        return points
    positions = np.array([position for position, _ in starts], np.int64)
    # After the last start, nothing is hidden.
    steps = np.array([*(step for _, step in starts), np.iinfo(np.int64).max], np.int64)
    lowest = np.minimum.accumulate(steps[::-1])[::-1]
    return _take(points, points.step < lowest[np.searchsorted(positions, points.position)])


def _in_order(points: Points) -> Points:
    """Sort by step; of several points at a step, keep the one written last."""
    if not _is_ascending(points.position):
        points = _take(points, np.argsort(points.position, kind="stable"))
    if _is_ascending(points.step):
        return points
    points = _take(points, np.argsort(points.step, kind="stable"))
    return _take(points, np.append(points.step[1:] != points.step[:-1], True))


def _join(parts: list[Points]) -> Points:
    return parts[0] if len(parts) == 1 else Points(*map(np.concatenate, zip(*parts, strict=True)))


def _take(points: Points, which: Any) -> Points:
    return Points._make(column[which] for column in points)


def _is_ascending(numbers: Integers) -> bool:
    return len(numbers) < 2 or bool((numbers[1:] > numbers[:-1]).all())
