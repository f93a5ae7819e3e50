"""The schemas of unions, literals and type variables."""

import dataclasses
import enum
import sys
import types
import typing
from typing import Any, Union

from yaml.nodes import Node, ScalarNode

from ._classes import class_named, load_class
from ._compare import same
from ._fields import UNSET, class_tag, is_mapping_class, kind_of_class
from ._problems import Problem, did_you_mean, expected
from ._scalars import parse_float
from ._schema import OPEN, Context, Declared, Schema, Schemas, kind_of, type_name

_NONE = 9
"""More than any rank."""
_MAX_REASONS = 3


def make_union(schemas: Schemas, declared: Declared) -> Schema | None:
    expression, origin, arguments = declared
    if origin not in (Union, types.UnionType):
        return None
    # A float accepts integers and Any accepts everything, so they are asked last.
    last = (float, object, Any)
    ordered = sorted(arguments, key=lambda a: last.index(a) if a in last else -1)
    is_open = bool(getattr(expression, "__parameters__", ()))
    return _Union([schemas.of(a) for a in ordered], type_name(expression), is_open).schema


class _Union:
    def __init__(self, members: list[Schema], name: str, is_open: bool) -> None:
        # Only for a type variable may a reader declare more classes.
        self.is_open = is_open
        # The alternatives of an inner union count as this one's.
        self.members = tuple(m for member in members for m in (member.members or [member]))
        self.schema = Schema(
            name, {}, self.accept, self.dump, self.load,
            load_tagged=self.load_tagged, classes=self.classes, members=self.members,
        )  # fmt: skip

    def classes(self) -> list[type]:
        return list(dict.fromkeys(cls for member in self.members for cls in member.classes()))

    def accept(self, value: Any) -> Any:
        accepted = (member.accept(value) for member in self.members)
        return next((a for a in accepted if a is not UNSET), UNSET)

    def dump(self, value: Any, context: Context) -> Node:
        member = next(m for m in self.members if m.accept(value) is not UNSET)
        cls: Any = type(value)
        is_container = cls in (list, set, frozenset, tuple) or is_mapping_class(cls)
        if is_container and not self.is_meant(member, next(iter(member.ranks))):
            # Only the items may distinguish list[A] from list[B], so they get tags too.
            own = context if self.is_open else dataclasses.replace(context, classes={})
            return OPEN.dump_accepted(value, own)
        node = member.dump(value, context)
        if not self.is_meant(member, kind_of(node)) and not node.tag:
            candidates = self.classes() if kind_of_class(cls) and member.classes() else []
            tag = context.schemas.own(cls).tag
            node.tag = class_tag(cls, candidates) if candidates else tag
            if candidates or isinstance(value, enum.Enum):
                context.classes[node.tag] = cls
        return node

    def is_meant(self, member: Schema, kind: str) -> bool:
        """Return whether an untagged node of a kind is read as one alternative and no other."""
        rank = member.ranks.get(kind, _NONE)
        rivals = (m.ranks.get(kind, _NONE) for m in self.members if m is not member)
        return all(rank < rival for rival in rivals)

    def load(self, node: Node, context: Context) -> Any:
        ranks = {m: min(m.ranks.get(k, _NONE) for k in _kinds(node, context)) for m in self.members}
        best = min(ranks.values())
        # Ranks 0 and 1 are both plausible; any higher rank is a last resort.
        limit = max(best, 1) if best < _NONE else -1
        meant = {m: rank for m, rank in ranks.items() if rank <= limit}
        if not meant:
            expected(self.schema.name, node)
        if len(meant) > 1:
            return self.load_best(meant, node, context)
        try:
            return next(iter(meant)).load_node(node, context)
        except Problem as problem:
            if type(node) is not ScalarNode or problem.hint is None:
                raise
            return expected(self.schema.name, node, problem.hint)

    def load_best(self, meant: dict[Schema, float], node: Node, context: Context) -> Any:
        """Load the alternative that fits best."""
        fits: list[tuple[tuple[float, ...], Schema, Any, Context]] = []
        names = " | ".join(member.name for member in meant)
        problem = Problem(f"expected {names}, and it is none of them", node)
        for member, rank in meant.items():
            result, trial = context.trial(member.load_node, node)
            if isinstance(result, Problem):
                shown = result.parts[:_MAX_REASONS]
                problem.parts += [(path, at, f"as {member.name}: {why}") for path, at, why in shown]
            else:
                score = (len(trial.warnings), trial.misfits, rank)
                fits.append((score, member, result, trial))
        if not fits:
            raise problem
        first = min(fits, key=lambda fit: fit[0])
        best = [fit for fit in fits if fit[0] == first[0]]
        if any(not same(first[2], other[2], context.schemas) for other in best):
            names = " and ".join(fit[1].name for fit in best)
            tag = first[1].tag or f"!dataclass:{first[1].name}"
            raise Problem(f"fits {names} equally well; say which with a tag, such as {tag}", node)
        context.adopt(first[3])
        return first[2]

    def load_tagged(self, node: Node, context: Context) -> Any:
        named = [m for m in self.members if node.tag in m.tags]
        if len(named) > 1:
            return self.load_best(dict.fromkeys(named, 0), node, context)
        class_named(node, self.classes())
        loads = [(m, m.load) for m in named]
        loads += [(m, m.load_tagged) for m in self.members if m not in named]
        failed: Problem | None = None
        for member, load in loads:
            result, trial = context.trial(load, node)
            if isinstance(result, Problem):
                # A tag that names a class of another alternative is not a problem.
                if member in named or len(result.parts) > 1 or result.parts[0][1] is not node:
                    failed = failed or result
            elif result is not NotImplemented and member.accept(result) is not UNSET:
                context.adopt(trial)
                return result
        if failed:
            raise failed
        if context.classes:
            return NotImplemented
        return load_class(node, context, self.classes(), None)


def _kinds(node: Node, context: Context) -> tuple[str, ...]:
    """Return the kinds of a node. Declared numbers may look like a str to YAML 1.1."""
    kind = kind_of(node, context.modern)
    if kind != "str" or type(node) is not ScalarNode or node.style:
        return (kind,)
    number = kind_of(node)
    if number != "str" and not context.pyyaml:
        return (number,)
    try:
        parse_float(node.value)
    except ValueError:
        return (kind,)
    return kind, "float"


def make_type_variable(schemas: Schemas, declared: Declared) -> Schema | None:
    """Return the schema of an unbound type variable: that of its bound or constraints."""
    expression = declared.expression
    if not isinstance(expression, typing.TypeVar):
        return None
    if expression.__constraints__:
        return schemas.of(Union[expression.__constraints__])  # noqa: UP007  # known at run time only
    bound: Any = expression.__bound__
    if isinstance(bound, typing.ForwardRef):
        # A bound that cannot be resolved leaves the variable open.
        names = vars(sys.modules.get(expression.__module__, typing))
        bound = names.get(bound.__forward_arg__)
    return OPEN if bound is None else schemas.of(bound)


def make_literal(schemas: Schemas, declared: Declared) -> Schema | None:
    """Return the schema of a Literal: its values, each read as its own type."""
    _, origin, arguments = declared
    if origin is not typing.Literal:
        return None
    values = [v for a in arguments for v in (typing.get_args(a) or [a])]
    types_ = {type(value): schemas.of(type(value)) for value in values}
    name = f"one of {', '.join(map(repr, values))}"

    def accept(value: Any) -> Any:
        return next((v for v in values if type(v) is type(value) and v == value), UNSET)

    def find(node: Node, context: Context) -> Any:
        found: list[tuple[int, Any]] = []
        for schema in types_.values():
            result, trial = context.trial(schema.load, node)
            value = UNSET if isinstance(result, Problem) else accept(result)
            if value is not UNSET:
                found.append((trial.misfits, value))
        return min(found, key=lambda fit: fit[0])[1] if found else UNSET

    def dump(value: Any, context: Context) -> Node:
        return types_[type(value)].dump_accepted(value, context)

    def load(node: Node, context: Context) -> Any:
        value = find(node, context)
        if value is not UNSET:
            return value
        text = node.value if type(node) is ScalarNode else ""
        hint = did_you_mean(text, map(str, values))
        if type(node) is ScalarNode and node.style and text in map(str, values):
            hint = "; remove the quotes"
        return expected(name, node, hint)

    def load_tagged(node: Node, context: Context) -> Any:
        value = find(node, context)
        return NotImplemented if value is UNSET else value

    all_ranks = [schema.ranks for schema in types_.values()]
    kinds = {kind for ranks in all_ranks for kind in ranks}
    ranks = {kind: min(ranks.get(kind, _NONE) for ranks in all_ranks) for kind in kinds}
    return Schema(name, ranks, accept, dump, load, (), load_tagged)
