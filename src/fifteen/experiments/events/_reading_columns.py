"""Columns: the points of one set of tags in one file, growing as the file does."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ._reading_rows import Points

Scalar = TypeVar("Scalar", bound=np.generic)

_SMALLEST = 16


class Columns:
    """Points in the order of the file, in arrays with room for more.

    What has been written to an array is never changed, so that views of it can be given away.
    """

    def __init__(self, tags: tuple[str, ...]) -> None:
        self._count = 0
        self._place = np.zeros(0, np.int64)
        self._step = np.zeros(0, np.int64)
        self._wall_time = np.zeros(0, np.float64)
        self._value = np.zeros((len(tags), 0), np.float64)
        self.tags = tags

    def append(self, parts: list[Points]) -> None:
        """Add points that all lie behind those that are here, in any order among themselves."""
        place = np.concatenate([part.place for part in parts])
        order = slice(None) if (place[1:] > place[:-1]).all() else np.argsort(place)
        start, self._count = self._count, self._count + len(place)
        self._make_room()
        new = slice(start, self._count)
        self._place[new] = place[order]
        self._step[new] = np.concatenate([part.step for part in parts])[order]
        self._wall_time[new] = np.concatenate([part.wall_time for part in parts])[order]
        self._value[:, new] = np.concatenate([part.value for part in parts], axis=1)[:, order]

    def points(self) -> Points:
        """Return all points, as views."""
        end = self._count
        return Points(
            self.tags,
            self._place[:end],
            self._step[:end],
            self._wall_time[:end],
            self._value[:, :end],
        )

    @property
    def nbytes(self) -> int:
        """How much memory the points take."""
        tags = sum(map(len, self.tags))
        return tags + sum(
            array.nbytes for array in (self._place, self._step, self._wall_time, self._value)
        )

    def _make_room(self) -> None:
        if self._count > len(self._place):
            # By half as much again, so that adding n points takes a time proportional to n.
            room = max(_SMALLEST, self._count + len(self._place) // 2)
            self._place = _grown(self._place, room)
            self._step = _grown(self._step, room)
            self._wall_time = _grown(self._wall_time, room)
            self._value = _grown(self._value, room)


def _grown(array: npt.NDArray[Scalar], room: int) -> npt.NDArray[Scalar]:
    grown = np.empty((*array.shape[:-1], room), array.dtype)
    grown[..., : array.shape[-1]] = array
    return grown
