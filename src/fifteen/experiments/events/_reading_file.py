"""EventFile: what one event file holds, as far as it has been read."""

import dataclasses
import os
import pathlib
from collections import defaultdict

import numpy as np

from . import _records
from ._parsing import Event, parse_event
from ._reading_columns import Columns
from ._reading_frames import Frames, find_frames
from ._reading_rows import Points, read_alike
from ._reading_tensor import Buckets
from ._reading_wire import MalformedError

_CHUNK = 16 << 20
_LARGEST_RECORD = 1 << 28
_MOST_TAG_SETS = 256
"""A file with more combinations of tags in its events is kept tag by tag."""

_MOST_DAMAGES = 8
_NO_RECORD = "no intact record there"


@dataclasses.dataclass(frozen=True, slots=True)
class Histogram:
    """One histogram, and where it lies in its file."""

    place: int
    step: int
    wall_time: float
    buckets: Buckets


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """A session start: what was written before it at its step or a later one is void."""

    place: int
    step: int
    wall_time: float


@dataclasses.dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a file that were skipped."""

    start: int
    end: int
    reason: str

    def __str__(self) -> str:
        return f"bytes {self.start} to {self.end} ({self.reason})"


@dataclasses.dataclass(slots=True)
class _Gap:
    """Bytes behind which no record has been found so far.

    Attributes:
        start: where they begin.
        is_torn: they begin with a record that the file does not hold whole.
        is_zero: they are all zero, as a crash of the machine may leave the end of a file.
    """

    start: int
    is_torn: bool
    is_zero: bool


class EventFile:
    """What has been read of an event file, from its beginning on."""

    def __init__(self) -> None:
        self.columns: dict[tuple[str, ...], Columns] = {}
        self.histograms: dict[str, list[Histogram]] = {}
        self.starts: list[Start] = []
        self.first_wall_time: float | None = None
        self.end = 0
        self._damages: list[Damage] = []
        self._damage_count = 0
        self._last_damage: Damage | None = None
        self._plugins: dict[str, str] = {}
        self._histogram_bytes = 0

    def read_on(self, file: int, size: int) -> None:
        """Read what the file holds behind what has been read.

        What is torn or damaged at its end is looked at again the next time, when it may be whole.

        Args:
            file: a file descriptor.
            size: how many bytes to read up to.
        """
        position, wanted = self.end, _CHUNK
        gap: _Gap | None = None
        self._last_damage = None
        while position < size:
            count = min(wanted, size - position)
            buffer = _read(file, count, position)
            if len(buffer) < count:
                # Somebody has cut the file off meanwhile.
                size = position + len(buffer)
            frames = find_frames(buffer, size - position, is_within_gap=gap is not None)
            for start, end in frames.gaps:
                start = position + start if gap is None else gap.start
                gap = None
                self._add_damage(Damage(start, position + end, _NO_RECORD))
            self._read_records(buffer, frames, position)
            if frames.is_lost:
                is_zero = buffer.count(0, frames.end) == len(buffer) - frames.end
                if gap is None:
                    gap = _Gap(position + frames.end, frames.is_torn, is_zero)
                gap.is_zero &= is_zero
                # A header may begin in this buffer and end in the next one.
                is_last = position + len(buffer) >= size
                position += len(buffer) if is_last else len(buffer) - _records.HEADER_BYTES + 1
                wanted = _CHUNK
            else:
                position += frames.end
                wanted = max(_CHUNK, frames.wanted)
                if frames.wanted > _LARGEST_RECORD:
                    end = position + frames.wanted
                    self._add_damage(Damage(position, end, "a record too large to be read"))
                    position, wanted = end, _CHUNK
        self.end = position if gap is None else gap.start
        if gap is not None and not (gap.is_torn or gap.is_zero):
            self._last_damage = Damage(gap.start, size, _NO_RECORD)

    def report(self, path: pathlib.Path) -> str | None:
        """Return a line on what was skipped, or None where nothing was."""
        damages = [*self._damages, *([self._last_damage] if self._last_damage else [])]
        if not damages:
            return None
        count = self._damage_count + (self._last_damage is not None)
        more = f"; and {count - len(damages)} more" if count > len(damages) else ""
        return (
            f"{path}: damaged; skipped {'; '.join(map(str, damages))}{more}, and read all the rest"
        )

    @property
    def nbytes(self) -> int:
        """How much memory it takes, about."""
        return self._histogram_bytes + sum(columns.nbytes for columns in self.columns.values())

    def _add_damage(self, damage: Damage) -> None:
        self._damage_count += 1
        if len(self._damages) < _MOST_DAMAGES:
            self._damages.append(damage)

    def _read_records(self, buffer: bytes, frames: Frames, position: int) -> None:
        points, left = read_alike(buffer, frames, self._plugins)
        by_tags: dict[tuple[str, ...], list[Points]] = defaultdict(list)
        for part in points:
            part.place += position
            by_tags[part.tags].append(part)
        singles: dict[tuple[str, ...], list[tuple[int, Event]]] = defaultdict(list)
        first = min(
            ((int(p.place[0]), float(p.wall_time[0])) for p in points if p.place.size), default=None
        )
        for record in left.tolist():
            start, end = int(frames.starts[record]), int(frames.ends[record])
            place = position + start
            event = self._event(buffer, start, end, position)
            if event is None:
                continue
            if first is None or place < first[0]:
                first = place, event.wall_time
            if event.is_session_start:
                self.starts.append(Start(place, event.step, event.wall_time))
            for tag, buckets in event.histograms:
                self._add_histogram(tag, Histogram(place, event.step, event.wall_time, buckets))
            if event.scalars:
                singles[tuple(dict(event.scalars))].append((place, event))
        for tags, events in singles.items():
            by_tags[tags].append(_points(tags, events))
        for tags, parts in by_tags.items():
            self._add_points(tags, parts)
        if self.first_wall_time is None and first is not None:
            self.first_wall_time = first[1]

    def _event(self, buffer: bytes, start: int, end: int, position: int) -> Event | None:
        header = start - _records.HEADER_BYTES
        if not _records.is_intact(buffer, header, end - start):
            reason = "the checksum does not match the data"
        else:
            try:
                return parse_event(buffer[start:end], self._plugins)
            except MalformedError as error:
                reason = f"no event: {error}"
        stop = position + end + _records.FOOTER_BYTES
        self._add_damage(Damage(position + header, stop, reason))
        return None

    def _add_histogram(self, tag: str, histogram: Histogram) -> None:
        self.histograms.setdefault(tag, []).append(histogram)
        self._histogram_bytes += 400 + sum(array.nbytes for array in histogram.buckets)

    def _add_points(self, tags: tuple[str, ...], parts: list[Points]) -> None:
        if tags not in self.columns:
            if len(tags) > 1 and len(self.columns) >= _MOST_TAG_SETS:
                for number, tag in enumerate(tags):
                    self._add_points((tag,), [_one_tag(part, number) for part in parts])
                return
            self.columns[tags] = Columns(tags)
        self.columns[tags].append(parts)


def _read(file: int, count: int, position: int) -> bytes:
    parts: list[bytes] = []
    while count and (part := os.pread(file, count, position)):
        parts.append(part)
        position, count = position + len(part), count - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _points(tags: tuple[str, ...], events: list[tuple[int, Event]]) -> Points:
    return Points(
        tags=tags,
        place=np.array([place for place, _ in events], np.int64),
        step=np.array([event.step for _, event in events], np.int64),
        wall_time=np.array([event.wall_time for _, event in events], np.float64),
        value=np.array([list(dict(event.scalars).values()) for _, event in events], np.float64).T,
    )


def _one_tag(points: Points, number: int) -> Points:
    return dataclasses.replace(
        points, tags=(points.tags[number],), value=points.value[number : number + 1]
    )
