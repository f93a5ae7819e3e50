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

_LAST = -1000
"""The priority of what runs after all else that ends a process of `multiprocessing`."""

_at_exit: list[Callable[[], None]] = []
_at_signal: list[Callable[[], None]] = []

_finalized_pid: int | None = None
_has_failed = False
_ending: "_Ending | None" = None


def register(at_exit: Callable[[], None], at_signal: Callable[[], None] | None = None) -> None:
    """Register what finishes some work, for as long as the process lives.

    It runs after the `atexit` callbacks that a script has registered since it imported us.

    Args:
        at_exit: runs when the interpreter exits; the last one registered runs first.
        at_signal: runs in a thread before a signal ends the process; the first one registered runs
            first. `at_exit` by default.
    """
    _at_exit.append(at_exit)
    _at_signal.append(at_signal or at_exit)


def prepare() -> None:
    """Finish all registered work, however this process ends; call it when there is some.

    That includes processes that SIGTERM or SIGHUP ends, and those that `multiprocessing` has
    forked, which skip `atexit`.

    A user's handler stays: if it exits through `sys.exit`, `at_exit` runs. Signals are also left
    alone outside the main thread, where Python sets no handlers, and with `jax.distributed`, which
    may use SIGTERM as its own notice of preemption.
    """
    _finish_in_multiprocessing()
    jax: Any = sys.modules.get("jax")
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or (jax is not None and jax.distributed.is_initialized()):
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _on_signal)


def fail() -> None:
    """Make this process exit with a non-zero code, because work at exit has failed.

    The code is 120, as for other failures while Python exits, and 1 in a process that
    `multiprocessing` has forked.
    """
    global _has_failed
    if not _has_failed:
        _has_failed = True
        sys.stderr = _FailingStream(sys.stderr)


class _FailingStream:
    """The standard error, except that the interpreter's last `flush` of it fails.

    Nothing else changes the exit code of an interpreter that already exits.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def flush(self) -> None:
        if self._stream is not None and not self._stream.closed:
            self._stream.flush()
        if sys.is_finalizing():
            raise OSError("work at exit has failed")


def _finish_in_multiprocessing() -> None:
    global _finalized_pid
    process: Any = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or _finalized_pid == os.getpid():
        return
    _finalized_pid = os.getpid()
    from multiprocessing import util

    util.Finalize(None, _finish_in_child, exitpriority=_LAST)


def _finish_in_child() -> None:
    _finish_at_exit()
    if not _has_failed:
        return
    if sys.version_info < (3, 13):
        raise SystemExit(1)
    # `atexit` runs this, and an exception would not change the exit code.
    import multiprocessing

    if multiprocessing.get_start_method() != "spawn":  # There, `_FailingStream` does.
        print(end="", flush=True)
        os._exit(1)


class _Ending:
    """Finish all work in a thread, then end the process by a signal.

    A handler interrupts the main thread anywhere, also while it holds a lock that the work needs.
    So the work is done in a thread, which is started without `threading`: the main thread may hold
    its locks, too.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._running = _thread.allocate_lock()
        self._running.acquire()
        _thread.start_new_thread(self._run, ())

    def wait(self, seconds: float) -> None:
        """Wait for the work, and end the process if it is done."""
        if self._running.acquire(timeout=seconds):
            self._running.release()
            signal.signal(self._number, signal.SIG_DFL)
            os.kill(os.getpid(), self._number)

    def _run(self) -> None:
        for finish in _at_signal:
            # If one fails, the others still run.
            with contextlib.suppress(BaseException):
                finish()
        self._running.release()
        # The main thread may have gone on meanwhile. This calls the handler once more.
        if signal.getsignal(self._number) is _on_signal:
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


# Registered first, so that it runs last: a process that was told to end while it exited ends by
# that signal.
atexit.register(_end_by_signal)
os.register_at_fork(after_in_child=_reset_in_child)


@atexit.register
def _finish_at_exit() -> None:
    with contextlib.ExitStack() as stack:
        for finish in _at_exit:
            stack.callback(finish)
