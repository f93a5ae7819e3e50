"""Remove large files without waiting for the disk.

A file's name vanishes at once. Its blocks are freed when its last descriptor is closed, which on a
common disk takes a third of the time that writing them took. A thread closes it, or else the kernel
when the process ends.
"""

import _thread
import contextlib
import os
import pathlib
import stat

from .._threads import start_thread
from . import _local

_LARGE_FILE = 1 << 20

_freeing: list[_thread.LockType] = []
"""A lock per file, held until its blocks are free."""


def remove_in_background(path: pathlib.Path) -> None:
    descriptor = None
    # A file that cannot be read can still be removed.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_size >= _LARGE_FILE:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if descriptor is None:
        _local.remove(path)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        os.close(descriptor)
        raise
    under_way = _thread.allocate_lock()
    under_way.acquire()

    def close() -> None:
        try:
            os.close(descriptor)
        finally:
            under_way.release()

    if start_thread(close):
        _freeing.append(under_way)
    else:
        close()


def wait_for_removals() -> None:
    """Wait until `remove_in_background` has freed all blocks."""
    # Several threads may wait at once.
    for under_way in list(_freeing):
        with under_way, contextlib.suppress(ValueError):
            _freeing.remove(under_way)


# A forked child has none of these threads.
os.register_at_fork(after_in_child=_freeing.clear)
