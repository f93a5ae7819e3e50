"""Doing the next thing in a thread while the caller is busy with the last one."""

import _thread
import queue
import sys
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

T = TypeVar("T")


def prefetched(actions: Sequence[Callable[[], T]]) -> Generator[T]:
    """Yield what each action returns, and do the next one meanwhile.

    A signal handler may raise at any instruction. So there is nothing of `threading`, which then
    raises something else, or waits for ever; these queues and this start of a thread are a single
    step each.
    """
    tasks: queue.SimpleQueue[Callable[[], T] | None] = queue.SimpleQueue()
    outcomes: queue.SimpleQueue[tuple[T | None, BaseException | None] | None] = queue.SimpleQueue()

    def work() -> None:
        for action in iter(tasks.get, None):
            try:
                outcomes.put((action(), None))
            except BaseException as error:
                outcomes.put((None, error))
        outcomes.put(None)

    is_started = False
    try:
        is_started = len(actions) > 1 and _has_started(work)
        if not is_started:
            for action in actions:
                yield action()
            return
        tasks.put(actions[0])
        for upcoming in [*actions[1:], None]:
            value, error = outcomes.get() or (None, None)
            if error is not None:
                raise error
            if upcoming is not None:
                tasks.put(upcoming)
            yield value  # pyright: ignore[reportReturnType] # It is None if the action says so.
    finally:
        tasks.put(None)
        # What is under way may use what the caller is about to close.
        while is_started and outcomes.get() is not None:
            pass


def _has_started(work: Callable[[], None]) -> bool:
    if sys.is_finalizing():
        return False
    try:
        _thread.start_new_thread(work, ())
    except RuntimeError:
        # At the very end of the interpreter no thread can be started any more.
        return False
    return True
