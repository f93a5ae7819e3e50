"""The step last logged in a directory, from the ends of its event files."""

from collections.abc import Iterator
from typing import Any

from ...storage import Directory, ReadableFile
from .._protos import SESSION_START
from ._event_file import MALFORMED, EventFile, event_files
from ._records import Gap, scan
from ._values import Plugins, has_unknown_plugin, parse, values_of

_FIRST_WINDOW_BYTES = 1 << 10
_MAX_WINDOW_BYTES = 1 << 24


def last_step(directory: Directory) -> int | None:
    """Return the step of the last scalars or histograms that no rewind hides.

    Only the ends of files are read. The result is None if nothing has been logged, or only before
    16 MiB of other events.
    """
    limit = 2**63 - 1
    for name in reversed(event_files(directory)):
        try:
            with directory.open(name) as file:
                step, limit = _last_of_file(file, limit)
        except OSError:
            continue
        if step is not None:
            return step
    return None


def _last_of_file(file: ReadableFile, limit: int) -> tuple[int | None, int]:
    """Return the last step of a file up to a limit, and the limit for the files before it."""
    plugins: Plugins | None = None
    for event in _events_backwards(file):
        if event.session_log.status == SESSION_START:
            limit = min(limit, event.step - 1)
            continue
        if plugins is None and has_unknown_plugin(event, {}):
            # It may be named at the beginning of the file only.
            whole = EventFile()
            whole.read_on(file)
            plugins = whole.plugins
        try:
            has_values = any(True for _ in values_of(event, plugins or {}))
        except MALFORMED:
            continue
        if has_values and event.step <= limit:
            return event.step, limit
    return None, limit


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
