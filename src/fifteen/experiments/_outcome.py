"""How the script ends.

Python keeps the error of a script, but not the code of a `sys.exit`, so that is recorded. From the
import on: `sys.exit(main())` looks the function up before it calls `main`.
"""

import functools
import sys
import threading
from types import FrameType
from typing import NoReturn

_MAX_LETTERS = 200

_exit = sys.exit
_last_exit: tuple[SystemExit | None, object] = None, None
"""The last `sys.exit` of the main thread, and the error that was the last one before it."""


@functools.wraps(_exit)
def _record_and_exit(status: object = None) -> NoReturn:
    global _last_exit
    # In other threads it ends only the thread.
    if threading.current_thread() is threading.main_thread():
        _last_exit = SystemExit(status), _last_error()
    _exit(status)  # pyright: ignore[reportArgumentType]  # It takes any object.


sys.exit = _record_and_exit


def _outermost_frame() -> FrameType | None:
    """Return the main thread's frame of the script, or of what runs it."""
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]  # It is documented.
    frame = frames.get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame


_script = _outermost_frame()


def _last_error() -> BaseException | None:
    """Return what Python has shown last, which may be the error of an earlier line or cell."""
    return getattr(sys, "last_value", None)


def _ended_by() -> BaseException | None:
    """Return the exception that has ended the script, if any."""
    import opcode

    if threading.main_thread().is_alive():
        return None
    if _script is not None:
        last = opcode.opname[_script.f_code.co_code[_script.f_lasti]]
        if last.startswith("RETURN"):
            return None
    error, earlier = _last_exit
    return error if _last_error() is earlier else _last_error()


def outcome() -> tuple[bool, str]:
    """Return whether the script ends well, and otherwise its error in one line.

    The error is the one being handled, or the one that has ended the script.
    """
    error = sys.exc_info()[1]
    if error is None:
        error = _ended_by()
    if isinstance(error, SystemExit) and error.code in (None, 0):
        error = None
    if error is None or isinstance(error, GeneratorExit):
        return True, ""
    first, *_ = [*str(error).split("\n"), ""]
    return False, f"{type(error).__name__}: {first}".removesuffix(": ")[:_MAX_LETTERS]
