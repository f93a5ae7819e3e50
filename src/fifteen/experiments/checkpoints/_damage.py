"""Checksums of JSON files, and error texts for what cannot be read and for many leaves at once."""

import contextlib
import pathlib
import struct
from collections.abc import Generator, Sequence

import google_crc32c

from fifteen._text import printable

from .._errors import CheckpointDamagedError, CheckpointError

MAX_LINES = 20
MAX_LINE = 400

UNPARSABLE = (
    AttributeError, LookupError, OverflowError, SyntaxError, TypeError, ValueError, struct.error,
)  # fmt: skip
"""What parsing raises for a file that is damaged, or is not what it should be."""


def damaged(path: str | pathlib.Path, problem: str) -> CheckpointDamagedError:
    shown = "\n".join(map(printable, problem.split("\n")))
    return CheckpointDamagedError(f"{path}: {shown}; restore another step, or a copy of the file")


def sealed(rest: str, start: str = "{") -> str:
    """Return the text of a JSON object: a start, the CRC-32C of everything after it, the rest."""
    return f'{start}"crc32c":"{google_crc32c.value(rest.encode()):08x}",{rest}'


def check_seal(text: str, start: str = "{") -> None:
    """Raise `ValueError` if a text is not as `sealed` returned it."""
    if text != sealed(text[len(sealed("", start)) :], start):
        raise ValueError("its bytes are not those that were written")


def too_deep(path: str | pathlib.Path) -> CheckpointError:
    """Return the error for an intact file that is nested deeper than Python can recurse."""
    return CheckpointError(
        f"{path}: nested too deeply to be read from here; restore with fewer calls on the stack, "
        "or after sys.setrecursionlimit"
    )


@contextlib.contextmanager
def decoding(path: pathlib.Path, leaf: str) -> Generator[None]:
    """Name the file and the leaf in an error of decoding it.

    A `CheckpointError` means that the description is intact, and any other that it is damaged.
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {printable(leaf)}: {error}") from None
    except UNPARSABLE as error:
        raise damaged(path, f"{leaf}: {error}") from None


@contextlib.contextmanager
def parsing(path: pathlib.Path, problem: str) -> Generator[None]:
    """Raise that a file is damaged if it cannot be parsed."""
    try:
        yield
    except (*UNPARSABLE, RecursionError) as error:
        raise damaged(path, f"{problem} ({type(error).__name__}: {error})") from None


def listed(headline: str, lines: Sequence[str]) -> str:
    """Return a headline, and below it the first lines, indented, and a count of the rest."""
    shown = list(lines[:MAX_LINES])
    if len(lines) > MAX_LINES:
        shown[-1:] = [f"and {len(lines) - MAX_LINES + 1} more of {len(lines)}"]
    lines = [printable(line) for line in shown]
    # A long line loses its middle: it begins with a name and ends with advice.
    half = MAX_LINE // 2
    cut = [line if len(line) <= MAX_LINE else f"{line[:half]} … {line[-half:]}" for line in lines]
    return "\n  ".join([headline, *cut])
