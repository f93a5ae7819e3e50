"""Keeping to ourselves what Orbax tells of its work."""

import contextlib
import logging
import threading
from collections.abc import Generator

_lock = threading.Lock()
_uses = 0


class _FromOrbax(logging.Filter):
    """Drop the records that Orbax writes, and let those of others pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "/orbax/" not in record.pathname.replace("\\", "/")


_filter = _FromOrbax()


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Keep Orbax's log records from the user while the block runs, in all threads.

    Its errors are raised as well, so nothing is lost; and its records of what a program does with
    Orbax by itself pass as ever once the block has ended.
    """
    global _uses
    # Orbax logs through absl, which has one logger and makes it when it is imported.
    from absl import logging as absl_logging

    logger: logging.Logger = absl_logging.get_absl_logger()
    with _lock:
        _uses += 1
        if _uses == 1:
            logger.addFilter(_filter)
    try:
        yield
    finally:
        with _lock:
            _uses -= 1
            if _uses == 0:
                logger.removeFilter(_filter)
