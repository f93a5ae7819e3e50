"""Session: the state of a process for an experiment's directory.

`Experiment` is a frozen value that can be created, copied and dropped freely. State that must exist
once per process and directory (the event file, the checkpoint being saved) belongs to a session,
which all handles share.
"""

import contextlib
import itertools
import math
import os
import pathlib
import threading
import weakref
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from . import _outcome as _outcome  # Here, so that the script imports it before it can end.
from . import _shutdown as _shutdown  # First of all: it registers with `atexit`.
from . import distributed
from ._errors import ExperimentMovedError, ExperimentNotFoundError, LogWriteError
from .events.reading import EventReader
from .storage import Directory

if TYPE_CHECKING:
    from .checkpoints import Checkpoints
    from .events.writing import EventLog
    from .storage import OpenMark

_lock = threading.RLock()
_sessions: "weakref.WeakValueDictionary[pathlib.Path, Session]" = weakref.WeakValueDictionary()
_open: "set[Session]" = set()
"""Sessions with open files or threads, which outlive their last handle."""


class Session:
    """The open event log and the checkpoints of one directory."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.moved_to: pathlib.Path | None = None
        self._checkpoints: Checkpoints | None = None
        self.reader = EventReader(Directory(directory))
        self._changing = threading.RLock()
        """Held while the directory is created for the event log, cleared or moved."""
        # Never replaced: a thread that logs during a close, or a user's summary writer, would
        # otherwise write to a log that is never flushed.
        self._events: EventLog | None = None
        self._is_open = False
        self._mark: OpenMark | None = None
        self._handled = _outcome.mark_handled()

    @property
    def checkpoints(self) -> "Checkpoints":
        from .checkpoints import Checkpoints  # Slow.

        self.check()
        with _lock:
            if self._checkpoints is None:
                self._checkpoints = Checkpoints(self.directory, self._before_commit)
            return self._checkpoints

    @property
    def open_events(self) -> "EventLog | None":
        """The event log, if it is open, and the directory is still here and this process's."""
        mark = self._mark
        if not self._is_open or self.moved_to is not None or (mark is not None and mark.is_lost):
            return None
        return self._events

    @property
    def was_closed(self) -> bool:
        """Whether the event log was closed and must be reopened in the same directory."""
        return not self._is_open and self.moved_to is None

    def open_event_log(self) -> "tuple[EventLog, bool]":
        """Return the event log, and whether it was opened just now."""
        from .events.writing import EventLog  # It needs JAX.

        directory = Directory(self.directory)
        with self._changing:
            self.check()
            was_open = self._is_open
            if not was_open and distributed.is_primary():
                directory.make()
            self.keep()
            if self._events is None:
                self._events = EventLog(directory)
            self._is_open = True
            self.mark_open()
            return self._events, not was_open

    def open_reader(self) -> EventReader:
        """Write all logs, and return the reader of the curves."""
        self.check()
        self.write_logs()
        if not Directory(self.directory).is_present():
            raise ExperimentNotFoundError(
                f"{self.directory}: expected an experiment, found no directory; check the path"
            )
        return self.reader

    def mark_open(self) -> None:
        """Mark the directory as open until this process closes it or dies."""
        # Only the first of several processes closes the directory before moving it.
        if self._mark is not None:
            self._mark.check()
        elif distributed.is_primary():
            self._mark = Directory(self.directory).mark_open()

    def unmark(self) -> None:
        mark, self._mark = self._mark, None
        if mark is not None:
            mark.release()

    def check(self) -> None:
        """Raise `ExperimentMovedError` if the directory is no longer here."""
        if self.moved_to is not None:
            raise ExperimentMovedError(
                f"{self.directory} has been moved to {self.moved_to}; use the experiment that "
                f"move() returned, or Experiment({str(self.moved_to)!r})"
            )

    def keep(self) -> None:
        """Keep the session until it is closed, since it has work in the background."""
        with _lock:
            _open.add(self)

    def _before_commit(self) -> None:
        self.write_logs()
        if Directory(self.directory).is_remote:
            if self._mark is None:
                self.mark_open()
            if self._mark is not None:
                self._mark.check(math.inf)

    def flush(self) -> None:
        """Write everything to disk, and raise errors of pending work."""
        raise_last(self._finish(lambda: self._events and self._events.flush()))

    def write_logs(self) -> None:
        """Write what has been logged, so that no checkpoint is ahead of its curves.

        A run that resumes from a checkpoint does not repeat earlier logs, so logs lost to a kill
        would stay missing.
        """
        if self._events is not None:
            # The log reports its own errors, which must not prevent a checkpoint.
            with contextlib.suppress(LogWriteError):
                self._events.write()

    def close(self) -> None:
        """Flush, and release files and threads; the next use reopens them."""
        raise_last(self.settle(_outcome.current_error(self._handled)))

    def settle(self, ended_by: BaseException | None) -> list[BaseException]:
        """Close, and return the errors of pending work.

        Exceptions of the user's signal handlers are raised instead.
        """
        errors = self._finish(lambda: self._close_events(ended_by))
        self.unmark()
        return errors

    def _finish(self, finish_logs: Callable[[], object]) -> list[BaseException]:
        errors: list[BaseException] = []
        try:
            finish_logs()
        except LogWriteError as error:
            errors.append(error)
        if self._checkpoints is not None and (failure := self._checkpoints.settle()) is not None:
            errors.append(failure)
        return errors

    def begin_in_child(self) -> None:
        """Release locks that a thread of the parent held at the fork."""
        self._changing = threading.RLock()
        self.reader = EventReader(Directory(self.directory))
        if self._mark is not None:
            self._mark.forget()
        self._mark = None
        if self._checkpoints is not None:
            self._checkpoints.begin_in_child()

    def _close_events(self, ended_by: BaseException | None) -> None:
        # First, so that a concurrent `log` reopens it.
        self._is_open = False
        if self._events is not None:
            self._events.record_end(ended_by)
            self._events.close()
        with _lock:
            if not self._is_open:
                _open.discard(self)

    def clear(self, path: pathlib.Path) -> bool:
        """Remove the directory, or the link to it at `path`; return whether it was there."""
        directory = Directory(path)
        with distributed.collective("clear"):
            self.check()
            distributed.on_primary(directory.check_removable)
            # A thread that opens the log waits, and then creates the directory again.
            with self._changing:
                # Errors of pending work do not matter, since its results are removed.
                self.settle(None)
                return distributed.on_primary(directory.delete)

    def move(self, path: pathlib.Path, destination: pathlib.Path) -> bool:
        """Move the directory, or the link to it at `path`; return whether it was there."""
        source, target = Directory(path), Directory(destination)
        self.check()
        distributed.on_primary(lambda: source.check_movable(target))
        # If a link is moved, other handles keep using its target.
        with contextlib.nullcontext() if source.is_link() else self._leaving(destination):
            self.close()
            return distributed.on_primary(lambda: source.move(target))

    @contextlib.contextmanager
    def _leaving(self, moved_to: pathlib.Path) -> Generator[None]:
        """Give up the directory, unless the block that moves it raises.

        Every handle on this session refuses to work from the start of the block: a write by another
        thread after the close would create the directory again.
        """
        with self._changing:
            self.moved_to = moved_to
            try:
                yield
            except BaseException:
                self.moved_to = None
                raise
            if self._events is not None:
                self._events.follow(Directory(moved_to))
        with _lock:
            for key in [key for key, session in _sessions.items() if session is self]:
                del _sessions[key]


def raise_last(errors: list[BaseException]) -> None:
    """Raise the last error, with the earlier ones as its context."""
    for earlier, later in itertools.pairwise(errors):
        later.__context__ = later.__context__ or earlier
    if errors:
        raise errors[-1]


def session_of(directory: pathlib.Path) -> Session:
    """Return this process's session in a directory, the same for every link to it."""
    key = Directory(directory).real_path()
    with _lock:
        session = _sessions.get(key)
        # A signal handler may have created one despite the lock.
        return session or _sessions.setdefault(key, Session(directory))


def _unmark_all() -> None:
    for session in list(_sessions.values()):
        session.unmark()


def _begin_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    for session in list(_sessions.values()):
        session.begin_in_child()


# A process that ends by a signal keeps its marks, so that it counts as killed.
_shutdown.register(_unmark_all, lambda: None)
os.register_at_fork(after_in_child=_begin_in_child)
