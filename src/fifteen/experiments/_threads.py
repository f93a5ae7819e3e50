"""Threads of ours, which do not keep the process from ending."""

import _thread
from collections.abc import Callable


def start_thread(run: Callable[[], object]) -> bool:
    """Start a thread; return False if the interpreter is exiting, or the system has no more.

    `threading` would keep a lock if a signal handler raised in it, and wait for the thread at exit.
    """
    try:
        _thread.start_new_thread(run, ())
    except RuntimeError as error:
        if "new thread" not in str(error):
            # A signal handler raised it.
            raise
        return False
    return True
