"""Strict comparison of values by their nodes, with all tags."""

from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode

from ._problems import Problem, step_of
from ._scalars import resolve_plain
from ._schema import OPEN, Context, Schemas


def same(a: Any, b: Any, schemas: Schemas) -> bool:
    """Return whether two values have the same class, content and order.

    NaN equals NaN, and 0.0 differs from -0.0. A NumPy or JAX scalar equals the plain number that
    is written for it, and an integer equals the float of its value.
    """
    if a is b:
        return True
    try:
        one, other = (OPEN.dump(value, Context(schemas)) for value in (a, b))
        return difference(one, other) is None
    except Problem:
        return type(a) is type(b) and bool(a == b)


def difference(a: Node, b: Node) -> str | None:
    """Return the path of the first difference of two nodes; None if they are equal."""
    if type(a) is not type(b) or a.tag != b.tag:
        return ""
    if isinstance(a, ScalarNode) and isinstance(b, ScalarNode):
        return None if _same_text(a, b) else ""
    for key, (part, other) in enumerate(zip(a.value, b.value, strict=False)):
        if type(a) is MappingNode:
            if difference(part[0], other[0]) is not None:
                return ""
            key, part, other = part[0].value, part[1], other[1]
        path = difference(part, other)
        if path is not None:
            return step_of(key) + path
    return None if len(a.value) == len(b.value) else ""


def _same_text(a: ScalarNode, b: ScalarNode) -> bool:
    if a.value == b.value and bool(a.style) == bool(b.style):
        return True
    if a.style or b.style:
        return False
    values = resolve_plain(a.value), resolve_plain(b.value)
    return {type(value) for value in values} == {int, float} and values[0] == values[1]
