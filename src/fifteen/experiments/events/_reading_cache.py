"""Remembering what was read of event files, so that reading again costs only what is new."""

import dataclasses
import os
import pathlib
import stat
import threading
from collections import OrderedDict

from ._reading_file import EventFile

_MOST_BYTES = 256 << 20
_FINGERPRINT = 64


@dataclasses.dataclass(slots=True)
class _Entry:
    file: EventFile
    stamp: tuple[int, int, int]
    fingerprint: bytes


_entries: OrderedDict[tuple[int, int], _Entry] = OrderedDict()

lock = threading.RLock()
"""Held while files are read, and for as long as what `read_file` returns is looked at.

By one thread several times, since whoever is told of a warning may read something in turn.
"""


def read_file(path: pathlib.Path) -> EventFile | None:
    """Return what an event file holds now; None where there is no such file.

    Raises:
        OSError: it cannot be read.
    """
    try:
        # A pipe would keep `open` waiting for somebody who writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        return _read(descriptor, status)
    finally:
        os.close(descriptor)


def clear() -> None:
    """Forget everything."""
    _entries.clear()


def _read(descriptor: int, status: os.stat_result) -> EventFile:
    key = status.st_dev, status.st_ino
    stamp = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    entry = _entries.pop(key, None)
    if entry is None or not _is_continued(entry, stamp, descriptor):
        entry = _Entry(EventFile(), (0, 0, 0), b"")
    if entry.stamp != stamp:
        entry.file.read_on(descriptor, status.st_size)
        entry.stamp = stamp
        entry.fingerprint = _fingerprint(descriptor, entry.file.end)
    _entries[key] = entry
    total = sum(entry.file.nbytes for entry in _entries.values())
    while total > _MOST_BYTES:
        _, dropped = _entries.popitem(last=False)
        total -= dropped.file.nbytes
    return entry.file


def _is_continued(entry: _Entry, stamp: tuple[int, int, int], descriptor: int) -> bool:
    """Tell whether a file is the one that was read, as it was or with more behind it."""
    if stamp == entry.stamp:
        return True
    has_grown = stamp[0] > entry.stamp[0]
    return has_grown and _fingerprint(descriptor, entry.file.end) == entry.fingerprint


def _fingerprint(descriptor: int, end: int) -> bytes:
    """Return the first and the last bytes of what was read, which hold times and checksums."""
    first = os.pread(descriptor, min(_FINGERPRINT, end), 0)
    start = max(0, end - _FINGERPRINT)
    return first + os.pread(descriptor, end - start, start)


def _begin() -> None:
    # A thread that does not exist in a forked child may have been in the middle of reading.
    global lock
    lock = threading.RLock()
    clear()


os.register_at_fork(after_in_child=_begin)
