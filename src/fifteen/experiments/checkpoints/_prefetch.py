"""Read the next batch in a thread while the caller uses the current one."""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from ._background import Background

T = TypeVar("T")


def prefetched(actions: Sequence[Callable[[], T]]) -> Generator[T]:
    """Yield what each action returns, and run the next one meanwhile."""
    background = Background()
    results = [action() for action in actions[:1]]
    try:
        for action in actions[1:]:
            background.start(lambda action=action: results.append(action()))
            yield results.pop(0)
            background.wait()
    finally:
        # An action may use what the caller is about to close.
        background.settle()
    yield from results
