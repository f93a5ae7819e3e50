"""Find names by their end or by a pattern."""

import difflib
import fnmatch
import re
from collections.abc import Collection, Iterable, Sequence

from ._errors import ExpressionError


def ending_in(name: str, names: Collection[str], separator: str) -> str | None:
    """Return the only name that equals, or ends in, the given one."""
    if name in names:
        return name
    end = separator + name
    matches = [key for key in names if key.endswith(end)]
    if len(matches) > 1:
        raise ExpressionError(
            f"{name!r} is ambiguous: {', '.join(matches)}; write more of the name"
        )
    return matches[0] if matches else None


def has_ending(names: Iterable[str], end: str, separator: str) -> bool:
    return any(name == end or name.endswith(separator + end) for name in names)


def matching(patterns: Sequence[str], names: Iterable[str], what: str) -> list[str]:
    """Return the names that match any of the patterns, each of which must match; all without any.

    Each name is returned once, in the order of the names.
    """
    names = list(dict.fromkeys(names))
    found = {
        pattern: {name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)}
        for pattern in patterns
    }
    if idle := [pattern for pattern in patterns if not found[pattern]]:
        raise ExpressionError(f"no {what} is called {idle[0]!r}; {known_names(names, idle[0])}")
    chosen: set[str] = set().union(*found.values())
    return [name for name in names if name in chosen or not patterns]


def known_names(names: Sequence[str], wrong: str) -> str:
    """List the names that there are, and say which of them a wrong one may stand for."""
    # Many people write only the end.
    spellings = {text: name for name in names for text in (re.split("[./]", name)[-1], name)}
    close = difflib.get_close_matches(wrong, spellings, n=1)
    hint = f"; did you mean {spellings[close[0]]!r}?" if close else ""
    return f"known: {enumerate_names(names)}{hint}"


def enumerate_names(names: Sequence[str]) -> str:
    """List names in a message, at most 20 of them."""
    if not names:
        return "none at all"
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
