"""Many experiments at once: one thread computes while the others wait for their requests."""

import _thread
import contextlib
import contextvars
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ._store import MAX_REQUESTS

T = TypeVar("T")


def for_each(action: Callable[[T], object], items: Iterable[T]) -> None:
    """Call an action for each item in several threads, of which one runs while the others `wait`.

    If all of them ran, they would compete for the interpreter's lock, and requests would be late.
    """
    turn, context = _thread.allocate_lock(), contextvars.copy_context()

    def begin() -> None:
        for variable, value in context.items():
            variable.set(value)
        _turn.set(turn)

    def run(item: T) -> None:
        with turn:
            action(item)

    with ThreadPoolExecutor(2 * MAX_REQUESTS, "fifteen-request", begin) as pool:
        for _ in pool.map(run, items):
            pass


_turn: contextvars.ContextVar[_thread.LockType | None] = contextvars.ContextVar(
    "turn", default=None
)


@contextlib.contextmanager
def waiting() -> Generator[None]:
    """Let another thread of `for_each` run until the block ends."""
    if (turn := _turn.get()) is None:
        yield
        return
    turn.release()
    try:
        yield
    finally:
        turn.acquire()
