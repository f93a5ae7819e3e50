"""Reading many events at once that are alike but for their numbers.

A training loop writes the same tags again and again, and between two such events only the wall
time, the step and the values differ. So one of them is parsed, which tells where its numbers
stand; the others are rows of a matrix in which all other bytes must be equal, and their numbers
are columns of it.
"""

import dataclasses
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from . import _reading_checksums as checksums
from . import _records
from ._parsing import Event, parse_event
from ._reading_frames import Frames
from ._reading_wire import MalformedError

Integers = npt.NDArray[np.int64]
_NONE: Integers = np.zeros(0, np.int64)

_FEWEST_ROWS = 8
"""Below that, parsing each event takes less time."""

_FLOAT64 = np.dtype("<f8")
_MOST_LOOK_UPS = 64
"""For the checksum of one record. With more of them, a call of native code takes less time."""

_MOST_ROUNDS = 64
_LONGEST_ROW = 1 << 20
_KEEPS_GOING = 0x80
"""The bit of a varint's byte that says that another follows."""


@dataclasses.dataclass(slots=True)
class Points:
    """Scalars of `n` events with the same `k` tags.

    Attributes:
        tags: their tags.
        place: `(n,)` where each event lies in its file.
        step: `(n,)`.
        wall_time: `(n,)`.
        value: `(k, n)`.
    """

    tags: tuple[str, ...]
    place: Integers
    step: Integers
    wall_time: npt.NDArray[np.float64]
    value: npt.NDArray[np.float64]


def read_alike(
    buffer: bytes, frames: Frames, plugins: dict[str, str]
) -> tuple[list[Points], Integers]:
    """Read the events of a buffer that come often and hold scalars only.

    Returns:
        Their points, with their place in the buffer, and the numbers of the records that were
        left out: those that come seldom, hold something else or are damaged.
    """
    points: list[Points] = []
    lengths = frames.ends - frames.starts
    groups, rest = _groups(lengths)
    left = [rest]
    for records in groups:
        length = int(lengths[records[0]])
        rows = _Rows(buffer, frames.starts, length)
        for _ in range(_MOST_ROUNDS if length <= _LONGEST_ROW else 0):
            if len(records) < _FEWEST_ROWS:
                break
            records, skipped = rows.take(records, plugins, points)
            left.append(skipped)
        left.append(records)
    return points, np.sort(np.concatenate(left))


def _groups(keys: npt.NDArray[Any]) -> tuple[list[Integers], Integers]:
    """Return where equal keys stand, if there are enough of them, and where the others stand."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    bounds = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, [len(keys)]])
    counts = np.diff(bounds)
    is_large = counts >= _FEWEST_ROWS
    groups = [
        order[start:end]
        for start, end in zip(bounds[:-1][is_large], bounds[1:][is_large], strict=True)
    ]
    # What comes first may tell what the tensors of a tag are.
    groups.sort(key=lambda group: int(group[0]))
    return groups, np.sort(order[np.repeat(~is_large, counts)])


class _Rows:
    """The records of one length in a buffer, as rows of words of eight bytes."""

    def __init__(self, buffer: bytes, starts: Integers, length: int) -> None:
        self._buffer = buffer
        self._starts = starts
        self._length = length
        self._words = (length + 7) // 8

    def take(
        self, records: Integers, plugins: dict[str, str], points: list[Points]
    ) -> tuple[Integers, Integers]:
        """Read the records that have their numbers where one of them has them.

        Returns:
            The records to go on with, and those that cannot be read this way.
        """
        # The first ones, of small steps, are the least like the others.
        one = len(records) // 2
        pattern = self._pattern(int(records[one]), plugins)
        if pattern is None:
            return np.delete(records, one), records[one : one + 1]
        rows = self._gather(records)
        groups, rest = _groups(_digests(rows & pattern.mask))
        skipped: list[Integers] = [records[rest[rest == one]]]
        later: list[Integers] = [rest[rest != one]]
        for group in groups:
            own = self._pattern(int(records[group[0]]), plugins)
            if own is None:
                skipped.append(records[group])
                continue
            if (own.mask != pattern.mask).any():
                later.append(group)
                continue
            differences = rows[group] ^ own.row
            is_alike = ((differences & own.mask) == 0).all(axis=1)
            if not is_alike.all():
                later.append(group[~is_alike])
                group, differences = group[is_alike], differences[is_alike]
            is_intact = self._is_intact(records[group], differences.view(np.uint8), own)
            skipped.append(records[group[~is_intact]])
            group = group[is_intact]
            points.append(own.points(rows[group], self._starts[records[group]]))
        return records[np.sort(np.concatenate(later))], np.concatenate(skipped)

    def _pattern(self, record: int, plugins: dict[str, str]) -> "_Pattern | None":
        start = int(self._starts[record])
        data = self._buffer[start : start + self._length]
        try:
            event = parse_event(data, plugins)
        except MalformedError:
            return None
        return _Pattern(data, event) if _is_regular(event) else None

    def _gather(self, records: Integers) -> npt.NDArray[np.uint64]:
        starts = self._starts[records]
        windows = np.ndarray(
            len(self._buffer) - self._length + 1, f"V{self._length}", self._buffer, 0, (1,)
        )
        rows = np.zeros((len(records), 8 * self._words), np.uint8)
        target = np.ndarray(len(records), f"V{self._length}", rows, 0, (8 * self._words,))
        target[:] = windows[starts]
        return rows.view(np.uint64)

    def _is_intact(
        self,
        records: Integers,
        differences: npt.NDArray[np.uint8],
        pattern: "_Pattern",
    ) -> npt.NDArray[np.bool_]:
        """Tell for each record whether its data is as its checksum says."""
        starts = self._starts[records]
        windows = np.ndarray(len(self._buffer) - 3, "<u4", self._buffer, 0, (1,))
        stored = windows[starts + self._length]
        if len(pattern.columns) > _MOST_LOOK_UPS:
            computed = np.fromiter(
                (
                    google_crc32c.value(self._buffer[start : start + self._length])
                    for start in starts.tolist()
                ),
                np.uint32,
                len(starts),
            )
        else:
            changes = checksums.changes(differences, pattern.columns, self._length)
            computed = np.uint32(google_crc32c.value(pattern.data)) ^ changes
        is_intact: npt.NDArray[np.bool_] = _records.mask_all(computed) == stored
        return is_intact


def _is_regular(event: Event) -> bool:
    is_plain = not (event.histograms or event.is_session_start or event.is_unclear)
    return is_plain and bool(event.scalars) and all(place is not None for place in event.places)


def _digests(rows: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return a number for each row, the same for equal rows and seldom for others."""
    digest = np.zeros(len(rows), np.uint64)
    for word in range(rows.shape[1]):
        digest = (digest ^ rows[:, word]) * np.uint64(0x9E3779B97F4A7C15)
        digest ^= digest >> np.uint64(29)
    return digest


class _Pattern:
    """Where the numbers of an event stand.

    Attributes:
        data: the event.
        row: it, as words of eight bytes.
        mask: the bits that must be as they are in it.
        columns: the bytes that may differ.
    """

    def __init__(self, data: bytes, event: Event) -> None:
        self.data = data
        self._event = event
        width = (len(data) + 7) // 8 * 8
        self.row = np.frombuffer(data.ljust(width, b"\0"), np.uint64)
        mask = np.full(width, 0xFF, np.uint8)
        if event.time_at is not None:
            mask[event.time_at : event.time_at + 8] = 0
        if event.step_at is not None:
            mask[slice(*event.step_at)] = _KEEPS_GOING
        for place in event.places:
            if place is not None:
                mask[place[0] : place[0] + place[1].itemsize] = 0
        self.mask = mask.view(np.uint64)
        self.columns: list[int] = np.flatnonzero(mask != 0xFF).tolist()
        # Of a tag that comes twice in an event, the last one counts.
        self._numbers = dict(zip((tag for tag, _ in event.scalars), event.places, strict=True))

    def points(self, rows: npt.NDArray[np.uint64], places: Integers) -> Points:
        """Take the numbers out of rows that have them where this event has them."""
        count = len(rows)
        value = np.empty((len(self._numbers), count), np.float64)
        for column, place in enumerate(self._numbers.values()):
            if place is not None:
                value[column] = _column(rows, *place)
        time_at, step_at = self._event.time_at, self._event.step_at
        return Points(
            tags=tuple(self._numbers),
            place=places,
            step=np.zeros(count, np.int64) if step_at is None else _varints(rows, *step_at),
            wall_time=np.zeros(count) if time_at is None else _column(rows, time_at, _FLOAT64),
            value=value,
        )


def _column(rows: npt.NDArray[np.uint64], at: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.ndarray(len(rows), dtype, rows, at, rows.strides[:1]).copy()


def _varints(rows: npt.NDArray[np.uint64], at: int, end: int) -> Integers:
    numbers = np.zeros(len(rows), np.uint64)
    for place in range(min(end - at, 10)):
        byte = _column(rows, at + place, np.dtype(np.uint8)).astype(np.uint64)
        numbers |= (byte & np.uint64(0x7F)) << np.uint64(7 * place)
    return numbers.view(np.int64)
