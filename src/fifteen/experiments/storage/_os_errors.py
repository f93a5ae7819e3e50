"""Errors of the file system that may be ignored."""

import contextlib
from collections.abc import Generator


@contextlib.contextmanager
def suppressed_os_errors() -> Generator[None]:
    """Ignore an error of the file system in the block.

    An `OSError` without a number, such as most `TimeoutError`s, comes from a user's signal handler
    and is raised.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
