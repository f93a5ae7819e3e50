"""Classes with fields: dataclasses, attrs and pydantic classes, NamedTuples, TypedDicts."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, Union, get_origin

import typing_extensions

from ._hints import hints_of

UNSET: Any = object()
"""Stands for an absent value."""


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a class."""

    name: str  # In the class and in the file.
    type: Any
    argument: str | None  # Its name as a parameter of the class, if it is one.
    default: Callable[[], Any] | None = None  # Makes its default.
    aliases: tuple[str, ...] = ()  # Its names in older files.
    required: bool = True  # Every object has it; not so in a TypedDict.


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a class, in order."""

    cls: type
    kind: str  # "dataclass", "attrs", "pydantic", "namedtuple" or "typeddict".
    all: tuple[Field, ...]
    callable: bool = True  # Calling the class with its stored fields makes an object.


def kind_of_class(cls: Any) -> str:
    """Return the kind of a class with fields, or an empty string for any other."""
    if not isinstance(cls, type):
        return ""
    if dataclasses.is_dataclass(cls):
        return "dataclass"
    if "__attrs_attrs__" in cls.__dict__:
        return "attrs"
    if "__pydantic_validator__" in cls.__dict__:
        return "pydantic"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "namedtuple"
    return "typeddict" if typing_extensions.is_typeddict(cls) else ""


@functools.lru_cache(maxsize=1024)
def fields_of(expression: Any) -> Fields:
    """Describe a class with fields, or a generic one with its arguments, or raise MetadataError."""
    cls: Any = get_origin(expression) or expression
    kind = kind_of_class(cls)
    if kind == "pydantic":
        return _of_pydantic(cls)
    hints = hints_of(cls, expression)
    if kind == "dataclass":
        return _of_dataclass(cls, hints)
    if kind == "attrs":
        return _of_attrs(cls, hints)
    if kind == "typeddict":
        fields = [Field(n, h, n, required=n in cls.__required_keys__) for n, h in hints.items()]
    else:
        defaults = {name: _maker(value) for name, value in cls._field_defaults.items()}
        fields = [Field(n, hints.get(n, Any), n, defaults.get(n)) for n in cls._fields]
    return Fields(cls, kind, tuple(fields))


def _maker(default: Any) -> Callable[[], Any]:
    return lambda: default


def _of_dataclass(cls: Any, hints: dict[str, Any]) -> Fields:
    missing = dataclasses.MISSING
    fields: list[Field] = []
    for field in dataclasses.fields(cls):
        declared = hints[field.name]
        if field.default is None:
            declared = Union[declared, None]  # noqa: UP007  # `|` is not defined for every expression
        default = None if field.default is missing else _maker(field.default)
        if field.default_factory is not missing:
            default = field.default_factory
        argument = field.name if field.init else None
        fields.append(Field(field.name, declared, argument, default, _aliases(field.metadata)))
    needs_more = any(
        f._field_type is dataclasses._FIELD_INITVAR and f.default is missing  # pyright: ignore[reportAttributeAccessIssue]  # the one way to see InitVars
        for f in cls.__dataclass_fields__.values()
    )
    own_init = not cls.__dataclass_params__.init
    return Fields(cls, "dataclass", tuple(fields), callable=not (needs_more or own_init))


def _of_attrs(cls: Any, hints: dict[str, Any]) -> Fields:
    attr = sys.modules["attr"]
    fields: list[Field] = []
    for attribute in cls.__attrs_attrs__:
        name, default = attribute.name, _maker(attribute.default)
        # A factory that takes the half-made object can only be called by the class itself.
        takes_self = getattr(attribute.default, "takes_self", False)
        if takes_self or attribute.default is attr.NOTHING:
            default = None
        elif isinstance(attribute.default, attr.Factory):
            default = attribute.default.factory
        argument = attribute.alias if attribute.init else None
        aliases, required = _aliases(attribute.metadata), not takes_self
        fields.append(Field(name, hints.get(name, Any), argument, default, aliases, required))
    return Fields(cls, "attrs", tuple(fields), callable="__attrs_init__" not in cls.__dict__)


def _of_pydantic(cls: Any) -> Fields:
    fields: list[Field] = []
    for name, info in cls.model_fields.items():
        alias = info.validation_alias if isinstance(info.validation_alias, str) else info.alias
        default = None if info.is_required() else info.default_factory or _maker(info.default)
        fields.append(Field(name, info.annotation, alias or name, default))
    return Fields(cls, "pydantic", tuple(fields))


def _aliases(metadata: Mapping[Any, Any]) -> tuple[str, ...]:
    aliases = metadata.get("aliases", ())
    return (aliases,) if isinstance(aliases, str) else tuple(aliases)


def is_mapping_class(cls: Any) -> bool:
    """Return whether a class is a mapping, or ml_collections' ConfigDict, which does not say so."""
    if not isinstance(cls, type):
        return False
    return issubclass(cls, Mapping) or any(
        base.__module__.startswith("ml_collections.") for base in cls.__mro__
    )


def full_name(cls: type) -> str:
    """Return a class's name with its module."""
    return f"{cls.__module__}.{cls.__qualname__}".replace("<locals>.", "")


def class_tag(cls: Any, candidates: list[type]) -> str:
    """Return the tag of a class, with its module if another candidate has the same name."""
    prefix = "!namedtuple:" if kind_of_class(cls) == "namedtuple" else "!dataclass:"
    # A notebook cell that runs again defines the same class again.
    alike = {full_name(c) for c in candidates if c.__name__ == cls.__name__}
    return prefix + (full_name(cls) if len(alike) > 1 else cls.__name__)


def subclasses(cls: type) -> list[type]:
    """Return all classes that inherit from a class, the latest one first."""
    found: dict[type, None] = {}
    stack = [cls]
    while stack:
        new = [c for c in type.__subclasses__(stack.pop()) if c not in found]
        found.update(dict.fromkeys(new))
        stack += new
    return list(reversed(found))
