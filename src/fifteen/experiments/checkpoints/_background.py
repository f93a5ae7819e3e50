"""One action at a time in the background, seen through also when the interpreter exits."""

import atexit
import concurrent.futures
import sys
import threading
from collections.abc import Callable

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

        # No daemon, so that the interpreter waits for it at its end.
        threading.Thread(target=run, name=self._name, daemon=False).start()
        self._pending = future
        # A thread that has just been started keeps the interpreter to itself for some
        # milliseconds; one that is woken up lets the caller go on first.
        go.set()

    def wait(self) -> None:
        """See the action through, and raise its error, once."""
        pending, self._pending = self._pending, None
        if pending is not None:
            concurrent.futures.wait([pending])
            _failed.discard(pending)
            pending.result()


@atexit.register
def _tell() -> None:
    """Print the errors that no later call was there to raise, as uncaught ones are."""
    for future in _failed:
        error = future.exception()
        if error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
