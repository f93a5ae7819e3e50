"""BackgroundWriter: a queue, a thread behind it, and the file that the thread appends to."""

import collections
import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ... import _shutdown
from ..._errors import LogWriteError
from ...storage import Directory
from ._encoder import Encoder, describe
from ._file import EventFile

SECONDS_BETWEEN_WRITES = 0.5
MAX_ENTRIES = 4096
"""Few enough that the garbage collector has no reason to look through the whole heap."""
_MAX_BYTES = 16 << 20
_MAX_BATCH_BYTES = 1 << 18


class BackgroundWriter:
    """Append entries to one event file of a directory.

    To hand over an entry is to append it to a queue. A thread encodes and writes the queue twice a
    second, which disturbs the caller less than a thread that wakes up at each step. Only this
    thread touches the file. An entry is what `Encoder.records` takes.

    Attributes:
        directory: where the file is.
        reports: what to warn the user of; the next caller removes each and warns.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self._reset()
        _writers.add(self)

    def reset_in_child(self) -> None:
        """Start with nothing in a forked child: the parent writes what was handed to it."""
        if self._file is not None:
            self._file.close()
        self._reset()

    def _reset(self) -> None:
        # Reentrant, since a signal handler may flush in the middle of `put`. It is acquired itself
        # rather than through the condition: an interrupt may leave Python code of the condition
        # half-way, with the lock acquired for ever.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._encoder = Encoder()
        self._entries: collections.deque[Any] = collections.deque()
        self._entry_bytes = 0
        self._flushes_wanted = 0
        self._flushes_done = 0
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self._file: EventFile | None = None
        self._batches: Iterator[bytes] = iter(())
        self._batch = b""
        self._batch_written = 0
        self._error: BaseException | None = None
        self.reports: list[str] = []

    def put(self, entry: tuple[Any, ...]) -> None:
        """Hand over the scalars of a step; wait only while the queue is full."""
        # `deque.append` is atomic, so no lock. Append, then check the thread; an exiting thread
        # does the reverse.
        entries = self._entries
        if len(entries) >= MAX_ENTRIES // 2:
            self._make_room(0)
        entries.append(entry)
        if self._thread is None:
            self._start()

    def put_large(self, entry: Any) -> None:
        """Hand over an entry that counts by its size; wait only while the queue is full."""
        self._make_room(_nbytes(entry))
        self.put(entry)

    def wait_for_room(self, nbytes: int) -> None:
        """Wait until an entry of that size fits in, or would be the only one."""
        with self._lock:
            while self._entries and (
                self._entry_bytes + nbytes > _MAX_BYTES or len(self._entries) >= MAX_ENTRIES
            ):
                self._start()
                self._changed.notify_all()
                self._changed.wait(SECONDS_BETWEEN_WRITES)

    def flush(self) -> None:
        """Write everything that has been handed over.

        Raises:
            LogWriteError: it cannot be written; it is kept and tried again.
        """
        with self._lock:
            self._flushes_wanted += 1
            wanted = self._flushes_wanted
            # A thread that has died is replaced, if there is anything left for it.
            while self._flushes_done < wanted and (self._thread is not None or self._has_work()):
                self._start()
                self._changed.notify_all()
                self._changed.wait()
        self._raise_error()

    def close(self) -> None:
        """Flush, end the thread and close the file. What is put later opens another.

        Raises:
            LogWriteError: it cannot be written; it is kept, and can be closed again.
        """
        self.flush()
        with self._lock:
            thread, self._is_closing = self._thread, True
            self._changed.notify_all()
            # A write of what was put since the flush may fail, and then the thread goes on.
            while thread is not None and self._thread is thread and self._error is None:
                self._changed.wait()
        self._raise_error()
        if thread is not None:
            thread.join()

    def _raise_error(self) -> None:
        error = self._error
        if error is not None:
            is_there = self.directory.exists()
            remedy = "free some space, or make the directory writable"
            raise LogWriteError(
                f"{self.directory}: what was logged cannot be written: {_text(error)}; it is kept "
                f"in memory and tried again: {remedy if is_there else 'make the directory again'}"
            ) from error

    def _make_room(self, nbytes: int) -> None:
        with self._lock:
            self.wait_for_room(nbytes)
            self._entry_bytes += nbytes
            if self._is_half_full():
                self._changed.notify_all()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                # Here, since a forked child has to prepare again.
                _shutdown.prepare()
                self._is_closing = False
                self._thread = threading.Thread(
                    target=self._run, name=f"events of {self.directory.path.name}", daemon=True
                )
                try:
                    self._thread.start()
                except BaseException:
                    # Interrupted, or refused: the next caller tries again.
                    if self._thread.ident is None:
                        self._thread = None
                    raise

    def _run(self) -> None:
        try:
            while self._write_next():
                pass
        finally:
            # However the thread ends, nobody may wait for it.
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None
                    self._changed.notify_all()

    def _write_next(self) -> bool:
        """Wait until something is due, and write it; return whether to go on."""
        with self._lock:
            if self._thread is not threading.current_thread():
                # `_start` was interrupted, and has started another thread.
                return False
            # Few entries at a time cost more each, so they are collected for a while.
            self._changed.wait_for(self._is_due, SECONDS_BETWEEN_WRITES)
            wanted = self._flushes_wanted
        self._write()
        with self._lock:
            self._flushes_done = wanted
            self._changed.notify_all()
            if not self._is_closing or self._error is not None:
                return True
            self._thread = None
            file, self._file = self._file, None
        if file is not None:
            file.close()
        # What has been put since goes to another file: `close` must not wait for all that other
        # threads may ever log. At the end of the interpreter there are no new threads.
        if self._entries:
            with contextlib.suppress(RuntimeError):
                self._start()
        return False

    def _is_due(self) -> bool:
        if self._flushes_wanted != self._flushes_done:
            return True
        # After an error it waits, however much there is to write.
        return self._error is None and (self._is_closing or self._is_half_full())

    def _is_half_full(self) -> bool:
        return self._entry_bytes > _MAX_BYTES // 2 or len(self._entries) >= MAX_ENTRIES // 2

    def _has_work(self) -> bool:
        return bool(self._entries or self._batch or self._error)

    def _write(self) -> None:
        """Write all there is; what cannot be written is kept for the next time."""
        try:
            self._write_batches()
            with self._lock:
                entries = [self._entries.popleft() for _ in range(len(self._entries))]
                self._entry_bytes -= sum(map(_nbytes, entries))
                self._changed.notify_all()
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
        """Yield the records of entries, many at a time; report and leave out what fails."""
        # If this fails, encoding fails in the same way.
        with contextlib.suppress(BaseException):
            self._encoder.prepare(entries)
        batch: list[bytes] = []
        size = 0
        entries.reverse()
        while entries:
            entry = entries.pop()
            records = self._encoder.records(entry, self.reports.append)
            while True:
                try:
                    record = next(records, None)
                except BaseException as error:
                    self.reports.append(f"{describe(entry)} are left out: {_text(error)}")
                    break
                if record is None:
                    break
                batch.append(record)
                size += len(record)
                if size > _MAX_BATCH_BYTES:
                    yield b"".join(batch)
                    batch, size = [], 0
        yield b"".join(batch)

    def _write_batches(self) -> None:
        """Write what has been encoded, and what is about to be."""
        self._write_batch()
        for batch in self._batches:
            self._batch = batch
            self._write_batch()

    def _write_batch(self) -> None:
        if not self._batch:
            return
        if self._file is not None and self._file.is_deleted():
            # The part of a record at its end is deleted too, so the whole batch is written again.
            self._file.close()
            self._file, self._batch_written = None, 0
        if self._file is None:
            self._file = EventFile(self.directory)
        view = memoryview(self._batch)
        while self._batch_written < len(view):
            self._batch_written += self._file.write(view[self._batch_written :])
        self._batch, self._batch_written = b"", 0


def _nbytes(entry: Any) -> int:
    return len(entry) if isinstance(entry, bytes) else getattr(entry, "nbytes", 0)


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


_writers: "weakref.WeakSet[BackgroundWriter]" = weakref.WeakSet()


def _finish_all(finish: Callable[[BackgroundWriter], None]) -> None:
    for writer in list(_writers):
        try:
            finish(writer)
        except (LogWriteError, RuntimeError) as error:
            # Nobody is left to catch it.
            reason = _text(error.__cause__ or error)
            print(
                f"LogWriteError at exit, what is not written is lost: {writer.directory}: {reason}",
                file=sys.stderr,
            )


def _reset_all() -> None:
    for writer in list(_writers):
        writer.reset_in_child()


_shutdown.register(
    lambda: _finish_all(BackgroundWriter.close), lambda: _finish_all(BackgroundWriter.flush)
)
os.register_at_fork(after_in_child=_reset_all)
