"""EventFile: the content of one event file, as far as it has been read."""

import bisect
import contextlib
from collections import defaultdict
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ...storage import Directory, ReadableFile
from .._protos import SESSION_START
from .._tfrecord import OVERHEAD
from ._curve import Integers, Points, Starts
from ._records import Damage, Gap, Scan, scan
from ._templates import decode_alike
from ._values import Plugins, parse, values_of

_CHUNK_BYTES = 4 << 20
_MAX_RECORD_BYTES = 1 << 28
_MIN_ROWS = 8
"""Below that, parsing each event takes less time."""
_MAX_TEMPLATES = 64
_MAX_FAILURES = 8
"""How many events without a template are tried among those of one length."""
_MAX_REPORTED = 8
_FINGERPRINT_BYTES = 128
_HEAD_BYTES = 1 << 14
_FIRST_BYTES = 1 << 10
"""The first events are those that begin in so many bytes."""

NewPoints = dict[tuple[str, str], list[Points]]
"""Points by kind and tag; the kinds are those of `values_of`."""

MALFORMED = (DecodeError, ValueError, OverflowError)


def event_files(directory: Directory) -> list[str]:
    """Return the names of a directory's event files, oldest first."""
    return [
        entry.name
        for entry in directory.entries()
        if "tfevents" in entry.name
        and not entry.name.endswith(".profile-empty")
        and (entry.kind == "file" or (entry.kind == "other" and entry.is_link))
    ]


class EventFile:
    """One event file, as far as it has been read; with a window only its end, and only once.

    The position of an event is its offset in the file, plus `base`.
    """

    def __init__(self, window: int | None = None, base: int = 0) -> None:
        self._window = window
        self._base = base
        self.plugins: Plugins = {}
        self.end = 0  # How far the file has been read.
        self.first_times: list[float] = []  # Of the first events, in seconds since the epoch.
        self.last_event: Any = None  # The header of the file does not count.
        self._points: NewPoints = defaultdict(list)
        self._starts: Starts = []
        self._stamp: tuple[object, int, int] | None = None
        self._fingerprint = b""
        self._damages: list[Damage] = []
        self._damage_count = 0
        self._damage_at_end: list[Damage] = []

    def update(self, file: ReadableFile) -> bool:
        """Read new events; return False if the part already read has changed."""
        stamp = file.identity, file.size, file.modified_ns
        if stamp != self._stamp:
            if file.size < self.end or self._fingerprint != self._fingerprint_of(file):
                return False
            self.read_on(file)
            self._stamp = stamp
            if self._window is None:
                self._fingerprint = self._fingerprint_of(file)
        return True

    def take_new(self) -> tuple[NewPoints, Starts]:
        """Return the points and session starts found since the last call."""
        points, starts = self._points, self._starts
        self._points, self._starts = defaultdict(list), []
        return points, starts

    def _fingerprint_of(self, file: ReadableFile) -> bytes:
        """Return the last bytes of the part read, which contain times and checksums."""
        return file.read(max(0, self.end - _FINGERPRINT_BYTES), self.end)

    def read_on(self, file: ReadableFile) -> None:
        """Read new events; an incomplete or damaged end is read again the next time."""
        at, size, needed = self.end, file.size, _CHUNK_BYTES
        gap: Gap | None = None
        if self._window is not None and at == 0 and size > self._window:
            # Some writers name the plugin of a tag only once.
            self._decode(scan(file.read(0, _HEAD_BYTES), 0, size))
            self.take_new()
            at = size - self._window
            gap = Gap(at, "", is_torn=False)  # The window begins inside a record.
        while at < size:
            end = min(at + needed, size)
            buffer = file.read(at, end)
            if at + len(buffer) < end:
                size = at + len(buffer)  # The file has been truncated.
            found = scan(buffer, at, size, gap)
            for damage in found.damages:
                self._add_damage(*damage)
            self._decode(found)
            at, gap, needed = found.end, found.gap, max(_CHUNK_BYTES, found.needed)
            if found.needed > _MAX_RECORD_BYTES:
                end = at + found.needed
                self._add_damage(at, end, "a record too large to be read")
                at, needed = end, _CHUNK_BYTES
        self.end = at if gap is None else gap.start
        is_damaged = gap is not None and not (gap.is_torn or gap.is_zero)
        self._damage_at_end = [(gap.start, size, gap.reason)] if gap and is_damaged else []

    def report(self) -> str:
        """Return a line about skipped parts; an empty one if there are none."""
        shown = self._damages + self._damage_at_end
        if not shown:
            return ""
        places = "; ".join(f"bytes {start} to {end} ({reason})" for start, end, reason in shown)
        more = self._damage_count - len(self._damages)
        and_more = f"; and {more} more" if more else ""
        return f"damaged; skipped {places}{and_more}, and read all the rest"

    def _add_damage(self, start: int, end: int, reason: str) -> None:
        self._damage_count += 1
        if len(self._damages) < _MAX_REPORTED:
            self._damages.append((start, end, reason))

    def _decode(self, found: Scan) -> None:
        payloads = found.payloads
        left = range(len(payloads))
        if len(payloads) >= _MIN_ROWS:
            # The ends are not decoded by templates, since a timeline needs their events.
            last = len(payloads) - 1
            first = min(bisect.bisect_left(found.offsets, _FIRST_BYTES), last)
            lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
            order = first + np.argsort(lengths[first:last], kind="stable")
            groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
            few = [n for group in groups if len(group) < _MIN_ROWS for n in group.tolist()]
            left = sorted([*range(first), *few, last])
            # An event that names the plugin of a tag is longer than its successors.
            for number in left:
                with contextlib.suppress(DecodeError):
                    parse(payloads[number], self.plugins)
            for group in reversed(groups):
                if len(group) >= _MIN_ROWS:
                    left += self._decode_alike(found, group)
        self._decode_each(found, sorted(left))

    def _decode_alike(self, found: Scan, numbers: Integers) -> list[int]:
        """Decode events of one length by templates; return the numbers of those left."""
        payloads, positions = found.payloads, np.array(found.offsets, np.int64) + self._base
        rows = np.frombuffer(b"".join([payloads[n] for n in numbers.tolist()]), np.uint8)
        rows = rows.reshape(len(numbers), -1)
        left: list[int] = []
        for _ in range(_MAX_TEMPLATES):
            if len(numbers) < _MIN_ROWS or len(left) == _MAX_FAILURES:
                break
            # The first events have short steps, so they differ most from the others.
            middle = len(numbers) // 2
            matching = None
            with contextlib.suppress(DecodeError):
                matching = decode_alike(payloads[numbers[middle]], rows, self.plugins)
            if matching is None:
                left.append(int(numbers[middle]))
                numbers, rows = np.delete(numbers, middle), np.delete(rows, middle, axis=0)
                continue
            is_match, steps, wall_times, values = matching
            position = positions[numbers[is_match]]
            for tag, value in values.items():
                self._points["scalars", tag].append(Points(position, steps, wall_times, value))
            numbers, rows = numbers[~is_match], rows[~is_match]
        return left + numbers.tolist()

    def _decode_each(self, found: Scan, numbers: list[int]) -> None:
        rows: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for number in numbers:
            offset, payload = found.offsets[number], found.payloads[number]
            try:
                event = parse(payload, self.plugins)
                # A file is created after its first points were logged, so the first event is not
                # the earliest.
                if offset < _FIRST_BYTES:
                    self.first_times.append(event.wall_time)
                if not event.file_version:
                    self.last_event = event
                values = values_of(event, self.plugins)
            except MALFORMED as error:
                self._add_damage(offset, offset + len(payload) + OVERHEAD, f"no event: {error}")
                continue
            position, step, wall_time = offset + self._base, event.step, event.wall_time
            if not event.summary.value and event.session_log.status == SESSION_START:
                self._starts.append((position, step))
            for key, value in values.items():
                value = len(payload) if value is None else value
                rows[key].append((position, step, wall_time, value))
        for key, points in rows.items():
            self._points[key].append(_points(key[0], points))


def _points(kind: str, rows: list[Any]) -> Points:
    position, step, wall_time, value = zip(*rows, strict=True)
    # Not from a list: NumPy would join the arrays of several histograms.
    values = np.empty(len(value), object if kind == "histograms" else float)
    values[:] = value
    return Points(np.array(position), np.array(step), np.array(wall_time), values)
