"""OpenMark: a hidden file that marks a directory as open in a running process.

Its writer holds the lock of the file until it closes the directory and removes the file. The kernel
drops the lock of a process that dies. So a file with a free lock was left by a killed process. Like
any temporary, it is not content of the directory.
"""

import contextlib
import fcntl
import os
import pathlib
import time
import weakref
from typing import Literal, TypeAlias

from . import _local, _locks
from ._os_errors import suppressed_os_errors

OpenState: TypeAlias = Literal["open", "abandoned", "unknown"]

_NAME = "open"
_MAX_MARKS = 128
"""Each needs a file descriptor, and a process has 1,024 by default."""
_SECONDS_BETWEEN_HOSTS = 600
"""Age at which another host's mark counts as abandoned: some network file systems hide its lock."""


class OpenMark:
    """The mark of this process until it is released."""

    is_lost = False
    """Whether another process has taken it."""

    def __init__(self, directory: pathlib.Path) -> None:
        path = _local.temporary_beside(directory / _NAME)
        stack = contextlib.ExitStack()
        # First, so that an interrupted constructor removes the mark too.
        self._finalizer = weakref.finalize(self, stack.close)
        stack.callback(_remove, path)
        stack.enter_context(_locks.create(path)).write(os.uname().nodename.encode())
        stack.callback(_remove, path)  # Before its lock is released.

    def check(self, seconds: float = 0.0) -> None:
        """Do nothing: several processes may have a directory open."""

    def release(self) -> None:
        # At exit, calling the finalizer itself has no effect.
        if (alive := self._finalizer.peek()) is not None:
            alive[1]()
            self._finalizer.detach()

    def forget(self) -> None:
        """Leave the mark to the parent process."""
        self._finalizer.detach()


def mark_open(directory: pathlib.Path) -> OpenMark | None:
    """Mark a directory as open; None if it cannot be locked, or too many are open."""
    if _locks.count_held() >= _MAX_MARKS:
        return None
    for path in _paths(directory):
        _locks.remove_if_free(path)
    with suppressed_os_errors():
        return OpenMark(directory)
    return None


def open_state(directory: pathlib.Path) -> OpenState:
    """Return whether a process has a directory open, or was killed while it had it open."""
    state: OpenState = "unknown"
    for path in _paths(directory):
        with suppressed_os_errors():
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                is_ours = os.read(descriptor, 256) == os.uname().nodename.encode()
                changed = directory.stat().st_mtime
                if is_ours or time.time() - changed > _SECONDS_BETWEEN_HOSTS:
                    state = "abandoned"
            except BlockingIOError:
                return "open"
            finally:
                os.close(descriptor)
    return state


def _paths(directory: pathlib.Path) -> list[pathlib.Path]:
    with suppressed_os_errors():
        return [
            directory / name
            for name in _local.names(directory)
            if name.startswith(f".{_NAME}.") and _local.is_temporary(name)
        ]
    return []


def _remove(path: pathlib.Path) -> None:
    with suppressed_os_errors():
        path.unlink()
