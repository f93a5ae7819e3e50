"""One action at a time in the background, seen through also when the process ends.

A signal handler of the user's may raise at any instruction of the main thread. Whatever holds a
lock in Python code, as `threading.Thread.start` and `threading.Event` do, would then hold it for
ever. So a thread is started in one step, and there are only locks that are taken and let go in one.
"""

import _thread
import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Callable

from .. import _shutdown

MAX_PAUSE_SECONDS = 0.05
"""Seconds that a thread waits for its caller to go on."""

_NEVER = object()

_running: "set[_Action]" = set()
_failed: "set[_Action]" = set()
"""Actions whose error has not been raised yet."""


class Background:
    """Run actions in a thread, one after the other."""

    def __init__(self) -> None:
        self._pending: _Action | None = None

    def start(self, action: Callable[[], None]) -> None:
        """Run an action in a thread of its own; `wait` must have been called before.

        If interrupted, the action has either started, and `wait` joins it, or never runs.
        """
        pending = _Action(action)
        self._pending = pending
        try:
            pending.start()
        except BaseException:
            if pending.cancel():
                self._pending = None
            raise

    def wait(self) -> None:
        """See the action through, and raise its error, once."""
        error = self.settle()
        if error is not None:
            raise error

    def settle(self) -> BaseException | None:
        """See the action through, and return its error, once."""
        pending = self._pending
        if pending is None or not self.is_pending:
            return None
        if not pending.is_started:
            # `start` was interrupted.
            pending.cancel()
        pending.join()
        # Only now: who is interrupted while waiting has to wait again.
        self._pending = None
        _failed.discard(pending)
        return pending.error

    @property
    def is_pending(self) -> bool:
        """Whether there is an action that has not been seen through."""
        # A forked child has not the thread that runs its parent's.
        return self._pending is not None and self._pending.process == os.getpid()


class _Action:
    """An action with its thread, and what became of it."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self.is_started = False
        self.process = os.getpid()
        self._action = action
        # Set once: by the thread that runs the action, or by the caller that cancels it.
        self._decision: dict[None, object] = {}
        self._caller_goes_on = _thread.allocate_lock()
        self._under_way = _thread.allocate_lock()
        for lock in (self._caller_goes_on, self._under_way):
            lock.acquire()

    def start(self) -> None:
        try:
            _thread.start_new_thread(self._run, (MAX_PAUSE_SECONDS,))
            self.is_started = True
            _running.add(self)
            if not self._under_way.locked():
                _running.discard(self)
        except RuntimeError as error:
            if "new thread" not in str(error):
                # A signal handler's.
                raise
            # At the very end of the interpreter no thread can be started any more.
            self._run(0)
            self.is_started = True
        finally:
            self._caller_goes_on.release()

    def cancel(self) -> bool:
        """Keep the action from being run; return whether that was still possible."""
        return self._decision.setdefault(None, _NEVER) is _NEVER

    def join(self) -> None:
        if self._decision.get(None) is not _NEVER:
            with self._under_way:
                pass

    def _run(self, pause: float) -> None:
        try:
            _running.add(self)
            # A thread that has just been started keeps the interpreter to itself for some
            # milliseconds; one that is woken up lets the caller go on first. It does not wait for
            # ever, since a second interrupt may keep the caller from waking it.
            self._caller_goes_on.acquire(timeout=pause)
            if self._decision.setdefault(None, self) is self:
                action, self._action = self._action, _nothing
                action()
        except BaseException as error:
            self.error = error
            _failed.add(self)
        finally:
            self._under_way.release()
            _running.discard(self)


def _nothing() -> None:
    """Stand for an action that has been run, and whose values are let go of."""


def _see_through() -> None:
    for action in list(_running):
        action.join()


def _tell_failures() -> None:
    """See through what is under way, and print the errors that nobody has raised."""
    _see_through()
    while _failed:
        error = _failed.pop().error
        if error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
            _shutdown.fail()


def _forget_all() -> None:
    _running.clear()
    _failed.clear()


os.register_at_fork(after_in_child=_forget_all)
_shutdown.register(_tell_failures)

# At its end the interpreter first forbids new work in executors, which JAX and Orbax may need to
# finish, and only then waits for threads and calls what `atexit` was given. There is no public way
# to come before that; this is how `concurrent.futures.thread` comes there when it is imported. The
# last to register is the first to be called.
importlib.import_module("concurrent.futures.thread")
_register: Callable[[Callable[[], None]], None] | None = getattr(
    threading, "_register_atexit", None
)
if _register is not None:
    # Where we are imported while the interpreter exits, it is too late.
    with contextlib.suppress(RuntimeError):
        _register(_see_through)
