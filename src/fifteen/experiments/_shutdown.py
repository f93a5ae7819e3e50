"""Finish pending work at exit and at SIGTERM or SIGHUP.

Python runs `atexit` callbacks at a normal exit, `sys.exit`, an uncaught exception and Ctrl-C. By
default a signal such as SIGTERM, by which schedulers preempt jobs, ends it without them.
"""

import _thread
import atexit
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_MAX_PAUSE_SECONDS = 5.0
"""How long a signal handler keeps the main thread: it may hold a lock that the work needs."""

_at_exit: list[Callable[[], None]] = []
_at_signal: list[Callable[[], None]] = []

_finalized_pid: int | None = None
_has_failed = False
_ending: "_Ending | None" = None


def register(at_exit: Callable[[], None], at_signal: Callable[[], None] | None = None) -> None:
    """Register functions that finish some work.

    `at_exit` runs when the interpreter exits, after the `atexit` callbacks that a script has
    registered since it imported us; the last one registered runs first. `at_signal`, by default the
    same, runs in a thread before a signal ends the process; the first one registered runs first.
    """
    _at_exit.append(at_exit)
    _at_signal.append(at_signal or at_exit)


def prepare() -> None:
    """Finish all registered work, also if SIGTERM or SIGHUP ends this process.

    Processes that `multiprocessing` has forked skip `atexit`, so they are prepared, too. A user's
    handler stays: if it exits through `sys.exit`, `at_exit` runs. Signals are left alone outside
    the main thread, where Python sets no handlers, and with `jax.distributed`, which may use
    SIGTERM as its own notice of preemption.
    """
    _finish_in_multiprocessing()
    jax: Any = sys.modules.get("jax")
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or (jax is not None and jax.distributed.is_initialized()):
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _on_signal)


def fail() -> None:
    """Make this process exit with a non-zero code, because work at exit has failed.

    The code is 120, as for other failures while Python exits, and 1 in a process that
    `multiprocessing` has forked.
    """
    global _has_failed
    if _has_failed:
        return
    _has_failed = True
    # Only a failing last `flush` of stderr changes the code of an exiting interpreter.
    if sys.stderr is None or sys.stderr.closed:
        sys.stderr = io.TextIOWrapper(io.BytesIO())
    stream: Any = sys.stderr
    flush = stream.flush

    def flush_and_fail() -> None:
        flush()
        if sys.is_finalizing():
            stream.flush = flush
            raise OSError("work at exit has failed")

    stream.flush = flush_and_fail


def _finish_in_multiprocessing() -> None:
    global _finalized_pid
    process: Any = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or _finalized_pid == os.getpid():
        return
    _finalized_pid = os.getpid()
    from multiprocessing import util

    # After all other finalizers of a `multiprocessing` process.
    util.Finalize(None, _finish_in_child, exitpriority=-1000)


def _finish_in_child() -> None:
    _finish_at_exit()
    if not _has_failed:
        return
    if sys.version_info < (3, 13):
        raise SystemExit(1)
    # `atexit` runs this, and an exception would not change the exit code.
    import multiprocessing

    if multiprocessing.get_start_method() != "spawn":  # There, `fail` sets it.
        print(end="", flush=True)
        os._exit(1)


class _Ending:
    """Finish all work in a thread, then end the process by a signal.

    A handler interrupts the main thread anywhere, even while it holds a lock that the work needs.
    So a thread does the work. It is started without `threading`, whose locks may be held too.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._is_done = False
        self._running = _thread.allocate_lock()
        self._running.acquire()
        _thread.start_new_thread(self._run, ())

    def wait(self, seconds: float) -> None:
        """Wait for the work, and end the process if it is done."""
        # The thread repeats the signal when it is done, and that handler may interrupt another
        # one right after it has acquired the lock.
        if self._is_done or self._running.acquire(timeout=seconds):
            signal.signal(self._number, signal.SIG_DFL)
            os.kill(os.getpid(), self._number)

    def _run(self) -> None:
        for finish in _at_signal:
            # If one fails, the others still run.
            with contextlib.suppress(BaseException):
                finish()
        self._is_done = True
        self._running.release()
        # The main thread may have continued. This calls the handler once more, unless it is still
        # about to wait.
        if _ending is self and signal.getsignal(self._number) is _on_signal:
            os.kill(os.getpid(), self._number)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _ending
    if _ending is None:
        _ending = _Ending(number)
    _ending.wait(_MAX_PAUSE_SECONDS)


def _end_by_signal() -> None:
    if _ending is not None:
        _ending.wait(-1)


def _reset_in_child() -> None:
    global _ending, _has_failed
    _ending = None
    _has_failed = False


# Registered first, so it runs last: a process that gets a signal while it exits ends by it.
atexit.register(_end_by_signal)
os.register_at_fork(after_in_child=_reset_in_child)


@atexit.register
def _finish_at_exit() -> None:
    with contextlib.ExitStack() as stack:
        for finish in _at_exit:
            stack.callback(finish)
