"""Resolve annotations: their names, aliases and type parameters."""

import collections.abc
import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import typing_extensions

from .._errors import MetadataError, raise_if_foreign


def hints_of(cls: Any, expression: Any) -> dict[str, Any]:
    """Return the type of each field of a class, with its type parameters filled in."""
    is_dataclass = dataclasses.is_dataclass(cls)
    fields = dataclasses.fields(cls) if is_dataclass else cls.__dict__.get("__attrs_attrs__")
    # Other annotations are ClassVars or InitVars.
    names = None if fields is None else {field.name for field in fields}
    hints: dict[str, Any] = {}
    parameters = _parameters(cls, expression)
    for base in reversed(cls.__mro__):
        for name, annotation in inspect.get_annotations(base).items():
            if names is None or name in names:
                hint = strip(_evaluate(base, name, annotation))
                hints[name] = bind(hint, parameters.get(base, {}), cls)
    return hints


def _parameters(cls: Any, expression: Any) -> dict[Any, dict[Any, Any]]:
    """Return the type parameters of a class and of its bases, with their values."""
    own = dict(zip(getattr(cls, "__parameters__", ()), get_args(expression), strict=False))
    known: dict[Any, dict[Any, Any]] = {cls: own}
    for base in cls.__mro__:
        for original in getattr(base, "__orig_bases__", ()):
            names = getattr(get_origin(original), "__parameters__", ())
            values = [bind(a, known.get(base, {}), cls) for a in get_args(original)]
            known.setdefault(get_origin(original), dict(zip(names, values, strict=False)))
    return known


def strip(expression: Any) -> Any:
    """Remove Annotated, Final, Required, ReadOnly and NewType, which do not restrict values."""
    while True:
        origin = get_origin(expression)
        if origin in (Annotated, typing_extensions.ReadOnly, *_QUALIFIERS):
            expression = get_args(expression)[0]
        elif isinstance(expression, typing.NewType):
            expression = expression.__supertype__
        elif isinstance(expression, dataclasses.InitVar):
            expression = expression.type
        elif isinstance(origin or expression, _ALIAS_TYPES):
            alias = origin or expression
            names = dict(zip(alias.__type_params__, get_args(expression), strict=False))
            expression = bind(alias.__value__, names, None)
        elif expression in (typing.Final, dataclasses.InitVar):
            return Any
        else:
            return expression


_QUALIFIERS = (typing.Final, typing.ClassVar, typing.Required, typing.NotRequired)
# Before Python 3.14, these are two classes.
_ALIAS_TYPES = (typing_extensions.TypeAliasType, getattr(typing, "TypeAliasType", ()))


def bind(expression: Any, parameters: Mapping[Any, Any], owner: Any) -> Any:
    """Replace type variables by types, and Self by the owner."""
    if expression is typing.Self:
        return owner
    if isinstance(expression, TypeVar):
        return parameters.get(expression, expression)
    arguments = get_args(expression)
    origin = get_origin(expression)
    if not arguments or origin in (typing.Literal, collections.abc.Callable):
        return expression
    if origin is Annotated:
        return bind(arguments[0], parameters, owner)
    bound = tuple(bind(argument, parameters, owner) for argument in arguments)
    if all(new is old for new, old in zip(bound, arguments, strict=True)):
        return expression
    if origin in (Union, types.UnionType):
        return Union[bound]  # noqa: UP007  # `|` is not defined for every expression
    if isinstance(expression, types.GenericAlias):
        return origin[bound]
    return expression.copy_with(bound) if hasattr(expression, "copy_with") else origin[bound]


def _evaluate(base: Any, name: str, annotation: Any) -> Any:
    """Evaluate an annotation in its class and its module."""
    variables = getattr(sys.modules.get(base.__module__), "__dict__", {})
    names = {key: value for key, value in vars(base).items() if isinstance(value, type)}
    parameters = getattr(base, "__type_params__", getattr(base, "__parameters__", ()))
    names = {base.__name__: base, **names, **{p.__name__: p for p in parameters}}
    holder = type("_", (), {"__annotations__": {name: annotation}, "__module__": base.__module__})

    def resolve() -> dict[str, Any]:
        return typing_extensions.get_type_hints(holder, variables, names, include_extras=True)

    try:
        hints = resolve()
    except Exception as error:
        raise_if_foreign(error, resolve)
        raise MetadataError(
            f"{base.__qualname__}.{name}: its annotation {annotation!r} cannot be resolved: "
            f"{error}; metadata needs the type at run time: import it outside of TYPE_CHECKING, "
            "and define it at the top of the module"
        ) from error
    return hints[name]
