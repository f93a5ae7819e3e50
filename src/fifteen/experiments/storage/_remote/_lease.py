"""Lease: an object that says which process writes below an address.

A store has no locks, but conditional puts. The writer creates the object, and renews it every 10 s.
Another process takes it over once it has not changed for a minute, or at once if its writer was a
process of the same machine that has died.
"""

import _thread
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import queue
import secrets
import time
import weakref
from collections.abc import Callable
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from ..._errors import ExperimentLockedError
from ..._threads import start_thread
from .._open_mark import OpenMark, OpenState
from . import _store
from ._errors import errors_explained
from ._files import opened

NAME = ".open.fifteen-tmp"
_SECONDS_BETWEEN_RENEWALS = 10.0
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_TAKE_OVER = 60.0
_MAX_SECONDS_OF_SKEW = 600.0
_MAX_SECONDS_TO_RELEASE = 15.0
_MAX_SECONDS_BEFORE_PUT = 10.0

_works: "dict[str, _Work]" = {}
"""By address: the leases that this process holds or tries to get."""


class Lease(OpenMark):
    """Get the lease of a directory, and hold it until it is released."""

    def __init__(self, path: pathlib.PurePath) -> None:
        self._work = _Work(path)
        _works[str(path)] = self._work
        self._finalizer = weakref.finalize(self, self._work.end)
        self._finalizer.atexit = False
        self._work.start()

    @property
    def is_lost(self) -> bool:
        """Whether another process holds it."""
        return bool(self._work.problem)

    def check(self, seconds: float = 0.0) -> None:
        """Raise `ExperimentLockedError` if another process holds it, and try again to get it.

        If it is neither held nor refused yet, wait for that.
        """
        self._work.check(seconds)

    def release(self) -> None:
        """Let other processes write here."""
        self.forget()
        _wait_until(lambda: not self._work.running.locked(), _MAX_SECONDS_TO_RELEASE)

    def forget(self) -> None:
        """Release it without waiting for the store."""
        # At exit, calling the finalizer has no effect.
        if self._finalizer.detach() is not None:
            self._work.end()


def check(path: pathlib.PurePath) -> None:
    """Raise `ExperimentLockedError` if this process is refused the lease of a directory."""
    if (work := _works.get(str(path))) is not None:
        work.check(_MAX_SECONDS_BEFORE_PUT)


def state_of(path: pathlib.PurePath) -> OpenState:
    """Return whether a process holds the lease of a directory, or was killed while it held it."""
    path /= NAME
    # If the directory is listed, `head` costs no request.
    if _store.head(path) is None:
        return "unknown"
    try:
        file = opened(path)
    except FileNotFoundError:
        return "unknown"
    found = _Found({}, file.modified_ns / 1e9, _holder(file.read()))
    if (is_alive := found.is_alive()) is None:
        seconds = time.time() - found.modified
        # In between, the clocks may differ.
        if _SECONDS_TO_TAKE_OVER < seconds < _MAX_SECONDS_OF_SKEW:
            return "unknown"
        is_alive = seconds <= _SECONDS_TO_TAKE_OVER
    return "open" if is_alive else "abandoned"


@dataclasses.dataclass(frozen=True)
class _Found:
    """A lease in a store."""

    version: dict[str, str]
    modified: float
    holder: dict[str, Any]

    def is_alive(self) -> bool | None:
        """Return whether its holder is running; None if that is a process of another machine."""
        pid = self.holder.get("pid")
        if self.holder.get("machine") != _machine() or not isinstance(pid, int) or pid <= 0:
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        # In a restarted container, this process may have the number of an earlier one.
        tokens = [work.token for work in list(_works.values())]
        return pid != os.getpid() or self.holder.get("token") in tokens

    def __str__(self) -> str:
        name, pid, since = (self.holder.get(key, "unknown") for key in ("host", "pid", "since"))
        return f"process {pid} on {name} has been writing here since {since}"


class _Work:
    """Create, renew and take over a lease in a thread."""

    def __init__(self, path: pathlib.PurePath) -> None:
        self._path = path
        self.token = secrets.token_hex(8)
        self.is_decided = False
        self.running = _thread.allocate_lock()
        self.problem = ""
        self._ends: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._holder = {
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "machine": _machine(),
            "token": self.token,
        }

    def start(self) -> None:
        if not self.running.acquire(blocking=False):
            return
        self.is_decided = False
        if not start_thread(self._run):
            self.is_decided = True
            self.running.release()

    def check(self, seconds: float = 0.0) -> None:
        if self.problem:
            # The other process may have ended since.
            self.start()
        _wait_until(lambda: self.is_decided, seconds)
        if problem := self.problem:
            raise ExperimentLockedError(problem)

    def end(self) -> None:
        if _works.get(str(self._path)) is self:
            del _works[str(self._path)]
        self._ends.put(None)

    def _run(self) -> None:
        try:
            self._version: dict[str, str] | None = None
            self._is_held = False
            self._first: tuple[dict[str, str], float] | None = None
            while (pause := self._step()) is not None:
                with contextlib.suppress(queue.Empty):
                    self._ends.get(timeout=pause)
                    if self._is_held:
                        self._delete()
                    break
        finally:
            self.is_decided = True
            self.running.release()

    def _step(self) -> float | None:
        """Try to get or renew it; return the seconds until the next try; None if refused."""
        try:
            try:
                return self._hold(self._put())
            except (AlreadyExistsError, PreconditionError):
                return self._compete(_look(self._path / NAME))
        except (BaseError, OSError, RuntimeError):
            # The network is gone, the store has no conditional puts, or the process was forked.
            # The next write raises the reason.
            self.is_decided = True
            return _SECONDS_BETWEEN_RENEWALS

    def _put(self) -> dict[str, str]:
        store, key = _store.locate(self._path / NAME, is_patient=False)
        content = json.dumps({**self._holder, "renewed": time.time()}).encode()
        mode: Any = self._version or "create"
        return _version(obstore.put(store, key, content, mode=mode, use_multipart=False))

    def _compete(self, found: _Found | None) -> float | None:
        """Go on, as `_step`, after a put that failed because of the lease that it found."""
        self._version = None
        if found is None:
            # It was deleted meanwhile, for example by a `clear` elsewhere.
            return 0.1
        if found.holder.get("token") == self.token:
            # The put succeeded, but its response was lost.
            return self._hold(found.version)
        is_alive = found.is_alive()
        if is_alive is False or self._is_stale(found):
            self._version = found.version
            return 0.0
        is_same = self._first is None or self._first[0] == found.version
        if is_alive is None and is_same and not self._is_held:
            self._first = self._first or (found.version, time.monotonic())
            return _SECONDS_BETWEEN_LOOKS
        self.problem = (
            f"{self._path}: {found}; end it, or use another address. If it is dead, this one is "
            f"free after {_SECONDS_TO_TAKE_OVER:.0f} s"
        )
        return None

    def _hold(self, version: dict[str, str]) -> float:
        self._version, self._is_held = version, True
        self.problem, self.is_decided = "", True
        return _SECONDS_BETWEEN_RENEWALS

    def _is_stale(self, found: _Found) -> bool:
        if time.time() - found.modified > _MAX_SECONDS_OF_SKEW:
            return True
        if self._first is None or self._first[0] != found.version:
            return False
        return time.monotonic() - self._first[1] > _SECONDS_TO_TAKE_OVER

    def _delete(self) -> None:
        with contextlib.suppress(BaseError, OSError):
            found = _look(self._path / NAME)
            if found is not None and found.holder.get("token") == self.token:
                store, key = _store.locate(self._path / NAME, is_patient=False)
                obstore.delete(store, key)


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    # Polls, since a signal handler that raises would leave a lock of `threading` half-changed.
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)


def _look(path: pathlib.PurePath) -> _Found | None:
    store, key = _store.locate(path, is_patient=False)
    try:
        with errors_explained(path):
            found = obstore.get(store, key)
            meta, content = found.meta, bytes(found.bytes())
    except FileNotFoundError:
        return None
    return _Found(_version(meta), meta["last_modified"].timestamp(), _holder(content))


def _holder(content: bytes) -> dict[str, Any]:
    holder: Any = {}
    with contextlib.suppress(ValueError):
        holder = json.loads(content)
    return holder if isinstance(holder, dict) else {}


def _version(meta: Any) -> dict[str, str]:
    """Return the condition of a put; some stores have only one of the two."""
    return {key: meta[key] for key in ("e_tag", "version") if meta[key]}


@functools.cache
def _machine() -> str:
    """Return a text that is equal for processes that share one table of process numbers."""
    parts = [os.uname().nodename]
    with contextlib.suppress(OSError):
        parts.append(pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)
