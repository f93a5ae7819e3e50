"""Pause Python's garbage collector."""

import contextlib
import gc
from collections.abc import Generator


@contextlib.contextmanager
def gc_paused() -> Generator[None]:
    """Pause the garbage collector while many objects are created and none is garbage.

    Otherwise collections, which scan all objects, take longer than creating the new ones.
    """
    pause = gc.isenabled()
    try:
        if pause:
            gc.disable()
        yield
    finally:
        if pause:
            gc.enable()
