"""EventFile: the content of one event file, as far as it has been read."""

import bisect
import contextlib
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from ...storage import Directory, ReadableFile
from .._protos import SESSION_START
from .._tfrecord import OVERHEAD
from ._curve import Integers, Points, Starts
from ._records import Damage, Gap, Scan, scan
from ._templates import template_of
from ._values import UNKNOWN, Plugins, parse, values_of

_CHUNK_BYTES = 4 << 20
_MAX_RECORD_BYTES = 1 << 28
_MIN_ROWS = 8
"""Below that, parsing each event takes less time."""
_MAX_TEMPLATES = 64
_MAX_FAILURES = 8
"""How many events without a template are tried among those of one length."""
_MAX_REPORTED = 8
_FINGERPRINT_BYTES = 64
_HEAD_BYTES = 1 << 14
_FIRST_BYTES = 1 << 10
"""The first events are those that begin in so many bytes."""

_DTYPES: dict[str, npt.DTypeLike] = {"scalars": np.float64, "histograms": object}

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
        self.first_time: float | None = None  # Of the first events, in seconds since the epoch.
        self.last_event: Any = None
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
        """Return the first and last bytes of the part read, which contain times and checksums."""
        first = file.read(0, min(_FINGERPRINT_BYTES, self.end))
        return first + file.read(max(0, self.end - _FINGERPRINT_BYTES), self.end)

    def read_on(self, file: ReadableFile) -> None:
        """Read new events; an incomplete or damaged end is read again the next time."""
        at, size, needed = self.end, file.size, _CHUNK_BYTES
        gap: Gap | None = None
        if self._window is not None and at == 0 and size > self._window:
            # Some writers name the plugin of a tag only once.
            head = scan(file.read(0, _HEAD_BYTES), 0, size)
            events = _Events(head.payloads)
            self._keep_ends(head, events)
            for event in map(events.__getitem__, range(len(head.payloads))):
                with contextlib.suppress(*MALFORMED):
                    _ = event is not None and values_of(event, self.plugins)
            at = size - self._window
            gap = Gap(at, "", is_torn=False)  # The window begins inside a record.
        while at < size:
            end = min(at + needed, size)
            buffer = file.read(at, end)
            if at + len(buffer) < end:
                size = at + len(buffer)  # The file has been truncated.
            found = scan(buffer, at, size, gap)
            for damage in found.damages:
                self._add_damage(damage)
            events = _Events(found.payloads)
            self._decode(found, events)
            self._keep_ends(found, events)
            at, gap, needed = found.end, found.gap, max(_CHUNK_BYTES, found.needed)
            if found.needed > _MAX_RECORD_BYTES:
                end = at + found.needed
                self._add_damage(Damage(at, end, "a record too large to be read"))
                at, needed = end, _CHUNK_BYTES
        self.end = at if gap is None else gap.start
        is_damaged = gap is not None and not (gap.is_torn or gap.is_zero)
        self._damage_at_end = [Damage(gap.start, size, gap.reason)] if gap and is_damaged else []

    def report(self) -> str:
        """Return a line about skipped parts; an empty one if there are none."""
        shown = self._damages + self._damage_at_end
        if not shown:
            return ""
        places = "; ".join(f"bytes {start} to {end} ({reason})" for start, end, reason in shown)
        more = self._damage_count - len(self._damages)
        and_more = f"; and {more} more" if more else ""
        return f"damaged; skipped {places}{and_more}, and read all the rest"

    def _add_damage(self, damage: Damage) -> None:
        self._damage_count += 1
        if len(self._damages) < _MAX_REPORTED:
            self._damages.append(damage)

    def _keep_ends(self, found: Scan, events: "_Events") -> None:
        """Keep what `timeline` needs of the first and the last events."""
        # A file is created after its first points were logged, so the first record is not the
        # earliest.
        count = bisect.bisect_left(found.offsets, _FIRST_BYTES)
        first = filter(None, map(events.__getitem__, range(count)))
        times = [event.wall_time for event in first]
        self.first_time = min(times, default=self.first_time)
        last = map(events.__getitem__, reversed(range(len(found.payloads))))
        self.last_event = next(filter(None, last), self.last_event)

    def _decode(self, found: Scan, events: "_Events") -> None:
        count = len(found.payloads)
        few, groups = list(range(count)), list[Integers]()
        if count >= _MIN_ROWS:
            lengths = np.fromiter(map(len, found.payloads), np.int64, count)
            order = np.argsort(lengths, kind="stable")
            groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
            few = sorted(n for group in groups if len(group) < _MIN_ROWS for n in group.tolist())
        # These come first: an event that names the plugin of a tag is longer than its successors.
        left = self._decode_each(found, events, few, may_leave=True)
        for group in groups:
            if len(group) >= _MIN_ROWS:
                left += self._decode_alike(found, group)
        self._decode_each(found, events, sorted(left))

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
            try:
                template = template_of(payloads[numbers[middle]], self.plugins)
            except DecodeError:
                template = None
            if template is None:
                left.append(int(numbers[middle]))
                numbers, rows = np.delete(numbers, middle), np.delete(rows, middle, axis=0)
                continue
            is_match = template.matches(rows)
            steps, wall_times, values = template.decode(rows[is_match])
            matching = positions[numbers[is_match]]
            # If a tag is twice in an event, its last value wins.
            columns = np.ascontiguousarray(values.T)
            for tag, column in dict(zip(template.tags, columns, strict=True)).items():
                self._points["scalars", tag].append(Points(matching, steps, wall_times, column))
            numbers, rows = numbers[~is_match], rows[~is_match]
        return left + numbers.tolist()

    def _decode_each(
        self, found: Scan, events: "_Events", numbers: list[int], may_leave: bool = False
    ) -> list[int]:
        """Decode events one by one; return the numbers of those whose plugin is not known yet."""
        left: list[int] = []
        rows: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for number in numbers:
            offset, payload = found.offsets[number], found.payloads[number]
            event = events[number]
            try:
                # If it is malformed, this raises the reason.
                values = values_of(event or parse(payload), self.plugins)
            except MALFORMED as error:
                end = offset + len(payload) + OVERHEAD
                self._add_damage(Damage(offset, end, f"no event: {error}"))
                continue
            if UNKNOWN in values:
                if may_leave:
                    left.append(number)
                    continue
                del values[UNKNOWN]
            position, step, wall_time = offset + self._base, event.step, event.wall_time
            if not values and event.session_log.status == SESSION_START:
                self._starts.append((position, step))
            for key, value in values.items():
                value = len(payload) if value is None else value
                rows[key].append((position, step, wall_time, value))
        for key, points in rows.items():
            self._points[key].append(_points(points, _DTYPES.get(key[0], np.int64)))
        return left


class _Events(dict[int, Any]):
    """The events of records by their numbers, each parsed once; None if it is malformed."""

    def __init__(self, payloads: list[bytes]) -> None:
        self._payloads = payloads

    def __missing__(self, number: int) -> Any:
        # Not a generator: Python drops exceptions of signal handlers while it closes one.
        try:
            event = parse(self._payloads[number])
        except MALFORMED:
            event = None
        self[number] = event
        return event


def _points(rows: list[Any], dtype: npt.DTypeLike) -> Points:
    position, step, wall_time, value = zip(*rows, strict=True)
    # Not from a list: NumPy would join the arrays of several histograms.
    values = np.empty(len(value), dtype)
    values[:] = value
    return Points(
        np.array(position, np.int64), np.array(step, np.int64), np.array(wall_time, float), values
    )
