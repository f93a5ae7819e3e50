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
from collections.abc import Iterator
from typing import Any, NamedTuple

from ... import _shutdown
from ..._errors import LogWriteError
from ..._threads import start_thread
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
_SECONDS_BETWEEN_LOOKS = 0.005


class _Request(NamedTuple):
    """Answered with True once everything before it was tried, or False if the thread has died."""

    is_close: bool
    answer: "queue.SimpleQueue[bool]"


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
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
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

    def put(self, entry: Any, nbytes: int = 0) -> None:
        """Hand over an entry, with its size if it is large; wait only while the queue is full."""
        # Append, then check the thread; an exiting thread does the reverse.
        entries = self._entries
        if nbytes or len(entries) >= MAX_ENTRIES // 2:
            self.wait_for_room(nbytes)
            self._entry_bytes += nbytes
        entries.append(entry)
        if not self._thread:
            self._start()

    def put_event(self, event: Any) -> None:
        data = event.SerializeToString()
        self.put(data, len(data))

    def wait_for_room(self, nbytes: int) -> None:
        """Wait until an entry of that size fits, or the queue is empty."""
        while self._entries and self._share_filled(nbytes) >= 1:
            self._wake()
            self._start()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        if self._share_filled(nbytes) >= 0.5:
            self._wake()

    @property
    def is_open(self) -> bool:
        """Whether `close` has anything to do; not if the user has deleted the file."""
        file = self._file
        # The thread may be closing it, for a caller that was interrupted while it waited.
        with contextlib.suppress(OSError):
            if file is not None:
                return not file.is_gone()
        return bool(self._entries)

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

    def _share_filled(self, nbytes: int) -> float:
        return max(len(self._entries) / MAX_ENTRIES, (self._entry_bytes + nbytes) / _MAX_BYTES)

    def _wake(self) -> None:
        # After an error, the thread waits the full time, even if the queue is full.
        if self._error is None and self._requests.empty():
            self._requests.put(_Request(False, queue.SimpleQueue()))

    def _ask(self, is_close: bool) -> None:
        if self._thread.get(None) == _thread.get_ident():
            # In a signal handler, which has interrupted `_work`.
            return
        # If a thread has died and left entries, another replaces it.
        while any((self._thread, self._is_starting, self._entries, self._batch, self._error)) or (
            is_close and self._file is not None
        ):
            request = _Request(is_close, queue.SimpleQueue())
            self._requests.put(request)
            self._start()
            if request.answer.get():
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

    def _start(self) -> None:
        if self._thread or self._is_starting:
            return
        # Not in `__init__`, since a forked child must repeat it.
        _shutdown.prepare()
        self._is_starting = True
        try:
            is_started = start_thread(self._run)
        except BaseException:
            # The next caller starts a thread; of two threads, one ends at once.
            self._is_starting = False
            raise
        if not is_started:
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
            while self._round(SECONDS_BETWEEN_WRITES if is_thread else 0) and is_thread:
                pass
        finally:
            self._thread.clear()
            # However the thread ends, no caller may keep waiting for it.
            for request in self._take_requests(0):
                request.answer.put(False)

    def _round(self, seconds: float) -> bool:
        """Wait that long or for a request, and write; return whether to continue."""
        requests = self._take_requests(seconds)
        is_met = False
        try:
            if self._entries:
                self._idle_at = time.monotonic() + SECONDS_UNTIL_IDLE
            is_closing = any(request.is_close for request in requests)
            self._write(is_closing)
            is_met = True
        finally:
            for request in requests:
                request.answer.put(is_met)
        return self._error is not None or (not is_closing and time.monotonic() < self._idle_at)

    def _take_requests(self, seconds: float) -> list[_Request]:
        requests: list[_Request] = []
        with contextlib.suppress(queue.Empty):
            while True:
                requests.append(self._requests.get(timeout=seconds))
                seconds = 0
        return requests

    def _write(self, is_closing: bool) -> None:
        """Write everything; keep the rest for the next time after an error."""
        try:
            self._write_batches()
            self._batches = self._encoded()
            self._write_batches()
            if is_closing and self._file is not None:
                self._file.close()
                self._file = None
        except BaseException as error:
            if self._error is None:
                self.reports.append(
                    f"{self.directory}: what was logged cannot be written: {_text(error)}; it is "
                    "kept in memory and tried again, and log() waits once the queue is full"
                )
            self._error = error
        else:
            self._error = None

    def _encoded(self) -> Iterator[bytes]:
        """Take all entries, and yield batches of their records; report entries that fail."""
        entries = collections.deque(self._entries.popleft() for _ in range(len(self._entries)))
        self._entry_bytes = 0
        # If this fails, encoding fails too and reports it.
        with contextlib.suppress(BaseException):
            self._encoder.prepare(entries)
        batch = bytearray()
        while entries:
            entry = entries.popleft()
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

    def _write_batches(self) -> None:
        """Write the pending batch, then the rest as it is encoded."""
        while batch := self._batch or next(self._batches, b""):
            self._batch = batch
            if self._file is not None and self._file.is_gone():
                # The partial record at its end is deleted too, so write the whole batch again.
                self._file.close()
                self._file, self._batch_written = None, 0
            if self._file is None:
                self._file = _file.create(self.directory, self.reports.append)
            while self._batch_written < len(batch):
                rest = memoryview(batch)[self._batch_written :]
                self._batch_written += self._file.write(rest)
            self._batch, self._batch_written = b"", 0

    def finish(self, is_close: bool) -> None:
        """Close or flush; print an error, since no caller is left to catch it."""
        try:
            if is_close:
                self.close()
            else:
                self.flush()
        except (LogWriteError, RuntimeError) as error:
            is_kept = self._file is not None and self._file.keeps_unsent
            lost = "" if is_kept else ", what is not written is lost"
            reason = _text(error.__cause__ or error)
            print(f"LogWriteError at exit{lost}: {self.directory}: {reason}", file=sys.stderr)


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


_writers: "weakref.WeakSet[BackgroundWriter]" = weakref.WeakSet()


def _finish_all(is_close: bool) -> None:
    for writer in list(_writers):
        writer.finish(is_close)


_shutdown.register(lambda: _finish_all(is_close=True), lambda: _finish_all(is_close=False))
os.register_at_fork(after_in_child=lambda: [w.reset() for w in list(_writers)])
