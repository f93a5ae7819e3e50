"""Printed lines and warnings; neither with `verbose=False`."""

import contextlib
import contextvars
import inspect
import pathlib
import sys
import warnings
import weakref
from collections.abc import Callable, Generator

from ._errors import ExperimentWarning
from .storage import suppressed_os_errors


class _Block:
    """An active `with quiet()` block."""


def _outside() -> _Block | None:
    return None


_quiet_block: contextvars.ContextVar[Callable[[], _Block | None]] = contextvars.ContextVar(
    "_quiet_block", default=_outside
)


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Suppress our warnings inside the block.

    `warnings.catch_warnings` changes all threads, and permanently if two of them are in such a
    block at once.
    """
    # If a signal handler raises before `try`, the setting ends with the block's frame.
    block = _Block()
    token = _quiet_block.set(weakref.ref(block))
    try:
        yield
    finally:
        _quiet_block.reset(token)


def warn(message: str, stacklevel: int | None = None) -> None:
    """Issue an `ExperimentWarning`, unless a caller wants none.

    The `stacklevel` counts from the caller; by default, it is that of the line that called us.
    """
    if _quiet_block.get()() is None:
        level = _level_of_user() if stacklevel is None else stacklevel
        warnings.warn(message, ExperimentWarning, stacklevel=level + 1)


def _level_of_user() -> int:
    """Return the `stacklevel` of the user's line, counted from the caller's caller."""
    package = str(pathlib.Path(__file__).parent)
    level, frame = 0, inspect.currentframe()
    frame = frame and frame.f_back and frame.f_back.f_back
    while frame and frame.f_code.co_filename.startswith((package, contextlib.__file__)):
        level, frame = level + 1, frame.f_back
    return level + 1


def print_line(line: str) -> None:
    """Print a line about finished work, if it can be printed."""
    # The work is done: a closed output, a full disk or a closed pipe is not an error.
    if getattr(sys.stdout, "closed", False):
        return
    with suppressed_os_errors():
        try:
            print(line, flush=True)
        except UnicodeEncodeError:
            # A replacement for stdout may have no encoding.
            encoding = getattr(sys.stdout, "encoding", None) or "ascii"
            print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
