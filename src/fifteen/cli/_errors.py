"""Errors, warnings and notes of a command, on stderr."""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fifteen._text import message_of, printable

if TYPE_CHECKING:
    from fifteen.experiments._fields import Fields


class CommandError(Exception):
    """A mistake on the command line."""


def print_message(kind: str, message: object) -> None:
    print(as_line(kind, message), file=sys.stderr)


def as_line(kind: str, message: object) -> str:
    """Write an error or a warning in one line, whatever names are in it.

    Only what points at a place in an expression has lines below it.
    """
    lines = message_of(message).split("\n")
    if lines[-1].strip() == "^":
        return "\n".join([f"fifteen: {kind}: {printable(lines[0])}", *map(printable, lines[1:])])
    text = " ".join(filter(None, (line.strip() for line in lines)))
    return f"fifteen: {kind}: {printable(text)}"


def all_succeed(action: Callable[..., object], *arguments: Iterable[object]) -> bool:
    """Call a function like `map`; return whether no call fails, and print why one does."""
    from fifteen.experiments import FifteenError

    succeeded = True
    for own in zip(*arguments, strict=True):
        try:
            action(*own)
        except (CommandError, FifteenError, OSError) as error:
            print_message("error", error)
            succeeded = False
    return succeeded


def problems_of(fields: "Iterable[Fields]") -> list[str]:
    """Return what could not be read of experiments, each problem once."""
    return list(dict.fromkeys(problem for field in fields for problem in field.problems))


def print_problems(fields: "Iterable[Fields]") -> bool:
    """Print what could not be read of experiments; return whether there was anything."""
    problems = problems_of(fields)
    for problem in problems:
        print_message("error", problem)
    return bool(problems)
