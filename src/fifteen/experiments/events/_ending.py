"""Seeing that what was logged is written when the process ends or forks.

At a normal exit, at `sys.exit`, at an uncaught exception and at Ctrl-C, Python runs what is
registered with `atexit`. A signal that ends a process by default, it does not handle at all.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
from types import FrameType

import jax

from .._errors import LogWriteError
from ._writer import open_writers

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

_is_prepared = False


def prepare() -> None:
    """Have all open logs written at the end of this process; done once, whoever asks."""
    global _is_prepared
    if not _is_prepared:
        _is_prepared = True
        atexit.register(_close_all)
        os.register_at_fork(after_in_child=_begin_all)
    _handle_signals()


def _handle_signals() -> None:
    # Python allows handlers in the main thread only. Where jax.distributed runs, SIGTERM may be
    # its notice of preemption, which Python does not see. Any handler of the user's stays: it
    # ends the interpreter in its own way, after which `atexit` has its turn.
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or jax.distributed.is_initialized():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _flush_and_end)


def _flush_and_end(number: int, frame: FrameType | None) -> None:
    """Write everything, then let the signal do what it does by default."""
    for writer in open_writers():
        with contextlib.suppress(LogWriteError):
            writer.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _close_all() -> None:
    for writer in open_writers():
        try:
            writer.close()
        except LogWriteError as error:
            # Nobody is left to raise it to, and what could not be written is lost now.
            print(f"LogWriteError at exit, what is not written is lost: {error}", file=sys.stderr)


def _begin_all() -> None:
    for writer in open_writers():
        writer.begin_in_child()
