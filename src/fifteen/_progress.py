"""Progress: a bar on the terminal if a command takes long, and nothing anywhere else."""

import contextlib
import contextvars
import operator
import sys
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Advance: TypeAlias = Callable[[float], None]

_DELAY_SECONDS = 0.5
"""Anything faster has no bar, and does not wait for the import of rich."""

_is_shown = contextvars.ContextVar("_is_shown", default=False)


@contextlib.contextmanager
def shown_on_stderr() -> Generator[None]:
    """Show bars inside the block, if stderr is a terminal."""
    token = _is_shown.set(sys.stderr is not None and sys.stderr.isatty())
    try:
        yield
    finally:
        _is_shown.reset(token)


def track(items: Iterable[T], what: str, total: int | None = None) -> Generator[T]:
    """Yield items, and show how many of a total are done; by default, the total is their number."""
    if not _is_shown.get():
        yield from items
        return
    with progress(what, operator.length_hint(items) if total is None else total) as advance:
        for item in items:
            yield item
            advance(1)


@contextlib.contextmanager
def progress(what: str, total: float) -> Generator[Advance]:
    """Show how much is done; the block calls what it is given with the amount done since then."""
    start = time.monotonic()
    done, bar = 0.0, None

    def advance(amount: float) -> None:
        nonlocal done, bar
        done += amount
        if bar is None and _is_shown.get() and time.monotonic() - start > _DELAY_SECONDS:
            bar = _start(what, total)
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _start(what: str, total: float) -> Any:
    from rich.console import Console
    from rich.progress import Progress

    # Output to a file must not go through the terminal.
    bar = Progress(
        console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
    )
    bar.add_task(what, total=total)
    bar.start()
    return bar
