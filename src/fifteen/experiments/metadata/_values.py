"""Hooks: classes whose values are written as those of another type. Add new ones here."""

import argparse
import base64
import collections
import dataclasses
import decimal
import enum
import fractions
import pathlib
import types
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Union

import numpy as np
from yaml.nodes import Node, ScalarNode

from . import _numbers
from ._fields import UNSET
from ._problems import Problem, did_you_mean, expected
from ._scalars import NULLS, parse_fraction, parse_timedelta
from ._schema import YAML, Context, Declared, Schema, Schemas, kind_of, load_untagged, type_name
from ._yaml import pyyaml_mapping, quoted

_TEXT = {"str": 1, "int": 2, "float": 2, "bool": 2, "date": 2, "datetime": 2}
_DAY, _TIME = {**_TEXT, "str": 2, "date": 0}, {**_TEXT, "str": 2, "datetime": 0}
_SEQ, _MAP = {"seq": 1}, {"map": 1}
_ATTRIBUTES = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Hook:
    """A class whose values are written as another type's."""

    cls: Any  # Subclasses do not count.
    tag: str  # Written if no type is declared.
    via: Any  # The type that a value is written as.
    unstructure: Callable[[Any], Any]  # Raises Problem if information would be lost.
    structure: Callable[[Any], Any]  # The inverse, or raises ValueError.
    example: str  # What to write, for messages.
    ranks: Mapping[str, int] = dataclasses.field(default_factory=lambda: _TEXT)  # As in `Schema`.

    @property
    def tags(self) -> tuple[str, ...]:
        """The hook's tag, and those of PyYAML for complex, bytes and objects with attributes."""
        name = f"{self.cls.__module__}.{self.cls.__name__}"
        kinds = ("object", "object/new", "object/apply") if self.ranks is _MAP else ()
        tags = (f"{YAML}python/{self.cls.__name__}", *(f"{YAML}python/{k}:{name}" for k in kinds))
        return self.tag, *tags


def _zoned(value: Any) -> str:
    text = value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    read = type(value).fromisoformat(text)
    # Not by `repr`: `datetime.now().astimezone()` names UTC, which is the name of UTC anyway.
    if (type(value.tzinfo), value.tzname(), value.fold) != (type(read.tzinfo), read.tzname(), 0):
        what = "with fold=1" if value.fold else f"in the zone {value.tzinfo}"
        raise Problem(
            f"a time {what}: only fixed offsets are written exactly, and "
            "neither names of zones nor fold=1; use .astimezone(datetime.timezone.utc)"
        )
    return text


def _encode(value: Any) -> str:
    return base64.b64encode(value).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)


def _with(attributes: dict[str, Any], made: Any) -> Any:
    vars(made).update(attributes)
    return made


Path = type(pathlib.Path())

HOOKS = [
    Hook(complex, "!complex", str, repr, complex, "(1+2j)"),
    Hook(bytes, f"{YAML}binary", str, _encode, _decode, "!!binary ''"),
    Hook(bytearray, "!bytearray", str, _encode, lambda text: bytearray(_decode(text)), "AAEC"),
    Hook(date, "!date", str, date.isoformat, date.fromisoformat, "2026-01-31", _DAY),
    Hook(datetime, "!datetime", str, _zoned, datetime.fromisoformat, "2026-01-31 12:30:00", _TIME),
    Hook(time, "!time", str, _zoned, time.fromisoformat, "'12:30:00'"),
    Hook(timedelta, "!timedelta", str, str, parse_timedelta, "'2 days, 3:04:05'"),
    Hook(decimal.Decimal, "!decimal", str, str, decimal.Decimal, "'1.50'"),
    Hook(fractions.Fraction, "!fraction", str, str, parse_fraction, "'1/3'"),
    Hook(uuid.UUID, "!uuid", str, str, uuid.UUID, "a UUID in hexadecimal"),
    Hook(Path, "!path", str, str, Path, "runs/a"),
    Hook(PurePosixPath, "!pure_posix_path", str, str, PurePosixPath, "runs/a"),
    Hook(PureWindowsPath, "!pure_windows_path", str, str, PureWindowsPath, "runs/a"),
    Hook(np.dtype, "!dtype", str, _numbers.dtype_text, _numbers.parse_dtype_text, "bfloat16"),
    Hook(range, "!range", list[int], lambda v: [v.start, v.stop, v.step], lambda v: range(*v),
         "[start, stop, step]", _SEQ),
    Hook(collections.deque, "!deque", list[Any], list, collections.deque, "a sequence", _SEQ),
    Hook(argparse.Namespace, "!namespace", _ATTRIBUTES, vars,
         lambda v: _with(v, argparse.Namespace()), "a mapping", _MAP),
    Hook(types.SimpleNamespace, "!simple_namespace", _ATTRIBUTES, vars,
         lambda v: _with(v, types.SimpleNamespace()), "a mapping", _MAP),
]  # fmt: skip
_BY_CLASS = {hook.cls: hook for hook in HOOKS}
TAGS: dict[str, Any] = {tag: hook.cls for hook in HOOKS for tag in hook.tags}


def make_hooked(schemas: Schemas, declared: Declared) -> Schema | None:
    """Make the schema of a class that has a hook."""
    expression, origin, arguments = declared
    if origin is pathlib.PurePath:
        return schemas.of(Union[Path, PurePosixPath, PureWindowsPath])  # noqa: UP007
    is_dtype = _numbers.is_jax_scalar_type(origin)
    hook = _BY_CLASS.get(np.dtype if is_dtype else Path if origin is pathlib.Path else origin)
    if hook is None:
        return None
    via: Any = list[arguments[0]] if hook.cls is collections.deque and arguments else hook.via
    inner = schemas.of(via)
    name = type_name(expression)

    def accept(value: Any) -> Any:
        value = _numbers.as_plain_number(value)
        is_value = _numbers.is_dtype(value) if hook.cls is np.dtype else type(value) is hook.cls
        return value if is_value else UNSET

    def dump(value: Any, context: Context) -> Node:
        simple = hook.unstructure(value)
        if via is not str:
            return inner.dump_accepted(simple, context)
        if hook.cls is bytes:
            return ScalarNode(hook.tag, simple, style="'")
        return ScalarNode("", simple) if hook.cls in (date, datetime) else quoted(simple)

    def load(node: Node, context: Context) -> Any:
        if via is not str:
            simple = inner.load_node(pyyaml_mapping(node) if via is _ATTRIBUTES else node, context)
        elif type(node) is not ScalarNode:
            expected(f"{name} as {hook.example}", node)
        elif not node.style and node.value in NULLS:
            expected(name, node, "; quote it if the text is meant")
        else:
            simple = node.value
            if context.is_trial:
                context.misfits += hook.ranks.get(kind_of(node, context.modern), 2) > 1
        try:
            return hook.structure(simple)
        except (ValueError, TypeError, ArithmeticError):
            return expected(f"{name} such as {hook.example}", node)

    return Schema(name, hook.ranks, accept, dump, load, hook.tags)


def make_enum(schemas: Schemas, declared: Declared) -> Schema | None:
    """Return the schema of an Enum: members by name, those of a Flag joined by `|`."""
    origin = declared.origin
    if not (isinstance(origin, type) and issubclass(origin, enum.Enum)):
        return None
    members = origin.__members__
    name = type_name(origin)

    def load(node: Node, context: Context) -> Any:
        text = node.value if type(node) is ScalarNode else ""
        if text in members:
            return members[text]
        flag = _parse_flag(origin, text) if issubclass(origin, enum.Flag) else None
        if flag is not None:
            return flag
        hint = did_you_mean(text, members)
        by_value = [m.name for m in origin if text and str(m.value) == text]
        if by_value:
            hint = f"; that is the value of {by_value[0]!r}, write its name"
        shown = ", ".join(list(members)[:20]) + (", ..." if len(members) > 20 else "")
        return expected(f"{name}, one of {shown}", node, hint)

    def load_tagged(node: Node, context: Context) -> Any:
        """Load PyYAML's form: a call of the class with the member's value."""
        call = f"{YAML}python/object/apply:"
        if not (node.tag.startswith(call) and node.tag.endswith(f".{origin.__name__}")):
            return NotImplemented
        try:
            return origin(*load_untagged(node, context))
        except (TypeError, ValueError) as error:
            raise Problem(f"expected {name}: {error}", node) from None

    return Schema(
        name=name,
        ranks={"str": 1, "bool": 2, "int": 2, "null": 2},
        accept=lambda value: value if type(value) is origin else UNSET,
        # A combination without a name has no bits, or bits that are not members.
        dump_accepted=lambda v, context: quoted(str(v.value) if v.name is None else v.name),
        load_node=load,
        tags=(f"!enum:{origin.__name__}",),
        load_tagged=load_tagged,
    )


def _parse_flag(cls: Any, text: str) -> Any:
    flag, parts = cls(0), [part.strip() for part in text.split("|")]
    if not all(part in cls.__members__ or part.isdecimal() for part in parts):
        return None
    try:
        for part in parts:
            flag |= cls[part] if part in cls.__members__ else cls(int(part))
    except ValueError:
        return None
    return flag
