"""When a directory's events were logged and how its script ended, from the ends of the files."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...storage import Directory, ReadableFile
from .._protos import FAILURE, SESSION_END_TAG, SESSION_START, SUCCESS, hparams_type
from .._series import ScalarSeries
from ._event_file import MALFORMED, EventFile, event_files
from ._records import Gap, scan
from ._values import Plugins, has_unknown_plugin, parse, values_of

_FIRST_WINDOW_BYTES = 1 << 10
_MAX_WINDOW_BYTES = 1 << 24


class SessionEnd(NamedTuple):
    """How a script ended."""

    is_success: bool
    reason: str  # Such as "ValueError: boom"; may be empty.
    time: float  # Seconds since the epoch.


class Timeline(NamedTuple):
    """When a directory's events were logged, how far they go, and how the script ended."""

    first_time: float | None = None  # Of the first events, in seconds since the epoch.
    last_time: float | None = None  # Of the last event.
    last_step: int | None = None  # Of the last scalars or histograms that no rewind hides.
    end: SessionEnd | None = None  # None if anything was logged after it.


def timeline(directory: Directory) -> Timeline:
    """Read the beginning of a directory's first event file, and the ends of as many as needed.

    `last_step` is None if nothing has been logged, or only before 16 MiB of other events.
    """
    found, limit = Timeline(), 2**63 - 1
    names = event_files(directory)
    for name in reversed(names):
        if found.last_step is not None and name != names[0]:
            continue
        try:
            with directory.open(name) as file:
                if found.last_step is None:
                    found, limit = _read_end(file, found, limit)
                if name == names[0]:
                    found = found._replace(first_time=_first_time(file))
        except OSError:
            continue
    return found


def diverged_at(curves: Mapping[str, ScalarSeries]) -> int | None:
    """Return the step from which on a curve is only NaN or infinite; the first of all curves."""
    steps: list[int] = []
    for curve in curves.values():
        finite = np.flatnonzero(np.isfinite(curve.value))
        first = int(finite[-1]) + 1 if finite.size else 0
        steps += curve.step[first : first + 1].tolist()
    return min(steps, default=None)


def _read_end(file: ReadableFile, found: Timeline, limit: int) -> tuple[Timeline, int]:
    """Add what the end of a file tells; return also the limit of the steps in files before it."""
    plugins: Plugins | None = None
    for event in _events_backwards(file):
        if found.last_time is None and not event.file_version:
            found = found._replace(last_time=event.wall_time, end=_session_end(event))
        if event.session_log.status == SESSION_START:
            limit = min(limit, event.step - 1)
            continue
        if plugins is None and has_unknown_plugin(event, {}):
            # It may be named at the beginning of the file only.
            whole = EventFile()
            whole.read_on(file)
            plugins = whole.plugins
        try:
            kinds = {kind for kind, _, _ in values_of(event, plugins or {})}
        except MALFORMED:
            continue
        if kinds & {"scalars", "histograms"} and event.step <= limit:
            return found._replace(last_step=event.step), limit
    return found, limit


def _session_end(event: Any) -> SessionEnd | None:
    for value in event.summary.value:
        if value.tag == SESSION_END_TAG:
            try:
                content = hparams_type().FromString(value.metadata.plugin_data.content)
            except MALFORMED:
                return None
            end = content.session_end_info
            if end.status in (SUCCESS, FAILURE):
                time = end.end_time_secs or event.wall_time
                return SessionEnd(end.status == SUCCESS, value.metadata.summary_description, time)
    return None


def _first_time(file: ReadableFile) -> float | None:
    times: list[float] = []
    # A file is begun after its first points were logged, so the first record is not the earliest.
    for payload in scan(file.read(0, _FIRST_WINDOW_BYTES), 0, file.size).payloads:
        with contextlib.suppress(*MALFORMED):
            times.append(parse(payload).wall_time)
    return min(times, default=None)


def _events_backwards(file: ReadableFile) -> Iterator[Any]:
    """Yield the events at the end of a file, the last one first."""
    end, window = file.size, _FIRST_WINDOW_BYTES
    while end > 0 and window <= _MAX_WINDOW_BYTES:
        start = max(0, file.size - window)
        # The window begins within a record.
        gap = Gap(start, "", is_torn=False) if start else None
        found = scan(file.read(start, file.size), start, file.size, gap)
        for offset, payload in zip(found.offsets[::-1], found.payloads[::-1], strict=True):
            if offset < end:
                try:
                    yield parse(payload)
                except MALFORMED:
                    continue
        if found.offsets:
            end = found.offsets[0]
        if start == 0:
            return
        window *= 8
