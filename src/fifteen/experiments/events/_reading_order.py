"""Which of the points of a directory count, and in which order."""

import dataclasses
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ._reading_file import EventFile

Scalar = TypeVar("Scalar", bound=np.generic)
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """Points of one tag in one file: `(n,)` each.

    Attributes:
        file: the file's number, in the order of the files.
        place: where each point lies in the file.
        step: its step.
        wall_time: when it was written.
    """

    file: int
    place: Integers
    step: Integers
    wall_time: Floats


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """The points that count.

    Attributes:
        chosen: which ones of all pieces joined together, in order; None means all as they are.
        step: `(n,)` strictly ascending.
        wall_time: `(n,)`.
    """

    chosen: Integers | None
    step: Integers
    wall_time: Floats


class Order:
    """The order in which the files of a directory were written, and what rewinds made void."""

    def __init__(self, files: list[EventFile]) -> None:
        self._bases = np.cumsum([0, *(file.end + 1 for file in files)]).tolist()
        has_rewinds = any(file.starts for file in files)
        self._rewinds = [_Rewinds(files, number) for number in range(len(files)) if has_rewinds]

    def curve(self, pieces: list[Piece]) -> Curve:
        """Put points in the order of their steps; of a step, the point written last counts."""
        step = join([piece.step for piece in pieces])
        wall_time = join([piece.wall_time for piece in pieces])
        written = join([piece.place + self._bases[piece.file] for piece in pieces])
        chosen: Integers | None = None
        if self._rewinds:
            counting = [~self._rewinds[piece.file].hide(piece) for piece in pieces]
            chosen = np.flatnonzero(np.concatenate(counting))
            step, written = step[chosen], written[chosen]
        if not _is_ascending(written):
            chosen, step = _reorder(chosen, step, np.argsort(written, kind="stable"))
        if not _is_ascending(step):
            order = np.argsort(step, kind="stable")
            ordered = step[order]
            is_last = np.append(ordered[1:] != ordered[:-1], True)
            chosen, step = _reorder(chosen, step, order[is_last])
        return Curve(chosen, step, wall_time if chosen is None else wall_time[chosen])


class _Rewinds:
    """What is void in one file.

    A session start at a step makes void what was written before it at that step or a later one,
    as in TensorBoard (`event_accumulator.py`). In the same file the place tells what was before.
    In an earlier file the time tells it too: two writers of one run have a file each, and
    TensorBoard, which reads one file after the other, would hide what the one wrote after the
    other's rewind.
    """

    def __init__(self, files: list[EventFile], number: int) -> None:
        own = files[number].starts
        self._place = np.array([start.place for start in own], np.int64)
        self._lowest = _lowest_from_here([start.step for start in own])
        later = sorted(
            (start for file in files[number + 1 :] for start in file.starts),
            key=lambda start: start.wall_time,
        )
        self._wall_time = np.array([start.wall_time for start in later], np.float64)
        self._lowest_later = _lowest_from_here([start.step for start in later])

    def hide(self, piece: Piece) -> npt.NDArray[np.bool_]:
        """Tell for each point whether it is void."""
        lowest = self._lowest[np.searchsorted(self._place, piece.place)]
        at = np.searchsorted(self._wall_time, piece.wall_time)
        return piece.step >= np.minimum(lowest, self._lowest_later[at])


def _lowest_from_here(steps: list[int]) -> Integers:
    """Return `(n + 1,)` the lowest of the steps from each one on."""
    # The last one stands for no start at all; nobody logs at a step of 2**63 - 1 and rewinds.
    padded = np.array([*steps, np.iinfo(np.int64).max], np.int64)
    return np.minimum.accumulate(padded[::-1])[::-1]


def join(arrays: list[npt.NDArray[Scalar]]) -> npt.NDArray[Scalar]:
    """Concatenate arrays, without a copy where there is one."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _is_ascending(numbers: Integers) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())


def _reorder(chosen: Integers | None, step: Integers, order: Integers) -> tuple[Integers, Integers]:
    return (order if chosen is None else chosen[order]), step[order]
