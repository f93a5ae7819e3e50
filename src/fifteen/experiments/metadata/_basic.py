"""The schemas of None, bool, int, float and str, and of Any."""

import collections.abc
import enum
from collections.abc import Callable
from typing import Any

from yaml.nodes import Node, ScalarNode

from . import _scalars
from ._fields import UNSET
from ._numbers import as_plain_number
from ._problems import Problem, expected
from ._schema import ANY, YAML, Context, Declared, Schema, Schemas
from ._yaml import quoted


def _accept(cls: type) -> Callable[[Any], Any]:
    def accept(value: Any) -> Any:
        if type(value) is cls:
            return value
        if isinstance(value, enum.Enum) and isinstance(value, cls):
            # A member of an IntEnum equals its number, and one of a StrEnum its text.
            return value.value if type(value.value) is cls else UNSET
        value = as_plain_number(value)
        return value if type(value) is cls else UNSET

    return accept


def _accept_float(value: Any) -> Any:
    value = as_plain_number(value)
    if type(value) is int:
        try:
            return value if float(value) == value else UNSET
        except OverflowError:
            return UNSET
    return value if type(value) is float else UNSET


def _dump_number(value: Any, context: Context) -> Node:
    return ScalarNode("", _scalars.format_number(value))


def _load_none(node: Node, context: Context) -> None:
    if type(node) is not ScalarNode or node.style or node.value not in _scalars.NULLS:
        expected("null", node)


def _load_bool(node: Node, context: Context) -> bool:
    value = _scalars.BOOLS.get(node.value) if type(node) is ScalarNode and not node.style else None
    return expected("bool", node, "; write true or false") if value is None else value


def _load_int(node: Node, context: Context) -> int:
    if type(node) is not ScalarNode or node.style:
        expected("int", node)
    try:
        return _scalars.parse_int(node.value)
    except ValueError as error:
        number = _scalars.resolve_plain(node.value)
        if context.pyyaml and isinstance(number, float) and number.is_integer():
            # dcargs and tyro accepted any number here, and old programs rely on it.
            context.warnings.append(("", node, f"expected int, got {error}, which is taken"))
            return int(number)
        raise Problem(f"expected int, got {error}", node) from None


def _load_float(node: Node, context: Context) -> float:
    if type(node) is not ScalarNode or node.style:
        expected("float", node)
    try:
        value = _scalars.parse_float(node.value)
    except ValueError as error:
        raise Problem(f"expected float, got {error}", node) from None
    if context.is_trial:
        context.misfits += type(_scalars.resolve_plain(node.value, context.modern)) is not float
    return value


def _load_str(node: Node, context: Context) -> str:
    if type(node) is not ScalarNode or not (node.style or node.value not in _scalars.NULLS):
        hint = "; quote it if the text is meant" if type(node) is ScalarNode else ""
        expected("str", node, hint)
    if context.is_trial and not node.style:
        context.misfits += type(_scalars.resolve_plain(node.value, context.modern)) is not str
    return node.value


_WORDS = {"bool": 3, "int": 3, "float": 3, "date": 3, "datetime": 3}
_SCHEMAS: dict[Any, Schema] = {
    type(None): Schema(
        "None", {"null": 0}, _accept(type(None)), lambda v, c: ScalarNode("", "null"), _load_none,
        ("!null", f"{YAML}null", f"{YAML}python/none"),
    ),
    bool: Schema(
        "bool", {"bool": 0}, _accept(bool), lambda v, c: ScalarNode("", "true" if v else "false"),
        _load_bool, ("!bool", f"{YAML}bool", f"{YAML}python/bool"),
    ),
    int: Schema(
        "int", {"int": 0}, _accept(int), _dump_number, _load_int,
        ("!int", f"{YAML}int", f"{YAML}python/int", f"{YAML}python/long"),
    ),
    float: Schema(
        "float", {"float": 0, "int": 2}, _accept_float, _dump_number, _load_float,
        ("!float", f"{YAML}float", f"{YAML}python/float"),
    ),
    str: Schema(
        "str", {"str": 0, **_WORDS}, _accept(str), lambda v, c: quoted(v), _load_str,
        ("!str", f"{YAML}str", f"{YAML}python/str", f"{YAML}python/unicode"),
    ),
}  # fmt: skip
TAGS = {tag: cls for cls, schema in _SCHEMAS.items() for tag in schema.tags}


def make_basic(schemas: Schemas, declared: Declared) -> Schema | None:
    """Return the schema of None, bool, int, float, str or Any."""
    expression, origin, _ = declared
    if expression is Any or origin is object or origin is collections.abc.Hashable:
        return ANY
    return _SCHEMAS.get(type(None) if origin is None else origin)
