"""What a command says on stderr."""

import sys

from fifteen._text import printable


class CommandError(Exception):
    """Something named on the command line is not there."""


def tell(kind: str, message: object) -> None:
    """Print an error or a warning in one line, whatever names are in it.

    Only what points at a place in an expression has lines below it.
    """
    lines = str(message).split("\n")
    if lines[-1].strip() == "^":
        first, *below = map(printable, lines)
        print("\n".join([f"fifteen: {kind}: {first}", *below]), file=sys.stderr)
        return
    text = " ".join(filter(None, (line.strip() for line in lines)))
    print(f"fifteen: {kind}: {printable(text)}", file=sys.stderr)
