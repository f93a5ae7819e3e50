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
_MARK = "_fifteen_handled"

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


def mark_handled() -> object:
    """Return a mark of the exception that is being handled, if any."""
    error = sys.exc_info()[1]
    # Not the exception itself: the frames of its traceback may hold many arrays.
    return None if error is None else vars(error).setdefault(_MARK, object())


def current_error(earlier: object) -> BaseException | None:
    """Return the exception of the `except` or `finally` block that is running, if any.

    Otherwise, return the one that has ended the script. `earlier` is the mark of an exception that
    was handled before and does not count.
    """
    error = sys.exc_info()[1]
    # An iterator that is exhausted is no error.
    if isinstance(error, StopIteration | StopAsyncIteration) or mark_handled() is earlier:
        error = None
    return _ended_by() if error is None else error


def describe(error: BaseException | None) -> tuple[bool, str]:
    """Return whether a script ends well by an exception, and otherwise that in one line."""
    is_good_exit = isinstance(error, SystemExit) and error.code in (None, 0)
    if error is None or isinstance(error, GeneratorExit) or is_good_exit:
        return True, ""
    first, *_ = [*str(error).split("\n"), ""]
    return False, f"{type(error).__name__}: {first}".removesuffix(": ")[:_MAX_LETTERS]
