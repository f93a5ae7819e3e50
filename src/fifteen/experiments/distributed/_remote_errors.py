"""Errors that one process reports to the others, so that all of them raise.

An error that all processes have raised is marked, so that no collective reports it again.
"""

from collections.abc import Generator
from typing import Any

from .._errors import FifteenError

_MAX_MESSAGE = 20_000
_SHARED = "_fifteen_shared"


def serialize(error: BaseException) -> dict[str, Any]:
    described: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, OSError) and error.errno is not None:
        filename = None if error.filename is None else str(error.filename)
        described |= {"message": error.strerror, "errno": error.errno, "filename": filename}
    described["message"] = str(described["message"])[:_MAX_MESSAGE]
    return described


def deserialize(problem: dict[str, Any], count: int) -> Exception:
    kind, message = problem["type"], problem["message"]
    known = {error.__name__: error for error in _kinds_of(FifteenError)}
    if kind in known:
        revived: Exception = known[kind](message)
    elif "errno" in problem:
        # The constructor chooses a subclass, such as PermissionError, by the number.
        revived = OSError(problem["errno"], message, problem["filename"])
    else:
        # An interrupt has no message.
        revived = RuntimeError(f"{kind}: {message}" if message else kind)
    revived.add_note(f"Raised in process {problem['process']} of {count}, and so in all.")
    return revived


def mark_shared(error: BaseException) -> None:
    """Note that an error has been raised in all processes."""
    setattr(error, _SHARED, True)


def clear_mark(error: BaseException) -> None:
    """Clear the mark, so that the next collective reports the error again."""
    for part in _made_of(error, None):
        if hasattr(part, _SHARED):
            delattr(part, _SHARED)


def is_shared(error: BaseException, handled: BaseException | None) -> bool:
    """Return whether an error, or one in its chain, has been raised in all processes.

    `handled` is an earlier error that was being handled; it does not count.
    """
    return any(hasattr(part, _SHARED) for part in _made_of(error, handled))


def _made_of(
    error: BaseException | None, handled: BaseException | None
) -> Generator[BaseException]:
    while error is not None and error is not handled:
        yield error
        error = error.__context__


def _kinds_of(error: type[Exception]) -> list[type[Exception]]:
    return [error, *(kind for child in error.__subclasses__() for kind in _kinds_of(child))]
