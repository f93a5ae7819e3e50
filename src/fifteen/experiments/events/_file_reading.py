"""Reading one event file: what has been added to it since the last time, fast."""

import dataclasses
import itertools
import pathlib
import threading
from collections import OrderedDict
from collections.abc import Iterator

import google_crc32c
import numpy as np
import numpy.typing as npt

from . import _records
from ._parsing import Buckets, Event, parse_event

_LONGEST_PERIOD = 64
_SHORTEST_RUN = 8
_FILES_REMEMBERED = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Points:
    """Scalars of some events, each with its own step: `(n,)`, `(n,)` and `(n, len(tags))`."""

    tags: tuple[str, ...]
    steps: npt.NDArray[np.int64]
    wall_times: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class HistogramPoint:
    """One histogram."""

    tag: str
    step: int
    wall_time: float
    buckets: Buckets


@dataclasses.dataclass(frozen=True, slots=True)
class Rewind:
    """A mark: of what came before, nothing at or after this step counts."""

    step: int


Part = Points | HistogramPoint | Rewind


class EventFile:
    """Everything read so far of one file, in its order."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.parts: list[Part] = []
        self.problems: list[str] = []
        self.first_wall_time = float("inf")
        self._offset = 0
        self._lock = threading.Lock()

    def read_on(self) -> None:
        """Read what has been added. What is torn at the end may still become whole."""
        with self._lock, open(self.path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
            consumed = self._read(data)
            self._offset += consumed

    def is_of(self, size: int) -> bool:
        """Whether the file can be the one that was read, and has only grown."""
        return size >= self._offset

    def _read(self, data: bytes) -> int:
        at = 0
        single: list[Event] = []
        while at < len(data):
            length = _records.length_at(data, at)
            if length is None and len(data) - at < _records.HEADER_BYTES:
                break
            if length is None:
                found = _next_record(data, at + 1)
                self._report(at, f"is damaged; {found - at} bytes are left out")
                at = found
                continue
            if at + length + _records.OVERHEAD_BYTES > len(data):
                break
            event = self._event_at(data, at, length)
            run = _run_at(data, at, event) if event is not None else None
            if run is not None:
                self._add_events(single)
                single = []
                parts, size = run
                self.parts.extend(parts)
                self._see(float(parts[0].wall_times[0]))
                at += size
                continue
            if event is not None:
                self._see(event.wall_time)
                single.append(event)
            at += length + _records.OVERHEAD_BYTES
        self._add_events(single)
        return at

    def _event_at(self, data: bytes, at: int, length: int) -> Event | None:
        if not _records.is_intact(data, at, length):
            self._report(at, "is damaged and left out")
            return None
        start = at + _records.HEADER_BYTES
        try:
            return parse_event(data[start : start + length])
        except ValueError as error:
            self._report(at, f"is no event and left out: {error}")
            return None

    def _report(self, at: int, problem: str) -> None:
        self.problems.append(f"{self.path}: the record at byte {self._offset + at} {problem}")

    def _see(self, wall_time: float) -> None:
        self.first_wall_time = min(self.first_wall_time, wall_time)

    def _add_events(self, events: list[Event]) -> None:
        for event in events:
            if event.is_session_start:
                self.parts.append(Rewind(event.step))
            for tag, buckets in event.histograms:
                self.parts.append(HistogramPoint(tag, event.step, event.wall_time, buckets))
            if event.scalars:
                tags, values = zip(*event.scalars, strict=True)
                self.parts.append(
                    Points(
                        tags,
                        np.array([event.step], np.int64),
                        np.array([event.wall_time]),
                        np.array([values], np.float64),
                    )
                )


def _next_record(data: bytes, start: int) -> int:
    """Return where the next whole and intact record begins, or the end of the data."""
    # No record is 4 GiB long, so that each length has four zeros for its upper half.
    at = data.find(b"\0\0\0\0", start + 4)
    while at >= 0:
        candidate = at - 4
        length = _records.length_at(data, candidate)
        if (
            length is not None
            and candidate + length + _records.OVERHEAD_BYTES <= len(data)
            and _records.is_intact(data, candidate, length)
        ):
            return candidate
        at = data.find(b"\0\0\0\0", at + 1)
    return len(data)


def _run_at(data: bytes, at: int, first: Event) -> tuple[list[Points], int] | None:
    """Read many events at once that hold the same tags, from a position on.

    A training loop writes the same few events again and again, and only their times, steps and
    values change. So the bytes of one round are a pattern, and the rounds that follow it are
    rows of a matrix, in which all else must be equal.

    Returns:
        The points, and how many bytes they took; None where there is no run.
    """
    if not _is_simple(first):
        return None
    lengths = list(itertools.islice(_lengths(data, at), 4 * _LONGEST_PERIOD))
    period = _period(lengths)
    if period is None:
        return None
    width = sum(lengths[:period]) + period * _records.OVERHEAD_BYTES
    layout = _layout(data, at, lengths[:period])
    if layout is None:
        return None
    fixed, events, starts = layout
    rows = (len(data) - at) // width
    matrix = np.frombuffer(data, np.uint8, rows * width, at).reshape(rows, width)
    rows = _equal_rows(matrix, fixed)
    rows = _rows_of_whole_steps(matrix[:rows], events, starts)
    rows = _intact_rows(data, at, width, rows, lengths[:period], starts)
    if rows < _SHORTEST_RUN // 2:
        return None
    points = [
        _points(matrix[:rows], start, event) for event, start in zip(events, starts, strict=True)
    ]
    return points, rows * width


def _is_simple(event: Event) -> bool:
    return bool(event.values_at) and event.step_at is not None and event.time_at >= 0


def _lengths(data: bytes, at: int) -> Iterator[int]:
    while True:
        length = _records.length_at(data, at)
        if length is None or at + length + _records.OVERHEAD_BYTES > len(data):
            return
        yield length
        at += length + _records.OVERHEAD_BYTES


def _period(lengths: list[int]) -> int | None:
    """Return after how many records the lengths repeat, if they do so often enough."""
    for period in range(1, min(_LONGEST_PERIOD, len(lengths) // 3) + 1):
        if lengths[0] == lengths[period] and lengths[period:] == lengths[: len(lengths) - period]:
            return period if len(lengths) >= _SHORTEST_RUN else None
    return None


def _layout(
    data: bytes, at: int, lengths: list[int]
) -> tuple[npt.NDArray[np.bool_], list[Event], list[int]] | None:
    """Parse one round; return which of its bytes stay the same, its events and their starts."""
    fixed = np.ones(sum(lengths) + len(lengths) * _records.OVERHEAD_BYTES, bool)
    events: list[Event] = []
    starts: list[int] = []
    end = 0
    for length in lengths:
        start = end + _records.HEADER_BYTES
        try:
            event = parse_event(data[at + start : at + start + length])
        except ValueError:
            return None
        if not _is_simple(event) or event.step_at is None or event.values_at is None:
            return None
        fixed[start + event.time_at : start + event.time_at + 8] = False
        fixed[start + event.step_at[0] : start + event.step_at[1]] = False
        for value_at in event.values_at:
            fixed[start + value_at : start + value_at + 4] = False
        end = start + length + _records.FOOTER_BYTES
        fixed[end - _records.FOOTER_BYTES : end] = False
        events.append(event)
        starts.append(start)
    tags = [tag for event in events for tag, _ in event.scalars]
    # A tag that comes twice in a round would lose the order of its points.
    return (fixed, events, starts) if len(set(tags)) == len(tags) else None


def _equal_rows(matrix: npt.NDArray[np.uint8], fixed: npt.NDArray[np.bool_]) -> int:
    """Return how many rows from the first on are equal to it where they must be."""
    pattern = matrix[0, fixed]
    checked, step = 0, 64
    while checked < len(matrix):
        block = matrix[checked : checked + step]
        equal = (block[:, fixed] == pattern).all(axis=1)
        if not equal.all():
            return checked + int(np.argmin(equal))
        checked += len(block)
        step = min(step * 4, 16_384)
    return len(matrix)


def _rows_of_whole_steps(
    matrix: npt.NDArray[np.uint8], events: list[Event], starts: list[int]
) -> int:
    """Return for how many rows the steps' varints are as long as in the first row."""
    rows = len(matrix)
    for event, start in zip(events, starts, strict=True):
        begin, end = event.step_at or (0, 0)
        goes_on = matrix[:rows, start + begin : start + end] >= 0x80
        same = (goes_on == goes_on[0]).all(axis=1)
        if not same.all():
            rows = int(np.argmin(same))
    return rows


def _intact_rows(
    data: bytes, at: int, width: int, rows: int, lengths: list[int], starts: list[int]
) -> int:
    """Return for how many rows every checksum is right."""
    intact = rows
    for start, length in zip(starts, lengths, strict=True):
        begins = range(at + start, at + start + intact * width, width)
        computed = np.fromiter(
            (google_crc32c.value(data[begin : begin + length]) for begin in begins),
            np.uint32,
            intact,
        )
        matrix = np.frombuffer(data, np.uint8, intact * width, at).reshape(intact, width)
        stated = matrix[:, start + length : start + length + _records.FOOTER_BYTES]
        right = _records.mask_all(computed) == np.ascontiguousarray(stated).view("<u4").reshape(-1)
        if not right.all():
            intact = int(np.argmin(right))
    return intact


def _points(matrix: npt.NDArray[np.uint8], start: int, event: Event) -> Points:
    columns = [start + at + byte for at in event.values_at or () for byte in range(4)]
    values = np.ascontiguousarray(matrix[:, columns]).view("<f4").astype(np.float64)
    time_at = start + event.time_at
    times = np.ascontiguousarray(matrix[:, time_at : time_at + 8]).view("<f8").reshape(-1)
    begin, end = event.step_at or (0, 0)
    steps = np.zeros(len(matrix), np.uint64)
    for place in range(end - begin):
        group = matrix[:, start + begin + place].astype(np.uint64) & np.uint64(0x7F)
        steps |= group << np.uint64(7 * place)
    tags = tuple(tag for tag, _ in event.scalars)
    return Points(tags, steps.view(np.int64), times.astype(np.float64), values)


_remembered: "OrderedDict[tuple[pathlib.Path, int], EventFile]" = OrderedDict()
_remembering = threading.Lock()


def read_file(path: pathlib.Path) -> EventFile:
    """Return what is in an event file; what an earlier call has read is not read again."""
    status = path.stat()
    key = (path, status.st_ino)
    with _remembering:
        file = _remembered.get(key)
        if file is None or not file.is_of(status.st_size):
            file = EventFile(path)
        _remembered[key] = file
        _remembered.move_to_end(key)
        while len(_remembered) > _FILES_REMEMBERED:
            _remembered.popitem(last=False)
    file.read_on()
    return file
