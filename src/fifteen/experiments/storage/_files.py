"""Open files: to read, to write atomically, and to append to."""

import errno
import os
import pathlib
import stat
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Self

from ._locks import FILE_MODE

PIECE_BYTES = 8 << 20
"""How much `pieces` reads at a time."""


class ReadableFile:
    """Read ranges of a file, even after another one has taken its name.

    Attributes:
        path: where it was opened.
        size: its bytes when it was opened.
        modified_ns: when it was last written, in nanoseconds since the epoch.
        identity: unique to the file, and kept if it is renamed.
        parallel_bytes: how much to read in parallel; 0 if that is not faster.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a directory.
        OSError: it is not a regular file, or cannot be read.
    """

    parallel_bytes = 0

    def __init__(self, path: str | pathlib.Path) -> None:
        # A plain `open` of a pipe without a writer would wait for one.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._close = _closing(self, self._descriptor)
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            code = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
            raise OSError(code, "not a regular file", str(path))
        self.path = path
        self.size = status.st_size
        self.modified_ns = status.st_mtime_ns
        self.identity = (status.st_dev, status.st_ino)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._close()

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes from `start` to `end`; fewer if the file ends before."""
        parts: list[bytes] = []
        end = os.fstat(self._descriptor).st_size if end is None else end
        while start < end and (part := os.pread(self._descriptor, end - start, start)):
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self) -> Iterator[bytes]:
        """Yield all of its bytes, some MiB at a time."""
        for start in range(0, self.size, PIECE_BYTES):
            yield self.read(start, min(start + PIECE_BYTES, self.size))

    def read_into(self, buffer: Any, start: int) -> int:
        """Fill a buffer from `start` on; return the number of bytes read."""
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view):
            count = os.preadv(self._descriptor, [view[done:]], start + done)
            if not count:
                break
            done += count
        return done


class NewFile:
    """Write a new file, which gets its name once it is complete."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._end = 0

    def write(self, *buffers: Any) -> None:
        """Append buffers; raise `OSError` if the disk does not take all of them."""
        # Joining many small ones is faster than a system call for each.
        data = memoryview(buffers[0] if len(buffers) == 1 else b"".join(buffers))
        self.write_at(self._end, data)
        self._end += data.nbytes

    def write_each(self, pieces: Iterable[Any], nbytes: int) -> None:
        """Append pieces of `nbytes` in all; if sent in order, each is computed when it is sent."""
        for piece in pieces:
            self.write(piece)

    def skip(self, nbytes: int) -> None:
        """Leave a gap for `write_at`; files that are sent in order do not support that."""
        self._end += nbytes

    def write_at(self, start: int, data: Any) -> None:
        """Write into a gap; raise `OSError` if the disk does not take all of it."""
        view = memoryview(data).cast("B")
        while view:
            written = os.pwrite(self._descriptor, view, start)
            # A write may be partial, for example if the disk fills; the next call then raises.
            if not written:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            start, view = start + written, view[written:]


def _closing(owner: Any, descriptor: int) -> Callable[[], Any]:
    """Return a function that closes a descriptor, and is also called if its owner is collected.

    A `__del__` would run at each collection, and Python drops what a signal handler raises in it.
    """
    close = weakref.finalize(owner, os.close, descriptor)
    # At exit, it would run before the last writes.
    close.atexit = False
    return close


class AppendedFile:
    """Append to a new file, which readers may follow.

    Raises:
        FileExistsError: its name is taken.
    """

    keeps_unsent: ClassVar[bool] = False
    """Whether what cannot be written is kept elsewhere, which the error of `flush` names."""

    def __init__(self, path: pathlib.Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, FILE_MODE)
        self._close = _closing(self, self._descriptor)

    def write(self, data: Any) -> int:
        """Append data; return the number of bytes written, at least one."""
        written = os.write(self._descriptor, data)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written

    def flush(self) -> None:
        """Do nothing: readers see writes at once."""

    def is_gone(self) -> bool:
        """Return whether it has been deleted, so that writes would be lost."""
        return os.fstat(self._descriptor).st_nlink == 0

    def close(self) -> None:
        self._close()
