"""BackgroundWriter: a queue, a thread behind it, and the file that the thread appends to.

The user's signal handlers may raise at any instruction of the main thread, or flush the log. So
callers hold no lock and use only atomic operations: an exception could leave the objects of
`threading` half-changed.
"""

import _thread
import collections
import contextlib
import errno
import os
import queue
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ... import _shutdown
from ..._errors import LogWriteError
from ...storage import AppendedFile, Directory
from . import _file
from ._encoder import Encoder, describe

SECONDS_BETWEEN_WRITES = 0.5
SECONDS_UNTIL_IDLE = 5.0
"""Then the thread ends: a process may leave thousands of logs open."""
MAX_ENTRIES = 4096
"""Few enough that the garbage collector does not scan the full heap."""
_MAX_BYTES = 16 << 20
_MAX_BATCH_BYTES = 1 << 18


class _Request:
    """Answered once everything handed over before is written, or could not be."""

    def __init__(self, is_close: bool) -> None:
        self.is_close = is_close
        self.is_met = False  # False after the answer: the thread has died.
        self.answer = _thread.allocate_lock()
        self.answer.acquire()


class BackgroundWriter:
    """Append entries to one event file of a directory.

    Callers append entries to a queue. A thread encodes and writes the queue twice a second: if it
    woke up at each step, it would slow the caller more. It ends if nothing comes, and the next
    entry starts another. Only this thread writes to the file. An entry is what `Encoder.records`
    takes.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.reset()
        _writers.add(self)

    def reset(self) -> None:
        """Start empty, also in a forked child: the parent writes the earlier entries."""
        self._encoder = Encoder()
        self._entries: collections.deque[Any] = collections.deque()
        self._entry_bytes = 0
        # None wakes the thread.
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._taken: list[_Request] = []
        self._room_wanted: collections.deque[_thread.LockType] = collections.deque()
        # The thread that writes, under the key None: `dict.setdefault` picks one atomically.
        self._thread: dict[None, int] = {}
        self._is_starting = False
        self._idle_at = 0.0
        self._file: AppendedFile | None = None
        self._batches: Iterator[bytes] = iter(())
        self._batch = b""
        self._batch_written = 0
        self._error: BaseException | None = None
        self.reports: list[str] = []  # The next caller removes each, and warns of it.

    def put(self, entry: Any) -> None:
        """Hand over the scalars of a step; wait only while the queue is full."""
        # Append, then check the thread; an exiting thread does the reverse.
        entries = self._entries
        if len(entries) >= MAX_ENTRIES // 2:
            self._make_room(0)
        entries.append(entry)
        if not self._thread:
            self._start()

    def put_large(self, entry: Any) -> None:
        """Hand over a large entry; wait only while the queue is full."""
        self._make_room(len(entry) if isinstance(entry, bytes) else getattr(entry, "nbytes", 0))
        self.put(entry)

    def wait_for_room(self, nbytes: int) -> None:
        """Wait until an entry of that size fits, or the queue is empty."""
        while self._entries and (
            self._entry_bytes + nbytes > _MAX_BYTES or len(self._entries) >= MAX_ENTRIES
        ):
            has_room = _thread.allocate_lock()
            has_room.acquire()
            self._room_wanted.append(has_room)
            self._requests.put(None)
            self._start()
            has_room.acquire(timeout=SECONDS_BETWEEN_WRITES)

    @property
    def is_open(self) -> bool:
        """Whether anything has been handed over since the last `close`."""
        return self._file is not None or bool(self._entries)

    @property
    def is_deleted(self) -> bool:
        """Whether the user has deleted the file."""
        file = self._file
        return file is not None and file.is_gone()

    def flush(self) -> None:
        """Write everything handed over; raise `LogWriteError` if that fails."""
        self._ask(is_close=False)
        file = self._file
        if file is not None:
            # Not in the thread, which keeps writing while this waits for a network.
            try:
                file.flush()
            except OSError as error:
                raise self._error_of(error) from error

    def close(self) -> None:
        """Flush, end the thread and close the file. A later entry opens another."""
        self.flush()
        self._ask(is_close=True)

    def _ask(self, is_close: bool) -> None:
        if self._thread.get(None) == _thread.get_ident():
            # In a signal handler, which has interrupted `_work`.
            return
        # If a thread has died and left entries, another replaces it.
        while any((self._thread, self._is_starting, self._entries, self._batch, self._error)) or (
            is_close and self._file is not None
        ):
            request = _Request(is_close)
            self._requests.put(request)
            self._start()
            request.answer.acquire()
            if request.is_met:
                break
        error = self._error
        if error is not None:
            raise self._error_of(error) from error

    def _error_of(self, error: BaseException) -> LogWriteError:
        remedy = "free some space, or make the directory writable"
        if isinstance(error, FileNotFoundError):
            remedy = "make the directory again"
        elif isinstance(error, OSError) and error.errno == errno.ENETDOWN:
            remedy = "check the network, the credentials and the address"
        return LogWriteError(
            f"{self.directory}: what was logged cannot be written: {_text(error)}; it is kept "
            f"in memory and tried again: {remedy}"
        )

    def _make_room(self, nbytes: int) -> None:
        self.wait_for_room(nbytes)
        self._entry_bytes += nbytes
        is_half_full = self._entry_bytes > _MAX_BYTES // 2 or len(self._entries) >= MAX_ENTRIES // 2
        if is_half_full and self._requests.empty():
            self._requests.put(None)

    def _start(self) -> None:
        if self._thread or self._is_starting:
            return
        # Not in `__init__`, since a forked child must repeat it.
        _shutdown.prepare()
        self._is_starting = True
        try:
            _thread.start_new_thread(self._run, ())
        except BaseException as error:
            # The next caller starts a thread; of two threads, one ends at once.
            self._is_starting = False
            if "new thread" not in str(error):
                # A signal handler raised it.
                raise
            # The interpreter is shutting down, or the system has no more threads.
            self._requests.put(None)
            self._work(is_thread=False)

    def _run(self) -> None:
        self._work(is_thread=True)
        # Entries put since then go to another file, so that `close` does not wait for threads that
        # keep logging.
        if self._entries:
            self._start()

    def _work(self, is_thread: bool) -> None:
        """Write until a request closes the file or nothing comes, unless a thread does so."""
        me = _thread.get_ident()
        is_the_one = self._thread.setdefault(None, me) == me
        self._is_starting = False
        if not is_the_one:
            return
        try:
            while self._write_next() and is_thread:
                pass
        finally:
            # However the thread ends, no caller may keep waiting for it.
            requests, self._taken = self._taken, []
            self._thread.clear()
            for request in requests + self._take_requests():
                request.answer.release()

    def _write_next(self) -> bool:
        """Wait until something is due, and write it; return whether to continue."""
        self._wait()
        if self._entries:
            self._idle_at = time.monotonic() + SECONDS_UNTIL_IDLE
        self._write()
        is_closing = self._error is None and any(request.is_close for request in self._taken)
        if is_closing and self._file is not None:
            try:
                self._file.close()
                self._file = None
            except BaseException as error:
                self._error, is_closing = error, False
        for request in self._taken:
            request.is_met = True
        if is_closing:
            return False
        requests, self._taken = self._taken, []
        for request in requests:
            request.answer.release()
        return self._error is not None or time.monotonic() < self._idle_at

    def _wait(self) -> None:
        """Wait for a request or the next write: small writes cost more per entry."""
        end = time.monotonic() + SECONDS_BETWEEN_WRITES
        while not self._taken and (seconds := end - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                request = self._requests.get(timeout=seconds)
                if request is not None:
                    self._taken.append(request)
                elif self._error is None:
                    break
                # After an error, wait the full time, even if the queue is full.
        self._taken += self._take_requests()

    def _take_requests(self) -> list[_Request]:
        requests: list[_Request] = []
        while True:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                return requests
            if request is not None:
                requests.append(request)

    def _write(self) -> None:
        """Write everything; keep the rest for the next time after an error."""
        try:
            self._write_batches()
            entries = [self._entries.popleft() for _ in range(len(self._entries))]
            self._entry_bytes = 0
            while self._room_wanted:
                self._room_wanted.popleft().release()
            if entries:
                self._batches = self._encoded(entries)
                del entries
                self._write_batches()
        except BaseException as error:
            if self._error is None:
                self.reports.append(
                    f"{self.directory}: what was logged cannot be written: {_text(error)}; it is "
                    "kept in memory and tried again, and log() waits once the queue is full"
                )
            self._error = error
        else:
            self._error = None

    def _encoded(self, entries: list[Any]) -> Iterator[bytes]:
        """Yield batches of records; report and drop entries that cannot be encoded."""
        # If this fails, encoding fails too and reports it.
        with contextlib.suppress(BaseException):
            self._encoder.prepare(entries)
        batch = bytearray()
        entries.reverse()
        while entries:
            entry = entries.pop()
            try:
                for record in self._encoder.records(entry, self.reports.append):
                    batch += record
                    if len(batch) > _MAX_BATCH_BYTES:
                        yield bytes(batch)
                        batch.clear()
            except GeneratorExit:
                raise
            except BaseException as error:
                self.reports.append(f"{describe(entry)} are left out: {_text(error)}")
        yield bytes(batch)

    @property
    def keeps_unsent(self) -> bool:
        """Whether what cannot be written is kept elsewhere."""
        return self._file is not None and self._file.keeps_unsent

    def _write_batches(self) -> None:
        """Write the pending batch, then the rest as it is encoded."""
        self._batch = self._batch or next(self._batches, b"")
        while self._batch:
            if self._file is not None and self._file.is_gone():
                # The partial record at its end is deleted too, so write the whole batch again.
                self._file.close()
                self._file, self._batch_written = None, 0
            if self._file is None:
                self._file = _file.create(self.directory, self.reports.append)
            view = memoryview(self._batch)
            while self._batch_written < len(view):
                self._batch_written += self._file.write(view[self._batch_written :])
            self._batch, self._batch_written = b"", 0
            self._batch = next(self._batches, b"")


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


_writers: "weakref.WeakSet[BackgroundWriter]" = weakref.WeakSet()


def _finish_all(finish: Callable[[BackgroundWriter], None]) -> None:
    for writer in list(_writers):
        try:
            finish(writer)
        except (LogWriteError, RuntimeError) as error:
            # No caller is left to catch it.
            reason = _text(error.__cause__ or error)
            lost = "" if writer.keeps_unsent else ", what is not written is lost"
            print(f"LogWriteError at exit{lost}: {writer.directory}: {reason}", file=sys.stderr)


_shutdown.register(
    lambda: _finish_all(BackgroundWriter.close), lambda: _finish_all(BackgroundWriter.flush)
)
os.register_at_fork(after_in_child=lambda: [w.reset() for w in list(_writers)])
