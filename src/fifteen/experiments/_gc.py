"""Pause Python's garbage collector while many objects are made and none is garbage."""

import contextlib
import gc
from collections.abc import Generator


@contextlib.contextmanager
def gc_paused() -> Generator[None]:
    """Keep the garbage collector from running for a moment.

    Making thousands of objects triggers collections that each look through all objects, which takes
    longer than making them.
    """
    pause = gc.isenabled()
    try:
        if pause:
            gc.disable()
        yield
    finally:
        if pause:
            gc.enable()
