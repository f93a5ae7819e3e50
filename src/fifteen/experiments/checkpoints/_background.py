"""One action at a time in the background, seen through also when the interpreter exits."""

import atexit
import concurrent.futures
import os
import sys
import threading
import weakref
from collections.abc import Callable

_running: "set[concurrent.futures.Future[None]]" = set()
_everyone: "weakref.WeakSet[Background]" = weakref.WeakSet()
_failed: "set[concurrent.futures.Future[None]]" = set()
"""Actions whose error has not been raised yet."""


class Background:
    """Run actions in a thread, one after the other.

    Args:
        name: what the thread is called.
    """

    def __init__(self, name: str = "saving a checkpoint") -> None:
        self._name = name
        self._pending: concurrent.futures.Future[None] | None = None
        _everyone.add(self)

    def start(self, action: Callable[[], None]) -> None:
        """Run an action in a thread of its own; `wait` must have been called before."""
        future: concurrent.futures.Future[None] = concurrent.futures.Future()

        go = threading.Event()

        def run() -> None:
            go.wait()
            try:
                action()
            except BaseException as error:
                _failed.add(future)
                future.set_exception(error)
            else:
                future.set_result(None)
            finally:
                _running.discard(future)

        self._pending = future
        _running.add(future)
        # No daemon, so that the interpreter waits for it at its end.
        thread = threading.Thread(target=run, name=self._name, daemon=False)
        try:
            thread.start()
        except RuntimeError:
            # At the very end of the interpreter no thread can be started any more.
            go.set()
            run()
        except BaseException:
            # Interrupted. A thread that has started nevertheless does its work.
            if thread.ident is None and not thread.is_alive():
                self._pending = None
                _running.discard(future)
            go.set()
            raise
        # A thread that has just been started keeps the interpreter to itself for some
        # milliseconds; one that is woken up lets the caller go on first.
        go.set()

    def wait(self) -> None:
        """See the action through, and raise its error, once."""
        pending = self._pending
        if pending is not None:
            concurrent.futures.wait([pending])
            # Only now: who is interrupted while waiting has to wait again.
            self._pending = None
            _failed.discard(pending)
            pending.result()

    def forget(self) -> None:
        """Forget an action whose thread a forked child does not have."""
        self._pending = None


def _forget_all() -> None:
    _running.clear()
    _failed.clear()
    for one in _everyone:
        one.forget()


os.register_at_fork(after_in_child=_forget_all)


@atexit.register
def _end() -> None:
    """See through what was started from `atexit`, and print the errors that nobody has raised."""
    concurrent.futures.wait(list(_running))
    for future in _failed:
        error = future.exception()
        if error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
