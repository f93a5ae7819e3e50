"""Finish pending work when the process exits or is told to end by SIGTERM or SIGHUP.

Python runs `atexit` callbacks at a normal exit, `sys.exit`, an uncaught exception and Ctrl-C. By
default a signal such as SIGTERM, with which a scheduler preempts a job, ends it without them.
"""

import _thread
import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

_MAX_PAUSE_SECONDS = 5.0
"""How long a signal handler keeps the main thread: it may hold a lock that the work needs."""

_at_exit: list[Callable[[], None]] = []
_at_signal: list[Callable[[], None]] = []

_received: "_Ending | None" = None


def register(at_exit: Callable[[], None], at_signal: Callable[[], None] | None = None) -> None:
    """Register what finishes some work, for as long as the process lives.

    It runs after all that a script has registered with `atexit` since it imported us, also if the
    module whose work it is has been imported later.

    Args:
        at_exit: runs when the interpreter exits; of several, the last one registered runs first.
        at_signal: runs in a thread before a signal ends the process; of several, the first one
            registered runs first. `at_exit` by default.
    """
    _at_exit.append(at_exit)
    _at_signal.append(at_signal or at_exit)


def handle_signals() -> None:
    """Finish all registered work before SIGTERM or SIGHUP ends this process.

    A handler of the user's stays: if it exits through `sys.exit`, `at_exit` has its turn. Nothing
    is done outside the main thread, where Python sets no handlers, nor with `jax.distributed`,
    which may use SIGTERM as its own notice of preemption.
    """
    jax: Any = sys.modules.get("jax")
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or (jax is not None and jax.distributed.is_initialized()):
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _on_signal)


class _Ending:
    """Finish all work in a thread, then end the process by a signal.

    A handler interrupts the main thread anywhere, also while it holds a lock that the work needs.
    So the work is done in a thread of its own. It is started without `threading`, whose locks the
    main thread may hold, too.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._under_way = _thread.allocate_lock()
        self._under_way.acquire()
        _thread.start_new_thread(self._run, ())

    def wait(self, seconds: float) -> None:
        """Wait for the work, and end the process if it is done."""
        if self._under_way.acquire(timeout=seconds):
            self._under_way.release()
            signal.signal(self._number, signal.SIG_DFL)
            os.kill(os.getpid(), self._number)

    def _run(self) -> None:
        try:
            for finish in _at_signal:
                # Each is finished, whatever becomes of the others.
                with contextlib.suppress(Exception):
                    finish()
        finally:
            self._under_way.release()
            # The main thread may have gone on meanwhile. This calls the handler once more.
            if signal.getsignal(self._number) is _on_signal:
                os.kill(os.getpid(), self._number)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _received
    if _received is None:
        _received = _Ending(number)
    _received.wait(_MAX_PAUSE_SECONDS)


def _end_by_signal() -> None:
    if _received is not None:
        _received.wait(-1)


def _forget_in_child() -> None:
    global _received
    _received = None


# Registered before all else, so that it runs last: a process that was told to end while it exited
# ends by that signal.
atexit.register(_end_by_signal)
os.register_at_fork(after_in_child=_forget_in_child)


@atexit.register
def _finish_at_exit() -> None:
    with contextlib.ExitStack() as stack:
        for finish in _at_exit:
            stack.callback(finish)
