"""What is wrong with a file or an object, collected, so that one error tells all of it."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ._scalars import resolve_plain, shorten

MAX_SHOWN = 10


class Refusal(Exception):
    """Parts of an object that cannot be written.

    Attributes:
        problems: a path inside the object and the reason, for each.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__(problems)
        self.problems = problems

    @classmethod
    def because(cls, reason: str) -> "Refusal":
        """Refuse the value at hand."""
        return cls([("", reason)])

    def under(self, step: str, others: "Refusal | None" = None) -> "Refusal":
        """Return the same problems seen from the value that holds this one at `step`."""
        mine = [(step + path, reason) for path, reason in self.problems]
        return Refusal((others.problems if others else []) + mine)


class Reading:
    """The state of reading one file.

    Attributes:
        bare: whether tags of classes are left out of account, to look at a file without its types.
        modern: whether we wrote the file; decides what undeclared plain text means.
        classes: what tags of classes stand for where no type is declared. Empty but for the
            check of what is about to be written.
        pyyaml: whether dcargs or tyro wrote the file; YAML 1.1 then decides what is a string.
        errors: where something is wrong, and what.
        unknown: keys that no field takes, and what to say of them.
    """

    __slots__ = (
        "bare", "classes", "errors", "inexact", "modern", "pyyaml", "trial", "tried", "unknown"
    )  # fmt: skip

    def __init__(
        self, modern: bool, classes: dict[str, type] | None = None, bare: bool = False
    ) -> None:
        self.modern = modern
        self.bare = bare
        self.pyyaml = False
        self.classes = classes or {}
        self.errors: list[tuple[Node, str]] = []
        self.unknown: list[tuple[Node, str]] = []
        self.tried: dict[Any, tuple[Any, Reading]] = {}
        self.trial = False
        """Whether other types are tried as well, so that it matters how well this one fits."""
        self.inexact = 0
        """How many integers were taken for floats, and words of other types for strings; of two
        readings the one with fewer is meant."""

    def attempt(self) -> "Reading":
        """Return a state in which another type may be tried, without a trace in this one."""
        trial = Reading(self.modern, self.classes, self.bare)
        trial.trial = True
        trial.pyyaml = self.pyyaml
        trial.tried = self.tried
        return trial

    def once(
        self, node: Node, kind: object, read: "Callable[[Node, Reading], Any]"
    ) -> "tuple[Any, Reading]":
        """Try a type on a node, and remember what came of it.

        Where unions lie in one another, each alternative reads all that lies below it; without a
        memory that would take time exponential in how deep they lie.
        """
        key = (id(node), id(kind), node.tag)
        if key not in self.tried:
            trial = self.attempt()
            self.tried[key] = (read(node, trial), trial)
        return self.tried[key]

    def error(self, node: Node, message: str) -> None:
        """Record a problem; reading goes on, and its result is not used."""
        self.errors.append((node, message))

    def expected(self, node: Node, what: str, hint: str = "") -> None:
        """Record that a node is something else than what is declared."""
        self.error(node, f"expected {what}, got {describe(node)}{hint}")


def describe(node: Node) -> str:
    """Say what a node is, in the words of Python."""
    tag = ""
    if node.tag:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!") + " "
    if type(node) is MappingNode:
        return f"{tag}a mapping with {_count(len(node.value), 'key')}"
    if type(node) is SequenceNode:
        return f"{tag}a sequence of {_count(len(node.value), 'value')}"
    if type(node) is not ScalarNode or node.style:
        return f"{tag}str {shorten(repr(node.value))}"
    value = resolve_plain(node.value, modern=True)
    if tag:
        return tag + shorten(repr(node.value))
    if value is None:
        return "null"
    name = type(value).__name__
    return f"{name} {shorten(repr(value) if name == 'str' else node.value)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return "; did you mean 'x'?", or nothing where no choice is close."""
    known = list(choices)
    close = difflib.get_close_matches(word[:200], known, n=1, cutoff=0.6)
    if not close:
        folded = {choice.lower(): choice for choice in known}
        close = [folded[word.lower()]] if word.lower() in folded else []
    return f"; did you mean {close[0]!r}?" if close else ""


def explain(problems: list[tuple[Node, str]], root: Node, where: str) -> str:
    """Return the message for problems of one file: line, column, path and text of each."""
    paths = paths_of({id(node) for node, _ in problems}, root)
    lines: list[str] = []
    seen: set[str] = set()
    for node, message in sorted(problems, key=lambda problem: problem[0].start_mark.index):
        mark = node.start_mark
        path = paths.get(id(node), "")
        line = f"{where}:{mark.line + 1}:{mark.column + 1}: {path + ': ' if path else ''}{message}"
        if line not in seen:
            seen.add(line)
            lines.append(line)
    return _join(lines)


def explain_refusal(refusal: Refusal, where: str, kind: str) -> str:
    """Return the message for parts of an object that cannot be written."""
    lines = [f"{where}: {path.lstrip('.') or kind}: {why}" for path, why in refusal.problems]
    return _join(lines)


def _join(lines: list[str]) -> str:
    if len(lines) > MAX_SHOWN:
        rest = len(lines) - MAX_SHOWN
        return "\n".join([*lines[:MAX_SHOWN], f"and {rest} more, {len(lines)} problems in all"])
    return "\n".join(lines)


def paths_of(wanted: set[int], root: Node) -> dict[int, str]:
    """Return the path of each node whose id is wanted; of a key, the path of its mapping."""
    found: dict[int, str] = {}
    seen: set[int] = set()
    stack: list[tuple[Node, str]] = [(root, "")]
    while stack and len(found) < len(wanted):
        node, path = stack.pop()
        if id(node) in wanted:
            found.setdefault(id(node), path.lstrip("."))
        if id(node) in seen:
            continue
        seen.add(id(node))
        if type(node) is MappingNode:
            for key, value in node.value:
                stack.append((key, path))
                stack.append((value, path + step(key.value) if type(key) is ScalarNode else path))
        elif type(node) is SequenceNode:
            stack.extend((item, f"{path}[{i}]") for i, item in enumerate(node.value))
    return found


def step(key: Any) -> str:
    """Return how a path goes on at a key: `.name`, or `['any other']`."""
    if type(key) is str and key.isidentifier():
        return f".{key}"
    return f"[{shorten(repr(key))}]"
