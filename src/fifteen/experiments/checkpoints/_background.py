"""Run actions in threads that finish before the process ends.

A signal handler may raise at any instruction of the main thread. `threading.Thread.start` and
executors hold locks in Python code. Such an exception would leave them locked, and the next save
would hang. So a single call starts each thread, and each change of shared state is atomic.
"""

import _thread
import contextlib
import importlib
import itertools
import os
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from .. import _shutdown
from .._threads import start_thread

T = TypeVar("T")

_running: "set[Background]" = set()
"""Actions that are running, or whose error nobody has raised yet."""


class Background:
    """Run an action once, in a thread."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._action: Callable[[], Any] | None = action
        self._result: Any = None
        self._error: BaseException | None = None
        self._pid = os.getpid()
        self._is_started = False
        # Set once: by the thread that runs the action, or by the caller that cancels it.
        self._fate: dict[None, str] = {}
        self._is_running = _thread.allocate_lock()
        self._is_running.acquire()

    def start(self) -> None:
        """Start the thread.

        If interrupted, the action has either started, and `settle` joins it, or never runs.
        """
        try:
            if not start_thread(self._run):
                self._run()
            self._is_started = True
            # The thread adds itself too, in case this is interrupted.
            _running.add(self)
            self._forget_if_done()
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> bool:
        """Prevent the action from running; return whether that was still possible."""
        return self._fate.setdefault(None, "cancelled") == "cancelled"

    def wait(self) -> Any:
        """Wait for the action; return its result, once, or raise its error."""
        error = self.settle()
        if error is not None:
            raise error
        result, self._result = self._result, None
        return result

    def settle(self) -> BaseException | None:
        """Wait for the action, and return its error."""
        # A forked child does not have its parent's threads.
        if self._pid != os.getpid():
            return None
        if not self._is_started:
            # `start` was interrupted.
            self.cancel()
        self.join()
        _running.discard(self)
        return self._error

    def join(self) -> None:
        """Wait for the action, without raising its error."""
        if self._fate.get(None) != "cancelled":
            with self._is_running:
                pass

    def _run(self) -> None:
        try:
            _running.add(self)
            if self._fate.setdefault(None, "run") == "run" and self._action is not None:
                self._result = self._action()
        except BaseException as error:
            self._error = error
        finally:
            # The action may hold large values.
            self._action = None
            self._is_running.release()
            self._forget_if_done()

    def _forget_if_done(self) -> None:
        if not self._is_running.locked() and self._error is None:
            _running.discard(self)


def prefetched(
    actions: Sequence[Callable[[], T]], sizes: Sequence[int], ahead: int
) -> Generator[T]:
    """Yield what each action returns, while the next one is already running.

    Further actions run too, as long as all that are ahead read at most `ahead` bytes in total.
    """
    if len(actions) == 1 and not ahead:
        yield actions[0]()
        return
    ends = list(itertools.accumulate(sizes))
    started: list[Background] = []
    try:
        for number in range(len(actions)):
            while (at := len(started)) < len(actions) and (
                at <= number + 1 or ends[at] - ends[number] <= ahead
            ):
                started.append(Background(actions[at]))
                started[at].start()
            yield started[number].wait()
    finally:
        # An action may use what the caller is about to close.
        for background in started:
            background.settle()


def _finish() -> None:
    for action in list(_running):
        action.join()


def _report_failures() -> None:
    """Wait for what is running, and print the errors that nobody has raised."""
    _finish()
    while _running:
        error = _running.pop().settle()
        if error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
            _shutdown.fail()


os.register_at_fork(after_in_child=_running.clear)
_shutdown.register(_report_failures)

# At exit, the interpreter first closes executors, which JAX and Orbax may still need, and only then
# runs `atexit` callbacks. No public hook runs earlier; `concurrent.futures.thread` uses this one.
# It is imported before, since the last to register runs first.
importlib.import_module("concurrent.futures.thread")
_register_atexit: Any = getattr(threading, "_register_atexit", None)
if _register_atexit is not None:
    # It raises if the interpreter is already exiting.
    with contextlib.suppress(RuntimeError):
        _register_atexit(_finish)
