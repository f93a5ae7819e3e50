"""EventWriter: a queue, a thread behind it, and the file that the thread appends to."""

import collections
import contextlib
import pathlib
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TypeAlias

from .._errors import LogWriteError
from ._event_file import EventFile

SECONDS_BETWEEN_WRITES = 0.5
_MOST_BYTES = 16 << 20
_MOST_ENTRIES = 4096
"""Few enough that the garbage collector has no reason to look through the whole heap."""
_MOST_SCALARS = 1 << 16

_writers: "weakref.WeakSet[EventWriter]" = weakref.WeakSet()


Entry: TypeAlias = object
"""Something handed over, whose values are safe from whatever the caller does next.

What holds more than a few kilobytes says so in an attribute `nbytes`.
"""

Encoder = Callable[[list[Entry], list[str]], Iterator[bytes]]
"""Returns the records of all entries, in order and some at a time; appends to a list what the user
should be told."""


class EventWriter:
    """Append records to one event file of a directory, in the background.

    Handing an entry over costs an append. A thread encodes and writes what has come
    together a few times a second: that disturbs the caller less than a thread that is woken at
    every step, and many steps are encoded at once. Only this thread touches the file.

    Attributes:
        directory: where the file is.
        notices: what the user should be told, which whoever calls next takes and tells.
    """

    def __init__(self, directory: pathlib.Path, encode: Encoder) -> None:
        self.directory = directory
        self._encode = encode
        self._begin()
        _writers.add(self)

    def begin_in_child(self) -> None:
        """Start with nothing in a forked child: the parent writes what was handed to it."""
        if self._file is not None:
            self._file.close()
        self._begin()

    def _begin(self) -> None:
        # A signal handler may flush in the middle of `put`, hence a lock that can be taken twice.
        # It is taken by itself and not through the condition, whose Python code an interrupt may
        # leave half-way, with the lock taken for good.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._entries: collections.deque[Entry] = collections.deque()
        self._entry_bytes = 0
        self._most_entries = _MOST_ENTRIES
        self._flushes_wanted = 0
        self._flushes_done = 0
        self._closing = False
        self._held = False
        self._thread: threading.Thread | None = None
        self._file: EventFile | None = None
        self._batches: Iterator[bytes] = iter(())
        self._batch = b""
        self._batch_written = 0
        self._error: OSError | None = None
        self.notices: list[str] = []

    def put(self, entry: Entry) -> None:
        """Hand a small entry over; wait only while the queue is full."""
        # Appending to a deque is atomic. What a lock would cost on top is most of what this costs.
        # First it is appended and then the thread looked for; a thread that ends does it the other
        # way round, so that one of the two sees the other.
        entries = self._entries
        waiting = len(entries)
        if waiting >= self._most_entries // 2:
            self._make_room(0)
        entries.append(entry)
        if self._thread is None:
            self._start()

    def expect(self, scalars: int) -> None:
        """Let fewer entries wait from now on, since they hold that many scalars each."""
        self._most_entries = min(self._most_entries, max(2, _MOST_SCALARS // scalars))

    def put_large(self, entry: Entry) -> None:
        """Hand over an entry that has `nbytes`; wait only while the queue is full."""
        self._make_room(_nbytes(entry))
        self.put(entry)

    def wait_for_room(self, nbytes: int) -> None:
        """Wait until an entry of that size fits in, or would be the only one."""
        with self._lock:
            self._wait_for_room(nbytes)

    def flush(self) -> None:
        """Write everything that has been handed over.

        Raises:
            LogWriteError: it cannot be written; it is kept and tried again.
        """
        with self._lock:
            self._flushes_wanted += 1
            wanted = self._flushes_wanted
            self._changed.notify_all()
            if self._entries:
                self._start()
            while self._thread is not None and self._flushes_done < wanted:
                self._changed.wait()
        if self._error is not None:
            is_there = self.directory.is_dir()
            remedy = (
                "free some space, or make the directory writable"
                if is_there
                else "make the directory again"
            )
            raise LogWriteError(
                f"{self.directory}: what was logged cannot be written: {self._error}; it is kept "
                f"in memory and tried again: {remedy}"
            ) from self._error

    def flush_soon(self) -> None:
        """Have the thread write, without waiting for it."""
        with self._lock:
            self._flushes_wanted += 1
            self._changed.notify_all()

    def close(self, hold: bool = False) -> None:
        """Flush, then end the thread and close the file. What is put later opens another.

        Args:
            hold: open none before `release` is called, and keep what is put until then.

        Raises:
            LogWriteError: it cannot be written; it is kept, and can be closed again.
        """
        self.flush()
        with self._lock:
            thread, self._closing, self._held = self._thread, True, hold
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def release(self) -> None:
        """Open a file again for what is put from now on, or has been put since `close`."""
        with self._lock:
            self._held = False
            if self._entries:
                self._start()

    def _make_room(self, nbytes: int) -> None:
        with self._lock:
            self._wait_for_room(nbytes)
            self._entry_bytes += nbytes
            if self._is_half_full():
                self._changed.notify_all()

    def _wait_for_room(self, nbytes: int) -> None:
        while self._entries and (
            self._entry_bytes + nbytes > _MOST_BYTES or len(self._entries) >= self._most_entries
        ):
            self._start()
            self._changed.notify_all()
            self._changed.wait(SECONDS_BETWEEN_WRITES)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._held:
                self._closing = False
                self._thread = threading.Thread(
                    target=self._run, name=f"events of {self.directory.name}", daemon=True
                )
                try:
                    self._thread.start()
                except BaseException:
                    # Interrupted, or refused: whoever comes next has to try again.
                    if self._thread.ident is None:
                        self._thread = None
                    raise

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._thread is not threading.current_thread():
                    # Whoever started it was interrupted, and has started another one.
                    return
                # Few entries at a time cost more each: what has come together while it wrote waits.
                self._changed.wait_for(self._is_due, SECONDS_BETWEEN_WRITES)
                wanted = self._flushes_wanted
            self._write()
            with self._lock:
                self._flushes_done = wanted
                self._changed.notify_all()
                if self._closing and self._error is None:
                    self._thread = None
                    file, self._file = self._file, None
                    break
        if file is not None:
            file.close()
        # What has been put since goes to another file: who closes does not wait for all that
        # other threads may log for ever. As the interpreter ends, there are no new threads.
        if self._entries:
            with contextlib.suppress(RuntimeError):
                self._start()

    def _is_due(self) -> bool:
        if self._flushes_wanted != self._flushes_done:
            return True
        # After an error it waits, however much there is to write.
        return self._error is None and (self._closing or self._is_half_full())

    def _is_half_full(self) -> bool:
        return self._entry_bytes > _MOST_BYTES // 2 or len(self._entries) >= self._most_entries // 2

    def _write(self) -> None:
        """Write all there is; what cannot be written is kept for the next time."""
        try:
            self._write_batches()
            with self._lock:
                entries = [self._entries.popleft() for _ in range(len(self._entries))]
                self._entry_bytes -= sum(map(_nbytes, entries))
                self._changed.notify_all()
            if entries:
                self._batches = self._encode(entries, self.notices)
                del entries
                self._write_batches()
        except OSError as error:
            if self._error is None:
                self.notices.append(
                    f"{self.directory}: what was logged cannot be written: {error}; it is kept in "
                    "memory and tried again, and log() waits once too much has come together"
                )
            self._error = error
        else:
            self._error = None

    def _write_batches(self) -> None:
        """Write what has been encoded, and what is about to be."""
        self._write_batch()
        for batch in self._batches:
            self._batch = batch
            self._write_batch()

    def _write_batch(self) -> None:
        if not self._batch:
            return
        if self._file is not None and self._file.is_gone():
            # Into a new file, the batch goes from its beginning: the old file, with the part of a
            # record that it may end with, has been deleted.
            self._file.close()
            self._file, self._batch_written = None, 0
        if self._file is None:
            self._file = EventFile(self.directory)
        view = memoryview(self._batch)
        while self._batch_written < len(view):
            self._batch_written += self._file.write(view[self._batch_written :])
        self._batch, self._batch_written = b"", 0


def _nbytes(entry: Entry) -> int:
    return getattr(entry, "nbytes", 0)


def open_writers() -> "list[EventWriter]":
    """Return the writers of this process."""
    return list(_writers)
