"""How the script ends."""

import sys

_MAX_LETTERS = 200


def outcome() -> tuple[bool, str]:
    """Return whether the script ends well, and otherwise the error that ends it, in one line.

    That is the error that is being handled, or the one that has ended the script.
    """
    error = sys.exc_info()[1]
    # An interactive interpreter keeps the last error of any line.
    if error is None and not hasattr(sys, "ps1") and "IPython" not in sys.modules:
        error = getattr(sys, "last_value", None)
    if isinstance(error, SystemExit) and error.code in (None, 0):
        error = None
    if error is None or isinstance(error, GeneratorExit):
        return True, ""
    first, *_ = [*str(error).split("\n"), ""]
    return False, f"{type(error).__name__}: {first}".removesuffix(": ")[:_MAX_LETTERS]
