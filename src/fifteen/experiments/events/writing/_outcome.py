"""How the script ends."""

import functools
import sys
import threading
from types import FrameType
from typing import NoReturn

_MAX_LETTERS = 200

_last_exit: tuple[SystemExit, FrameType, int] | None = None
"""The last `sys.exit`, the outermost frame, and the instruction that this frame was at."""


@functools.cache
def remember_exits() -> None:
    """Record the codes of `sys.exit` from now on, since Python does not keep them."""
    exit = sys.exit

    @functools.wraps(exit)
    def remember_and_exit(status: object = None) -> NoReturn:
        global _last_exit
        frame = _outermost_frame()
        # In other threads it ends only the thread.
        if threading.current_thread() is threading.main_thread():
            _last_exit = SystemExit(status), frame, frame.f_lasti
        exit(status)  # pyright: ignore[reportArgumentType]  # It takes any object.

    sys.exit = remember_and_exit


def _ended_by() -> SystemExit | None:
    """Return the `sys.exit` that has ended the script, if any."""
    if _last_exit is None:
        return None
    error, frame, instruction = _last_exit
    # If it was caught, the script continued, and continues while that frame runs.
    has_ended = frame.f_lasti == instruction and _outermost_frame() is not frame
    return error if has_ended else None


def _outermost_frame() -> FrameType:
    frame = sys._getframe()  # pyright: ignore[reportPrivateUsage]  # `inspect` is slow.
    while frame.f_back is not None:
        frame = frame.f_back
    return frame


def outcome() -> tuple[bool, str]:
    """Return whether the script ends well, and otherwise its error in one line.

    The error is the one being handled, or the one that has ended the script.
    """
    error = sys.exc_info()[1]
    # An interactive interpreter keeps the last error of any line.
    if error is None and not hasattr(sys, "ps1") and "IPython" not in sys.modules:
        error = getattr(sys, "last_value", None) or _ended_by()
    if isinstance(error, SystemExit) and error.code in (None, 0):
        error = None
    if error is None or isinstance(error, GeneratorExit):
        return True, ""
    first, *_ = [*str(error).split("\n"), ""]
    return False, f"{type(error).__name__}: {first}".removesuffix(": ")[:_MAX_LETTERS]
