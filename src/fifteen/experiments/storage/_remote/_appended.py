"""AppendedObjects: a file that grows, in a store whose objects cannot be appended to.

A thread puts an object again while it grows, and begins the next one once it is full. Each object
begins with the file's head and ends between two writes. So the objects, in the order of their
names, read as one file.
"""

import contextlib
import dataclasses
import errno
import os
import pathlib
import queue
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ..._threads import start_thread
from .._files import AppendedFile

_SECONDS_BETWEEN_PUTS = 10.0
_MAX_SECONDS_BETWEEN_TRIES = 60.0
_MAX_SECONDS_WITHOUT_PROGRESS = 15.0
_SECONDS_BETWEEN_LOOKS = 0.002
_MAX_OBJECT_BYTES = 4 << 20
_MAX_OBJECTS_IN_MEMORY = 16
_MAX_REPEATS = 16
_FREE_REPEATED_BYTES = 1 << 20
"""For an object, at most this plus `_MAX_REPEATS` times its size is sent."""


class _Directory(Protocol):
    """Where the objects are put."""

    def names(self) -> list[str]: ...
    def put(self, name: str, data: bytes) -> object: ...


@dataclasses.dataclass
class _Part:
    """An object, which grows as long as it is the last one."""

    number: int
    data: bytearray
    length: int  # Also if `data` is empty, since all of it is in the spilled file.
    sent: int = 0
    sent_in_all: int = 0
    spilled: int = 0

    def is_full(self) -> bool:
        repeated = self.sent_in_all - _FREE_REPEATED_BYTES
        return self.length >= _MAX_OBJECT_BYTES or repeated > _MAX_REPEATS * self.length


class AppendedObjects(AppendedFile):
    """Append to a new file; only `flush` and `close` wait for the network.

    Call `flush` without a lock held: a signal handler may raise there, or call it again.

    Args:
        directory: where the objects are put.
        name_after: returns the file's name, given the names in the directory.
        head: what each object begins with.
        report: takes messages to the user; called by a thread.
    """

    keeps_unsent = True

    def __init__(
        self,
        directory: _Directory,
        name_after: Callable[[list[str]], str],
        head: bytes,
        report: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._name_after = name_after
        self._head = head
        self._report = report
        # At most one, under the key None: `dict.setdefault` is atomic.
        self._name: dict[None, str] = {}
        # Two containers may have the same host name and process number.
        self._token = secrets.token_hex(4)
        self._spill = pathlib.Path(tempfile.gettempdir(), f"fifteen-{self._token}")
        self._parts = deque([_Part(0, bytearray(head), len(head))])
        self._error: BaseException | None = None
        self._time_of_progress = time.monotonic()
        self._is_closed = False
        self._tries_begun = self._tries_ended = 0
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        # Without one, `flush` sends.
        self._has_thread = start_thread(self._run)

    def write(self, data: bytes | memoryview) -> int:
        """Append data; return its number of bytes."""
        part = self._parts[-1]
        if part.is_full():
            if len(self._parts) > _MAX_OBJECTS_IN_MEMORY:
                self._save(part)
                part.data = bytearray()
            part = _Part(part.number + 1, bytearray(self._head), len(self._head))
            self._parts.append(part)
        part.data += data
        part.length += len(data)
        if part.is_full() and self._error is None:
            self._wake()
        return len(data)

    def is_gone(self) -> bool:
        """Return False: an object that is deleted while it grows is put again."""
        return False

    def flush(self) -> None:
        """Wait until everything written is in the store.

        Raises:
            OSError: it cannot be sent, or nothing has arrived for some time; a local file has it.
        """
        begin = time.monotonic()
        error: BaseException | None = None
        # One that has begun may not send all.
        wanted = self._tries_begun + 1
        self._wake()
        while self._tries_ended < wanted and error is None:
            if not self._has_thread:
                self._try_to_send()
            latest = max(begin, self._time_of_progress)
            if time.monotonic() - latest > _MAX_SECONDS_WITHOUT_PROGRESS:
                error = TimeoutError("the network does not answer")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        error = self._error or error
        if error is not None:
            for part in list(self._parts):
                self._save(part)
            raise OSError(
                errno.ENETDOWN,
                f"{_text(error)}; what is missing there has been written to {self._spill}; if this "
                "process ends, copy it there",
            ) from error

    def close(self) -> None:
        """Flush, and end the thread; if `flush` raises, the file stays open."""
        self.flush()
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._wakes.empty():
            self._wakes.put(None)

    def _run(self) -> None:
        pause = _SECONDS_BETWEEN_PUTS
        while not self._is_closed:
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=pause)
            self._try_to_send()
            is_sent = self._error is None
            pause = _SECONDS_BETWEEN_PUTS if is_sent else min(2 * pause, _MAX_SECONDS_BETWEEN_TRIES)
        self._has_thread = False

    def _try_to_send(self) -> None:
        self._tries_begun = number = self._tries_begun + 1
        try:
            while self._send_first():
                pass
        except BaseException as error:
            if self._error is None:
                self._report(
                    f"{self._directory}: what was logged cannot be sent: {_text(error)}; it is "
                    "kept and tried again until it arrives"
                )
            self._error = error
        else:
            self._error = None
        self._tries_ended = number

    def _send_first(self) -> bool:
        """Put the first object if it has grown; return whether there is another one after it."""
        part = self._parts[0]
        # Checked before its data are copied: an object that is not the last no longer grows.
        is_last = part is self._parts[-1]
        data = bytes(part.data) or self._path_of(part).read_bytes()
        if len(data) > part.sent:
            if not self._name:
                self._name.setdefault(None, self._name_after(self._directory.names()))
            self._directory.put(self._name_of(part), data)
            self._time_of_progress = time.monotonic()
            part.sent = len(data)
            part.sent_in_all += len(data)
        if part.spilled:
            self._path_of(part).unlink(missing_ok=True)
            part.spilled = 0
        if is_last:
            with contextlib.suppress(OSError):
                self._spill.rmdir()
        else:
            self._parts.popleft()
        return not is_last

    def _save(self, part: _Part) -> None:
        """Write an object that cannot be sent to a file; several threads may do so at once."""
        data = bytes(part.data)
        if len(data) > max(part.sent, part.spilled):
            self._spill.mkdir(mode=0o700, exist_ok=True)
            # Not truncated: a slower thread only writes a prefix of the same bytes.
            file = os.open(self._path_of(part), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as stream:
                stream.write(data)
            part.spilled = max(part.spilled, len(data))

    def _path_of(self, part: _Part) -> pathlib.Path:
        return self._spill / self._name_of(part)

    def _name_of(self, part: _Part) -> str:
        # If the store could not be listed, the name is chosen without its names.
        name = self._name.get(None) or self._name.setdefault(None, self._name_after([]))
        return f"{name}.{self._token}.{part.number:06d}"


def _text(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
