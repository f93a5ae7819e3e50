"""EventWriter: a queue, a thread behind it, and the file that the thread appends to."""

import atexit
import contextlib
import itertools
import os
import pathlib
import signal
import socket
import threading
import time
import warnings
import weakref
from types import FrameType
from typing import Protocol

from .. import _directory
from .._errors import ExperimentWarning, LogWriteError
from . import _protobuf, _records

SECONDS_BETWEEN_WRITES = 0.5
_MOST_BYTES = 24 << 20
_MOST_ENTRIES = 8192

_file_numbers = itertools.count()
_writers: "weakref.WeakSet[EventWriter]" = weakref.WeakSet()


class Encoder(Protocol):
    """Turn entries into records, and append to `notices` what the user should be told."""

    def __call__(self, entries: list["Entry"], notices: list[str]) -> bytes:
        """Return the records of all entries, in order."""
        ...


class Entry(Protocol):
    """Something handed over, whose values are safe from whatever the caller does next."""

    @property
    def nbytes(self) -> int:
        """How much memory it holds."""
        ...


class EventWriter:
    """Append records to one event file of a directory, in the background.

    Handing an entry over costs a lock and an append. A thread encodes and writes what has come
    together a few times a second: that disturbs the caller less than a thread that is woken at
    every step, and many steps are encoded at once. Only this thread touches the file.
    """

    def __init__(self, directory: pathlib.Path, encode: Encoder) -> None:
        self._directory = directory
        self._encode = encode
        self._begin()
        _writers.add(self)
        _prepare_for_the_end()

    def _begin(self) -> None:
        # Also run in a forked child, which owns neither the parent's entries nor its thread.
        self._changed = threading.Condition()
        self._entries: list[Entry] = []
        self._entry_bytes = 0
        self._flushes_wanted = 0
        self._flushes_done = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._file: _EventFile | None = None
        self._unwritten = b""
        self._error: OSError | None = None
        self._notices: list[str] = []

    def put(self, entry: Entry, quiet: bool) -> None:
        """Hand an entry over; wait only while the queue is full.

        Args:
            entry: what to write.
            quiet: do not warn of what the thread has met.
        """
        with self._changed:
            while self._is_full():
                self._changed.notify_all()
                self._changed.wait(SECONDS_BETWEEN_WRITES)
                self._tell(quiet)
            self._entries.append(entry)
            self._entry_bytes += entry.nbytes
            if self._thread is None:
                self._start()
            elif self._entry_bytes > _MOST_BYTES // 4 or len(self._entries) > _MOST_ENTRIES // 4:
                self._changed.notify_all()
        if self._notices:
            self._tell(quiet)

    def flush(self, quiet: bool) -> None:
        """Write everything that has been handed over.

        Raises:
            LogWriteError: it cannot be written; it is kept and tried again.
        """
        with self._changed:
            self._flushes_wanted += 1
            wanted = self._flushes_wanted
            self._changed.notify_all()
            while self._thread is not None and self._flushes_done < wanted:
                self._changed.wait()
        self._tell(quiet)
        if self._error is not None:
            raise LogWriteError(
                f"{self._directory}: logged data could not be written: {self._error}; it is kept "
                "in memory and tried again: free some space or make the directory writable"
            ) from self._error

    def flush_soon(self) -> None:
        """Have the thread write, without waiting for it."""
        with self._changed:
            self._flushes_wanted += 1
            self._changed.notify_all()

    def close(self, quiet: bool) -> None:
        """Flush, then end the thread and close the file. What is put later opens another.

        Raises:
            LogWriteError: it cannot be written; it is kept, and can be closed again.
        """
        self.flush(quiet)
        with self._changed:
            thread, self._closing = self._thread, True
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        self._closing = False
        self._thread = threading.Thread(
            target=self._run, name=f"events of {self._directory.name}", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._is_wanted():
                    self._changed.wait(SECONDS_BETWEEN_WRITES)
                wanted = self._flushes_wanted
            self._write()
            with self._changed:
                self._flushes_done = wanted
                self._changed.notify_all()
                if self._closing and not self._entries and not self._unwritten:
                    self._thread = None
                    file, self._file = self._file, None
                    break
        if file is not None:
            file.close()

    def _is_wanted(self) -> bool:
        return self._closing or self._flushes_wanted > self._flushes_done

    def _is_full(self) -> bool:
        return self._entry_bytes > _MOST_BYTES or len(self._entries) >= _MOST_ENTRIES

    def _write(self) -> None:
        """Write all there is; what cannot be written is kept for the next time."""
        try:
            self._append()
            while self._entries:
                with self._changed:
                    entries, self._entries = self._entries, []
                    self._entry_bytes = 0
                    self._changed.notify_all()
                self._unwritten = self._encode(entries, self._notices)
                del entries
                self._append()
        except OSError as error:
            if self._error is None:
                self._notices.append(
                    f"{self._directory}: logged data cannot be written: {error}; it is kept in "
                    "memory and tried again, and training waits once too much has come together"
                )
            self._error = error
        else:
            self._error = None

    def _append(self) -> None:
        if not self._unwritten:
            return
        if self._file is None or self._file.is_gone():
            self._file = _EventFile(self._directory)
        while self._unwritten:
            self._unwritten = self._unwritten[self._file.write(self._unwritten) :]

    def _tell(self, quiet: bool) -> None:
        notices, self._notices = self._notices, []
        if not quiet:
            for notice in notices:
                warnings.warn(notice, ExperimentWarning, stacklevel=5)


class _EventFile:
    """One file, which no other process or writer shares."""

    def __init__(self, directory: pathlib.Path) -> None:
        now = time.time()
        stem = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}"
        while True:
            path = directory / f"{stem}.{next(_file_numbers)}"
            with contextlib.suppress(FileExistsError):
                self._file = _directory.create_exclusive(path)
                break
        head = _records.frame(_protobuf.event(now, 0, _protobuf.file_version()))
        try:
            if self._file.write(head) != len(head):
                raise OSError("no space left for the head of an event file")
        except OSError:
            # Without its head it is no event file, and another one is made the next time.
            self.close()
            _directory.remove(path)
            raise

    def write(self, data: bytes) -> int:
        """Append data; return how much of it was written."""
        return self._file.write(data)

    def is_gone(self) -> bool:
        """Whether somebody has deleted it: what is written to it then would be lost."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    def close(self) -> None:
        self._file.close()


_prepared = False


def _prepare_for_the_end() -> None:
    global _prepared
    if _prepared:
        return
    _prepared = True
    atexit.register(_close_all)
    os.register_at_fork(after_in_child=_begin_all)
    # Python ends at once on SIGTERM unless somebody handles it, and nothing would be written. A
    # handler of the user's own is left alone: it will end the interpreter in its own way.
    for number in (signal.SIGTERM, signal.SIGHUP):
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit_in_order)


def _exit_in_order(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _close_all() -> None:
    for writer in list(_writers):
        writer.close(quiet=False)


def _begin_all() -> None:
    for writer in list(_writers):
        writer._begin()  # pyright: ignore[reportPrivateUsage] # The writers' own module.
