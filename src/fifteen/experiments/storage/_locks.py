"""Locks on unfinished work, by which leftovers of dead writers are recognised.

A writer holds an exclusive `flock` while it writes, and the kernel drops it when the writer dies.
A process id would mean nothing on a shared disk or after a reboot. A forked child, such as a data
loader's, does not share its parent's locks, since it may outlive the parent.
"""

import contextlib
import fcntl
import io
import os
import pathlib
import shutil
import stat
from collections.abc import Generator

from ._os_errors import suppressed_os_errors

FILE_MODE = 0o666
"""The mode of a new file before the user's umask is applied, as for `open`."""

_held: set[int] = set()
"""The descriptors by which this process holds its locks."""


@contextlib.contextmanager
def hold(directory: pathlib.Path) -> Generator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


@contextlib.contextmanager
def create(path: pathlib.Path) -> Generator[io.FileIO]:
    """Create a file and hold its lock; repeat if it is removed before it is locked."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with io.FileIO(os.open(path, flags, FILE_MODE), "r+") as file:
            descriptor = file.fileno()
            _held.add(descriptor)
            try:
                _lock_or_remove(file, path)
                if _is_at(file, path):
                    yield file
                    return
            finally:
                _held.discard(descriptor)


def count_held() -> int:
    """Return the number of locks, each with a file descriptor, that this process holds."""
    return len(_held)


def remove_if_free(path: pathlib.Path) -> bool:
    """Remove a file or directory unless its lock is held; return whether it was removed."""
    # Its writer may be alive, another process faster, or its owner another user.
    with suppressed_os_errors():
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                shutil.rmtree(path)
            else:
                path.unlink()
            return True
        finally:
            os.close(descriptor)
    return False


def _lock_or_remove(file: io.FileIO, path: pathlib.Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except BaseException:
        with suppressed_os_errors():
            path.unlink()
        raise


def _is_at(file: io.FileIO, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _let_go_in_child() -> None:
    if not _held:
        return
    # Keep their numbers in use: objects copied into the child will close them.
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in _held:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)
