"""EventFile: one event file, which no other process or log shares."""

import contextlib
import errno
import itertools
import os
import socket
import time

from ...storage import Directory
from .. import _protos

_PREFIX = "events.out.tfevents."
_MAX_SECOND = 9_999_999_998
"""The last second of ten digits that another one can follow."""

_numbers = itertools.count()


class EventFile:
    """Create an event file under a name that nobody else has, and append to it.

    TensorBoard reads each file with `tfevents` in its name, in the order of the names, which begin
    with the second of creation. So the name sorts after all others, even if the last file was
    created in this second or by a host whose clock is ahead. If creating it fails, nothing is left
    behind.
    """

    def __init__(self, directory: Directory) -> None:
        now = time.time()
        head = _protos.record(_protos.event_type()(wall_time=now, file_version="brain.Event:2"))
        host = socket.gethostname().replace("/", "_") or "localhost"
        second = max(int(now), _last_second(directory) + 1)
        while True:
            name = f"{_PREFIX}{second:010d}.{host}.{os.getpid()}.{next(_numbers)}"
            # Two containers on a shared disk may have the same host name and process number.
            with contextlib.suppress(FileExistsError):
                self._file = directory.append(name)
                break
        try:
            if self._file.write(head) != len(head):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory / name))
        except BaseException:
            # Without its head it is no event file; the next attempt creates another one.
            self.close()
            directory.remove(name)
            raise

    def write(self, data: memoryview) -> int:
        """Append data; return how many bytes of it were written, at least one."""
        written = self._file.write(data)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written

    def is_deleted(self) -> bool:
        """Tell whether the file has been deleted: what is written to it then would be lost."""
        return self._file.is_gone()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _last_second(directory: Directory) -> int:
    """Return the largest second in the names of a directory's event files, or -1."""
    numbers = (
        name.removeprefix(_PREFIX).partition(".")[0]
        for name in directory.names()
        if name.startswith(_PREFIX)
    )
    seconds = (int(number) for number in numbers if number.isdecimal())
    return max((second for second in seconds if second <= _MAX_SECOND), default=-1)
