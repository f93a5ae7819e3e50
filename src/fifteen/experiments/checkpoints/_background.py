"""One action at a time in the background, seen through also when the interpreter exits.

Who waits may be interrupted at any instruction, as Ctrl-C does it, and whatever holds a lock in
Python code would then hold it for ever. So there are only locks that are taken and let go in one
step; and an interrupt waits until a thread has started.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Generator

_LONGEST_PAUSE = 0.05
"""Seconds that a thread waits for its caller to go on."""

_running: "set[_Action]" = set()
_failed: "set[_Action]" = set()
"""Actions whose error has not been raised yet."""

_everyone: "weakref.WeakSet[Background]" = weakref.WeakSet()


class Background:
    """Run actions in a thread, one after the other.

    Args:
        name: what the thread is called.
    """

    def __init__(self, name: str = "saving a checkpoint") -> None:
        self._name = name
        self._pending: _Action | None = None
        _everyone.add(self)

    def start(self, action: Callable[[], None]) -> None:
        """Run an action in a thread of its own; `wait` must have been called before.

        Who is interrupted on the way has either started the action, which `wait` sees through, or
        has not, and it will never run.
        """
        pending = _Action(action, self._name)
        try:
            pending.start()
            self._pending = pending
        except BaseException:
            self._pending = None if pending.cancel() else pending
            raise

    def wait(self) -> None:
        """See the action through, and raise its error, once."""
        pending = self._pending
        if pending is not None:
            pending.wait()
            # Only now: who is interrupted while waiting has to wait again.
            self._pending = None
            _failed.discard(pending)
            if pending.error is not None:
                raise pending.error

    @property
    def is_pending(self) -> bool:
        """Whether there is an action that `wait` has not seen through."""
        return self._pending is not None

    def forget(self) -> None:
        """Forget an action whose thread a forked child does not have."""
        self._pending = None


class _Action:
    """An action with its thread, and what became of it."""

    def __init__(self, action: Callable[[], None], name: str) -> None:
        self.error: BaseException | None = None
        self._action = action
        # Whoever takes it decides: the thread to run the action, or the caller that it never runs.
        self._decision = threading.Lock()
        self._caller_goes_on = threading.Lock()
        # Not the thread is joined: Python 3.11 takes it for dead where a join is interrupted.
        self._under_way = threading.Lock()
        for lock in (self._caller_goes_on, self._under_way):
            lock.acquire()
        # No daemon, so that the interpreter waits for it at its end.
        self._thread: threading.Thread | None = threading.Thread(
            target=self._run, name=name, daemon=False
        )

    def start(self) -> None:
        _running.add(self)
        thread = self._thread
        try:
            if thread is not None:
                with _uninterrupted():
                    thread.start()
        except RuntimeError:
            # At the very end of the interpreter no thread can be started any more.
            self._thread = None
        finally:
            self._caller_goes_on.release()
        if self._thread is None:
            self._run()

    def cancel(self) -> bool:
        """Keep the action from being run; return whether that was still possible."""
        is_possible = self._decision.acquire(blocking=False)
        if is_possible:
            self._end()
        return is_possible

    def wait(self) -> None:
        with self._under_way:
            pass

    def _run(self) -> None:
        # A thread that has just been started keeps the interpreter to itself for some
        # milliseconds; one that is woken up lets the caller go on first. It does not wait for
        # ever, since a second interrupt may keep the caller from waking it.
        self._caller_goes_on.acquire(timeout=_LONGEST_PAUSE)
        if not self._decision.acquire(blocking=False):
            return
        action, self._action = self._action, _nothing
        try:
            action()
        except BaseException as error:
            self.error = error
            _failed.add(self)
        finally:
            self._end()

    def _end(self) -> None:
        _running.discard(self)
        self._under_way.release()


@contextlib.contextmanager
def _uninterrupted() -> Generator[None]:
    """Hold Ctrl-C back until the block is done.

    Interrupted, `Thread.start` may leave its own lock taken, for which the new thread would wait
    for ever, and the interpreter for the thread.
    """
    # Handlers are only called, and only set, in the main thread.
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if is_main else None
    if not callable(handler):
        yield
        return
    held_back: list[int] = []
    try:
        signal.signal(signal.SIGINT, lambda number, _: held_back.append(number))
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held_back:
        signal.raise_signal(signal.SIGINT)


def _nothing() -> None:
    """Stand for an action that has been run, and whose values are let go of."""


def _forget_all() -> None:
    _running.clear()
    _failed.clear()
    for one in _everyone:
        one.forget()


os.register_at_fork(after_in_child=_forget_all)


@atexit.register
def _end() -> None:
    """See through what was started from `atexit`, and print the errors that nobody has raised."""
    for action in list(_running):
        action.wait()
    for action in _failed:
        if action.error is not None:
            sys.excepthook(type(action.error), action.error, action.error.__traceback__)
