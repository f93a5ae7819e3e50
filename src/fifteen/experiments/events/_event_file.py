"""EventFile: one event file, which no other process or writer shares."""

import contextlib
import errno
import itertools
import os
import pathlib
import socket
import time

from .. import _directory
from . import _protobuf, _records

_PREFIX = "events.out.tfevents."
_LAST_SECOND = 9_999_999_998
"""The last one that a name of ten digits can still be followed by another."""

_numbers = itertools.count()


class EventFile:
    """Make an event file under a name that nobody else has, and append to it.

    TensorBoard takes for an event file what has `tfevents` in its name. It reads those of a
    directory in the order of their names, which begin with the second they were made in. So a
    name is chosen that comes after those of all files there, also when the last of them was made
    in this second or by a host whose clock is ahead.

    Args:
        directory: where to make it.

    Raises:
        OSError: it cannot be made; nothing is left behind.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        now = time.time()
        host = socket.gethostname().replace("/", "_") or "localhost"
        second = max(int(now), _last_second(directory) + 1)
        while True:
            name = f"{_PREFIX}{second:010d}.{host}.{os.getpid()}.{next(_numbers)}"
            path = directory / name
            # Two containers on a shared disk may have the same host name and process number.
            with contextlib.suppress(FileExistsError):
                self._file = _directory.create_exclusive(path)
                break
        head = _records.frame(_protobuf.event(now, 0, _protobuf.file_version()))
        try:
            if self._file.write(head) != len(head):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            # Without its head it is no event file, and another one is made the next time.
            self.close()
            _directory.remove(path)
            raise

    def write(self, data: memoryview) -> int:
        """Append data; return how much of it was written."""
        return self._file.write(data)

    def is_gone(self) -> bool:
        """Whether somebody has deleted it: what is written to it then would be lost."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _last_second(directory: pathlib.Path) -> int:
    """Return the largest second in the names of a directory's event files, or -1."""
    numbers = (
        name.removeprefix(_PREFIX).partition(".")[0]
        for name in _directory.list_names(directory)
        if name.startswith(_PREFIX)
    )
    seconds = (int(number) for number in numbers if number.isdecimal())
    return max((second for second in seconds if second <= _LAST_SECOND), default=-1)
