"""The codec of a union: which alternative a value is, and which a node is meant for."""

import sys
import types
import typing
from typing import Any, TypeVar, Union

from yaml.nodes import MappingNode, Node, ScalarNode

from ._classes import ambiguous, class_tag, family, namesakes
from ._codec import Codec, Writing, codec_of, type_name, undeclared, without_tag
from ._containers import SEQUENCES
from ._problems import Reading
from ._same import same
from ._scalars import ScalarError, parse_float, resolve_plain, shorten
from ._tree import Mapping, Tree
from ._types import UNSET, form_kind

_LAST = {"float": 1, "any value": 2}


def kind_of(node: Node, modern: bool) -> str:
    """Return what an untagged node looks like."""
    if type(node) is not ScalarNode:
        return "map" if type(node) is MappingNode else "seq"
    if node.style:
        return "str"
    value = resolve_plain(node.value, modern)
    return "null" if value is None else type(value).__name__


def make_union(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of a union."""
    if origin not in (Union, types.UnionType):
        return None
    # Any takes all that the others take, and float takes integers only for want of an int.
    members = sorted(map(codec_of, arguments), key=lambda m: _LAST.get(m.name, 0))
    flat = [m for member in members for m in (member.members or (member,))]
    return union_of(tuple(flat), type_name(expression))


def _is_number(text: str) -> bool:
    try:
        parse_float(text)
    except ScalarError:
        return False
    return True


def make_type_variable(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of a type variable that no type was given for: its bound or constraints."""
    if not isinstance(expression, TypeVar):
        return None
    if expression.__constraints__:
        return codec_of(Union[expression.__constraints__])  # noqa: UP007  # known at run time only
    bound: Any = expression.__bound__
    if isinstance(bound, typing.ForwardRef):
        # Where the name of the bound cannot be found, nothing is known of the variable.
        names = vars(sys.modules.get(expression.__module__, typing))
        bound = names.get(bound.__forward_arg__)
    return None if bound is None else codec_of(bound)


def union_of(members: tuple[Codec, ...], name: str) -> Codec:
    """Return the codec of what may be any of some types."""

    def encode(value: Any, writing: Writing) -> Tree:
        for member in members:
            if member.accepts(value):
                rivals = [m for m in members if m is not member and m.kinds & member.kinds]
                if not rivals or (member.owner and not any(m.owner for m in rivals)):
                    return member.encode(value, writing)
                tree = (member.tagged or member.encode)(value, writing)
                return _told_apart(tree, value, rivals, writing)
        return undeclared.encode_off_type(value, writing, codec)

    def decode(node: Node, reading: Reading) -> Any:
        kind = kind_of(node, reading.modern)
        meant = [m for m in members if kind in m.kinds]
        if kind == "str" and type(node) is ScalarNode and not node.style:
            # A declared number decides what text means, unless PyYAML wrote a str without quotes.
            number = kind_of(node, modern=True)
            if number != "str" and not reading.pyyaml:
                meant = [m for m in members if number in m.kinds]
                kind = number
            elif _is_number(node.value):
                meant += [m for m in members if "float" in m.kinds and m not in meant]
        meant = meant or [m for m in members if kind in m.lenient and not m.owner]
        meant = meant or [m for m in members if kind in m.lenient]
        if not meant:
            return reading.expected(node, name)
        if len(meant) > 1:
            return _decode_best(meant, node, reading)
        before = len(reading.errors)
        value = meant[0].decode(node, reading)
        if type(node) is ScalarNode and len(reading.errors) > before:
            _, _, hint = reading.errors.pop()[1].partition("; ")
            return reading.expected(node, name, f"; {hint}" if hint else "")
        return value

    def special(node: Node, reading: Reading) -> Any:
        named = [m for m in members if node.tag in m.tags]
        if named and node.tag in SEQUENCES[tuple]:
            # One with a type for each position takes the tag too, and goes by its length.
            named += [
                m for m in members if m.special and not m.tags and m.kinds == frozenset(["seq"])
            ]
        if len(named) == 1:
            return named[0].read(node, reading)
        if named:
            return without_tag(node, reading, lambda n, r: _decode_best(named, n, r))
        bases = [m.base for m in members if m.base]
        if len(bases) > 1:
            others = namesakes(node.tag, [c for base in bases for c in family(base)])
            if len(others) > 1:
                return ambiguous(node, others, reading)
        failed: Reading | None = None
        for member in members:
            if member.special:
                value, trial = reading.once(node, member, member.special)
                if value is not NotImplemented and not trial.errors and member.accepts(value):
                    reading.unknown.extend(trial.unknown)
                    reading.inexact += trial.inexact
                    return value
                if value is not NotImplemented and not _names_other(trial, node):
                    failed = trial
        if failed:
            reading.errors.extend(failed.errors)
            return None
        if node.tag.startswith(("!dataclass:", "!namedtuple:")) and not reading.classes:
            return reading.expected(node, name)
        return NotImplemented

    codec = Codec(
        name=name,
        kinds=frozenset().union(*(m.kinds for m in members)),
        lenient=frozenset().union(*(m.lenient for m in members)),
        accepts=lambda value: any(m.accepts(value) for m in members),
        encode=encode,
        decode=decode,
        special=special,
        tagged=encode,
        adopt=lambda value: _adopt(members, value),
        members=members,
    )
    return codec


def _told_apart(tree: Tree, value: Any, rivals: list[Codec], writing: Writing) -> Tree:
    """Name the class by its module too, if another alternative has a class of that name."""
    cls: Any = type(value)
    bases = [m.base for m in rivals if m.base]
    if type(tree) is not Mapping or not bases or not form_kind(cls):
        return tree
    candidates = dict.fromkeys([cls, *(c for base in bases for c in family(base))])
    tag = class_tag(cls, list(candidates))
    if len(tag) <= len(tree.tag):
        return tree
    writing.classes[tag] = cls
    return Mapping(tree.pairs, tag)


def _names_other(trial: Reading, node: Node) -> bool:
    """Tell whether what failed is only that the tag names a class of another alternative."""
    return len(trial.errors) == 1 and trial.errors[0][0] is node


def _adopt(members: tuple[Codec, ...], value: Any) -> Any:
    for member in members:
        adopted = member.adopt(value) if member.adopt else UNSET
        if adopted is not UNSET:
            return adopted
    return UNSET


def _decode_best(meant: list[Codec], node: Node, reading: Reading) -> Any:
    """Try several alternatives, and take the one that fits best."""
    fits: list[tuple[tuple[int, int, bool], Codec, Any, Reading]] = []
    failed: list[tuple[Codec, Reading]] = []
    for member in meant:
        value, trial = reading.once(node, member, member.decode)
        if trial.errors:
            failed.append((member, trial))
        else:
            score = (len(trial.unknown), trial.inexact, not member.owner)
            fits.append((score, member, value, trial))
    if not fits:
        # Each reason may be one of these in turn, so that unshortened they would double each time.
        reasons = "; ".join(
            f"as {m.name}: {shorten(trial.errors[0][1], 300)}" for m, trial in failed
        )
        names = " | ".join(m.name for m in meant)
        return reading.error(node, f"expected {names}, and it is none ({reasons})")
    best_score = min(score for score, *_ in fits)
    best = [fit for fit in fits if fit[0] == best_score]
    _, _, value, trial = best[0]
    if any(not same(value, other) for _, _, other, _ in best[1:]):
        names = " and ".join(member.name for _, member, _, _ in best)
        return reading.error(
            node, f"fits {names} alike; say which with a tag, such as {_tag_of(best[0][1])}"
        )
    reading.unknown.extend(trial.unknown)
    reading.inexact += trial.inexact
    return value


def _tag_of(codec: Codec) -> str:
    own = sorted(tag for tag in codec.tags if tag.startswith("!"))
    return own[0] if own else f"!dataclass:{codec.name}"
