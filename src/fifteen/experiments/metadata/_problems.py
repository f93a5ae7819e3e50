"""All problems of a value or a file, each with its place, in one error."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeAlias

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fifteen._text import counted

from .._errors import raise_if_foreign
from ._scalars import describe_plain, shorten

MAX_SHOWN = 10

Part: TypeAlias = tuple[str, Node | None, str]
"""The path, the node (None when dumping) and the reason of one problem or warning."""


class Problem(Exception):
    """Reasons why a value cannot be dumped or a node loaded.

    In a `with` block, it collects those of the problems that are raised there.
    """

    def __init__(self, reason: str = "", node: Node | None = None, hint: str | None = None) -> None:
        super().__init__(reason)
        self.parts: list[Part] = [("", node, reason)] if reason else []
        self.hint = hint  # What to do, if the only problem is that a node is of another type.

    def add(self, reason: str, node: Node) -> None:
        self.parts.append(("", node, reason))

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if isinstance(error, Problem):
            self.parts += error.parts
        return isinstance(error, Problem)

    def raise_if_any(self) -> None:
        """Raise this problem if it has reasons."""
        if self.parts:
            raise self


def _under(key: Any, part: Part) -> Part:
    path, node, reason = part
    return (path if key is None else step_of(key) + path, node, reason)


def each(keys: Iterable[Any], functions: Any, parts: Iterable[Any], context: Any) -> list[Any]:
    """Apply each function to its part; raise all problems together, under the parts' keys."""
    done: list[Any] = []
    problem = Problem()
    warnings: list[Part] = context.warnings
    known = len(warnings)
    for key, function, part in zip(keys, functions, parts, strict=False):
        try:
            done.append(function(part, context))
        except Problem as found:
            problem.parts += [_under(key, part) for part in found.parts]
        if len(warnings) != known:
            warnings[known:] = [_under(key, warning) for warning in warnings[known:]]
            known = len(warnings)
    problem.raise_if_any()
    return done


def expected(what: str, node: Node, hint: str = "") -> NoReturn:
    """Raise the problem that a node is of another type."""
    raise Problem(f"expected {what}, got {describe(node)}{hint}", node, hint)


def describe(node: Node) -> str:
    """Describe a node in Python's terms."""
    tag = node.tag.replace("tag:yaml.org,2002:", "!!") + " " if node.tag else ""
    if type(node) is MappingNode:
        return f"{tag}a mapping with {counted(len(node.value), 'key')}"
    if type(node) is SequenceNode:
        return f"{tag}a sequence of {counted(len(node.value), 'value')}"
    if type(node) is not ScalarNode or node.style:
        return f"{tag}str {shorten(repr(node.value))}"
    return tag + shorten(repr(node.value)) if tag else describe_plain(node.value)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return "; did you mean 'x'?", or nothing if no choice is close."""
    folded = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word[:200].lower(), folded, n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def explain(parts: Iterable[Part], where: str, whole: str = "") -> str:
    """Return the message for problems: a line per part, in the order of the file."""
    lines: dict[str, None] = {}
    ordered = sorted(parts, key=lambda p: p[1].start_mark.index if p[1] and p[1].start_mark else 0)
    for path, node, reason in ordered:
        mark = node.start_mark if node else None
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        lines[": ".join(filter(None, (place, path.lstrip(".") or whole, reason)))] = None
    shown = list(lines)[:MAX_SHOWN]
    rest = len(lines) - len(shown)
    return "\n".join(shown + ([f"and {rest} more, {len(lines)} problems in all"] if rest else []))


def step_of(key: Any) -> str:
    """Return the step of a path to a key or an index: `.name`, `[3]`, `['any other']`."""
    if type(key) is str and key.isidentifier():
        return f".{key}"
    return f"[{shorten(repr(key))}]"


def construct(name: str, make: Callable[[], Any], node: Node) -> Any:
    """Construct an object from the values in a node, or raise Problem with the reason."""
    try:
        return make()
    except Exception as error:
        raise_if_foreign(error, make)
        text = " ".join(str(error).split())
        reason = f"{name} does not take these values: {type(error).__name__}: {text}"
        raise Problem(reason, node) from error
