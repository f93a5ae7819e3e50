"""Printed lines and warnings; neither with `verbose=False`."""

import contextlib
import contextvars
import inspect
import pathlib
import sys
import warnings
from collections.abc import Generator

from ._errors import ExperimentWarning
from .storage import suppressed_os_errors

_PACKAGE = str(pathlib.Path(__file__).parent)
_is_quiet = contextvars.ContextVar("_is_quiet", default=False)


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Suppress our warnings inside the block.

    `warnings.catch_warnings` changes all threads, and permanently if two of them are in such a
    block at once.
    """
    # With the token of `set`, a signal handler that raises before `try` would silence us forever.
    was_quiet = _is_quiet.get()
    try:
        _is_quiet.set(True)
        yield
    finally:
        _is_quiet.set(was_quiet)


def warn(message: str) -> None:
    """Issue an `ExperimentWarning` for the user's line that called us, unless a caller is quiet."""
    if _is_quiet.get():
        return
    level, frame = 1, inspect.currentframe()
    while frame and frame.f_code.co_filename.startswith((_PACKAGE, contextlib.__file__)):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, ExperimentWarning, stacklevel=level)


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
