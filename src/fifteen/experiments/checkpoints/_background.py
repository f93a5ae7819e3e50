"""One action at a time in a thread, which is finished before the process ends.

A signal handler may raise at any instruction of the main thread. `threading.Thread.start` and
executors hold locks in Python code, which such an exception leaves locked for ever, and the next
save would hang. So each thread is started in one step, and shared state changes in single steps.
"""

import _thread
import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from .. import _shutdown

_tasks: "set[_Task]" = set()
"""Tasks that run, and tasks whose error nobody has raised."""


class Background:
    """Run actions in a thread, one after the other."""

    def __init__(self) -> None:
        self._task: _Task | None = None

    def start(self, action: Callable[[], None]) -> None:
        """Run an action in a new thread; the one before must have been waited for.

        If interrupted, the action has either started, and `wait` joins it, or never runs.
        """
        self._task = task = _Task(action)
        try:
            task.start()
        except BaseException:
            if task.cancel():
                self._task = None
            raise

    def wait(self) -> None:
        """Wait for the action, and raise its error, once."""
        error = self.settle()
        if error is not None:
            raise error

    def settle(self) -> BaseException | None:
        """Wait for the action, and return its error, once."""
        task = self._task
        if task is None or not self.is_pending:
            return None
        if not task.is_started:
            # `start` was interrupted.
            task.cancel()
        task.join()
        # Only now: if this is interrupted, the next call has to wait again.
        self._task = None
        _tasks.discard(task)
        return task.error

    @property
    def is_pending(self) -> bool:
        """Whether there is an action that nobody has waited for."""
        # A forked child does not have its parent's threads.
        return self._task is not None and self._task.pid == os.getpid()


class _Task:
    def __init__(self, action: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self.is_started = False
        self.pid = os.getpid()
        self._action: Callable[[], None] | None = action
        # Set once: by the thread that runs the action, or by the caller that cancels it.
        self._fate: dict[None, str] = {}
        self._running = _thread.allocate_lock()
        self._running.acquire()

    def start(self) -> None:
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError as error:
            if "new thread" not in str(error):
                # A signal handler's.
                raise
            # No thread can be started at the very end of the interpreter.
            self._run()
        self.is_started = True
        # The thread adds itself, too, if this is interrupted.
        _tasks.add(self)
        if self._is_done_well():
            _tasks.discard(self)

    def cancel(self) -> bool:
        """Keep the action from being run; return whether that was still possible."""
        return self._fate.setdefault(None, "cancelled") == "cancelled"

    def join(self) -> None:
        if self._fate.get(None) != "cancelled":
            with self._running:
                pass

    def _run(self) -> None:
        try:
            _tasks.add(self)
            if self._fate.setdefault(None, "run") == "run" and self._action is not None:
                self._action()
        except BaseException as error:
            self.error = error
        finally:
            # It may hold large values.
            self._action = None
            self._running.release()
            if self._is_done_well():
                _tasks.discard(self)

    def _is_done_well(self) -> bool:
        return not self._running.locked() and self.error is None


def _finish() -> None:
    for task in list(_tasks):
        task.join()


def _report_failures() -> None:
    """Finish what runs, and print the errors that nobody has raised."""
    _finish()
    while _tasks:
        error = _tasks.pop().error
        if error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
            _shutdown.fail()


os.register_at_fork(after_in_child=_tasks.clear)
_shutdown.register(_report_failures)

# At its end the interpreter first forbids new work in executors, which JAX and Orbax may need to
# finish, and only then runs `atexit` callbacks. There is no public way to come before that; this is
# how `concurrent.futures.thread` does it when it is imported. The last to register runs first.
importlib.import_module("concurrent.futures.thread")
_register_atexit: Any = getattr(threading, "_register_atexit", None)
if _register_atexit is not None:
    # It refuses while the interpreter exits.
    with contextlib.suppress(RuntimeError):
        _register_atexit(_finish)
