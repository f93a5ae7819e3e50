"""Removing large files without waiting for the disk.

A file's name vanishes at once. Its blocks are freed when the last descriptor on it is closed, by
the kernel at the latest when the process ends, however it ends. On a common disk that takes a
third of the time in which they were written.
"""

import _thread
import os
import pathlib
import stat

from . import _local

_LARGE_FILE = 1 << 20

_freeing: list[_thread.LockType] = []
"""A lock for each file, which is held until its blocks are free."""


def remove_in_background(path: pathlib.Path) -> None:
    """Remove as `_local.remove` does, but free a large file's blocks in the background."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size < _LARGE_FILE:
            _local.remove(path)
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except PermissionError:
        # A file that cannot be read can still be removed.
        _local.remove(path)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        os.close(descriptor)
        raise
    # Nothing of `threading`, which breaks where a signal handler raises. The interpreter need not
    # wait for what the kernel does anyway.
    under_way = _thread.allocate_lock()
    under_way.acquire()
    try:
        _thread.start_new_thread(_close, (descriptor, under_way))
    except RuntimeError as error:
        if "new thread" not in str(error):
            # A signal handler's.
            raise
        os.close(descriptor)
    else:
        _freeing.append(under_way)


def _close(descriptor: int, under_way: _thread.LockType) -> None:
    try:
        os.close(descriptor)
    finally:
        under_way.release()


def wait_for_removals() -> None:
    """Wait until the blocks of what `remove_in_background` has removed are free."""
    while _freeing:
        with _freeing[-1]:
            pass
        _freeing.pop()


# A child has none of the threads.
os.register_at_fork(after_in_child=_freeing.clear)
