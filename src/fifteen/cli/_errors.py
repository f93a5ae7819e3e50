"""What a command says on stderr."""

import sys

from ._table import printable


class CommandError(Exception):
    """Something named on the command line is not there."""


def tell(kind: str, message: object) -> None:
    """Print an error or a warning in one line, whatever names are in it."""
    lines = [line.strip() for line in str(message).split("\n")]
    print(f"fifteen: {kind}: {printable(' '.join(filter(None, lines)))}", file=sys.stderr)
