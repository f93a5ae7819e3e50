"""Python's garbage collector, which is in the way where much is made and nothing is garbage."""

import contextlib
import gc
from collections.abc import Generator


@contextlib.contextmanager
def gc_paused() -> Generator[None]:
    """Keep the garbage collector from running for a moment.

    To look again and again through what is being made, and through all else that a process holds,
    takes longer than to make it.
    """
    pause = gc.isenabled()
    try:
        if pause:
            gc.disable()
        yield
    finally:
        if pause:
            gc.enable()
