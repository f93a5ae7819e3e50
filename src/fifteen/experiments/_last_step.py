"""The step last logged to a directory, from the ends of its event files."""

import os
import pathlib
from collections.abc import Iterator

from .events import _parsing, _records

_FIRST_WINDOW = 1 << 10
_LARGEST_WINDOW = 1 << 24


def last_step(paths: list[pathlib.Path]) -> int | None:
    """Return the step of the scalars or histograms logged last, without reading whole files.

    Args:
        paths: a directory's event files.

    Returns:
        The step, a rewind honoured; None where nothing has been logged, or only long ago before
        16 MiB of other events.
    """
    limit: int | None = None
    for path in sorted(paths, key=_modified, reverse=True):
        step, limit = _last_of_file(path, limit)
        if step is not None:
            return step
    return None


def _last_of_file(path: pathlib.Path, limit: int | None) -> tuple[int | None, int | None]:
    """Return the last step of a file, and the step above which later files hide everything."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            window = _FIRST_WINDOW
            while True:
                start = max(0, size - window)
                file.seek(start)
                step, lowest = _last_of_records(file.read(size - start), limit)
                if step is not None or start == 0 or window >= _LARGEST_WINDOW:
                    return step, lowest
                window *= 8
    except OSError:
        return None, limit


def _last_of_records(data: bytes, limit: int | None) -> tuple[int | None, int | None]:
    for record in reversed(list(_records_in(data))):
        try:
            event = _parsing.parse_event(record)
        except ValueError:
            continue
        if event.is_session_start:
            limit = _smaller(limit, event.step - 1)
        elif event.scalars or event.histograms:
            return _smaller(limit, event.step), limit
    return None, limit


def _records_in(data: bytes) -> Iterator[bytes]:
    """Yield the whole records of what may begin in the middle of one."""
    at = _first_record(data)
    while (length := _records.length_at(data, at)) is not None:
        start, at = at + _records.HEADER_BYTES, at + length + _records.OVERHEAD_BYTES
        if at > len(data):
            return
        yield data[start : start + length]


def _first_record(data: bytes) -> int:
    # No record is 4 GiB long, so that each length has four zeros for its upper half.
    zeros = data.find(b"\0\0\0\0", 4)
    while zeros >= 0:
        length = _records.length_at(data, zeros - 4)
        if length is not None and zeros - 4 + length + _records.OVERHEAD_BYTES <= len(data):
            return zeros - 4
        zeros = data.find(b"\0\0\0\0", zeros + 1)
    return len(data)


def _smaller(limit: int | None, step: int) -> int:
    return step if limit is None else min(limit, step)


def _modified(path: pathlib.Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
