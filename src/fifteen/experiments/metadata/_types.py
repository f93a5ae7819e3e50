"""What a class says of its fields, and what its annotations mean."""

import builtins
import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import typing_extensions

from .._errors import MetadataError

UNSET: Any = object()
"""What stands for a value that is not there."""


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a class, as far as reading and writing need it.

    Attributes:
        name: the name in the class and in the file.
        type: its resolved type.
        argument: its name as a parameter of the class, or None if it has none.
        default: its default, or UNSET.
        factory: what makes its default, or None.
        aliases: names that it had in older files.
        required: whether an object may not lack it (a TypedDict's may).
    """

    name: str
    type: Any
    argument: str | None
    default: Any = UNSET
    factory: Any = None
    aliases: tuple[str, ...] = ()
    required: bool = True

    @property
    def has_default(self) -> bool:
        return self.default is not UNSET or self.factory is not None


@dataclasses.dataclass(frozen=True)
class Form:
    """A class whose objects are described by their fields.

    Attributes:
        cls: the class.
        kind: "dataclass", "attrs", "namedtuple" or "typeddict".
        fields: its fields in order.
        init: whether calling the class with its stored fields makes an object; otherwise an
            object is made bare, and its fields are set.
        reset: whether fields are set once more after that call, because it may compute others.
    """

    cls: type
    kind: str
    fields: tuple[Field, ...]
    init: bool
    reset: bool


def form_kind(cls: Any) -> str:
    """Return which kind of class with fields `cls` is, or an empty string."""
    if not isinstance(cls, type):
        return ""
    if dataclasses.is_dataclass(cls):
        return "dataclass"
    if "__attrs_attrs__" in cls.__dict__:
        return "attrs"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "namedtuple"
    if typing.is_typeddict(cls) or typing_extensions.is_typeddict(cls):
        return "typeddict"
    return ""


@functools.lru_cache(maxsize=1024)
def form_of(expression: Any) -> Form:
    """Describe a class for which `form_kind` has an answer, or one with its parameters given.

    Raises:
        MetadataError: an annotation names what cannot be found.
    """
    cls: Any = get_origin(expression) or expression
    kind = form_kind(cls)
    hints = _hints(cls, expression)
    if kind == "dataclass":
        return _of_dataclass(cls, hints)
    if kind == "attrs":
        return _of_attrs(cls, hints)
    if kind == "namedtuple":
        defaults: dict[str, Any] = cls._field_defaults
        fields = [Field(n, hints.get(n, Any), n, defaults.get(n, UNSET)) for n in cls._fields]
        return Form(cls, kind, tuple(fields), init=True, reset=False)
    optional: frozenset[str] = cls.__optional_keys__
    # A base's keys come first; `__annotations__` of a TypedDict has them all.
    fields = [Field(n, hints[n], n, required=n not in optional) for n in hints]
    return Form(cls, kind, tuple(fields), init=True, reset=False)


def _of_dataclass(cls: Any, hints: dict[str, Any]) -> Form:
    fields: list[Field] = []
    for field in dataclasses.fields(cls):
        factory: Any = field.default_factory
        default: Any = field.default
        declared = hints[field.name]
        if default is None:
            declared = declared | None if isinstance(declared, type) else Union[declared, None]  # noqa: UP007  # `|` is not defined for every expression
        fields.append(
            Field(
                field.name,
                declared,
                field.name if field.init else None,
                UNSET if default is dataclasses.MISSING else default,
                None if factory is dataclasses.MISSING else factory,
                _aliases(field.metadata),
            )
        )
    pseudo: Any = cls.__dataclass_fields__.values()
    init_only = [f for f in pseudo if f._field_type is dataclasses._FIELD_INITVAR]  # pyright: ignore[reportAttributeAccessIssue]  # the one way to see InitVars
    needs_more = any(f.default is dataclasses.MISSING for f in init_only)
    own_init = not cls.__dataclass_params__.init
    reset = hasattr(cls, "__post_init__") or any(f.argument is None for f in fields)
    return Form(cls, "dataclass", tuple(fields), init=not (needs_more or own_init), reset=reset)


def _of_attrs(cls: Any, hints: dict[str, Any]) -> Form:
    attr = sys.modules["attr"]
    fields: list[Field] = []
    converted = False
    for attribute in cls.__attrs_attrs__:
        default: Any = attribute.default
        factory = None
        if isinstance(default, attr.Factory):
            # A factory that takes the half-made object can only be called by the class itself.
            factory = None if default.takes_self else default.factory
            default = UNSET if factory else attr.NOTHING
        converted = converted or attribute.converter is not None
        argument = getattr(attribute, "alias", None) or attribute.name.lstrip("_")
        fields.append(
            Field(
                attribute.name,
                hints.get(attribute.name, Any),
                argument if attribute.init else None,
                UNSET if default is attr.NOTHING else default,
                factory,
                _aliases(attribute.metadata),
                required=not (
                    isinstance(attribute.default, attr.Factory) and attribute.default.takes_self
                ),
            )
        )
    own_init = "__attrs_init__" in cls.__dict__
    reset = converted or hasattr(cls, "__attrs_post_init__") or any(not f.argument for f in fields)
    return Form(cls, "attrs", tuple(fields), init=not own_init, reset=reset)


def _aliases(metadata: Mapping[Any, Any]) -> tuple[str, ...]:
    aliases = metadata.get("aliases", ())
    return (aliases,) if isinstance(aliases, str) else tuple(aliases)


def _hints(cls: Any, expression: Any) -> dict[str, Any]:
    """Return the type of each annotated name of a class, its parameters put in."""
    hints: dict[str, Any] = {}
    for base, parameters in _bases(cls, expression):
        annotations = inspect.get_annotations(base)
        for name, annotation in annotations.items():
            if not _is_field(cls, name):
                continue
            resolved = _evaluate(base, name, annotation)
            hints[name] = bind(strip(resolved), parameters, cls)
    return hints


def _is_field(cls: Any, name: str) -> bool:
    """Tell whether an annotated name is a field, and not a ClassVar or an InitVar."""
    if dataclasses.is_dataclass(cls):
        field: Any = cls.__dataclass_fields__.get(name)
        return field is not None and field._field_type is dataclasses._FIELD  # pyright: ignore[reportAttributeAccessIssue]  # as above
    attributes = cls.__dict__.get("__attrs_attrs__")
    return attributes is None or hasattr(attributes, name)


def _bases(cls: Any, expression: Any) -> list[tuple[Any, dict[Any, Any]]]:
    """Return the classes that annotations come from, the furthest first, with their parameters."""
    known: dict[Any, dict[Any, Any]] = {
        cls: dict(zip(getattr(cls, "__parameters__", ()), get_args(expression), strict=False))
    }
    order = list(reversed(cls.__mro__))
    if form_kind(cls) == "typeddict":
        return [(cls, known[cls])]
    for base in cls.__mro__:
        for original in getattr(base, "__orig_bases__", ()):
            origin = get_origin(original)
            if origin is None or not hasattr(origin, "__parameters__"):
                continue
            values = [bind(a, known.get(base, {}), cls) for a in get_args(original)]
            known.setdefault(origin, dict(zip(origin.__parameters__, values, strict=False)))
    return [(base, known.get(base, {})) for base in order if base is not object]


def strip(expression: Any) -> Any:
    """Take away what says nothing of the values: Annotated, Final, Required, ReadOnly, NewType."""
    while True:
        origin = get_origin(expression)
        if origin is Annotated or origin in _QUALIFIERS:
            expression = get_args(expression)[0]
        elif isinstance(expression, typing.NewType):
            expression = expression.__supertype__
        elif isinstance(expression, dataclasses.InitVar):
            expression = expression.type
        elif isinstance(expression, _ALIAS_TYPES):
            expression = expression.__value__
        elif isinstance(origin, _ALIAS_TYPES):
            value = origin.__value__
            names = dict(zip(origin.__type_params__, get_args(expression), strict=False))
            expression = bind(value, names, None)
        elif expression in (typing.Final, dataclasses.InitVar):
            return Any
        else:
            return expression


_QUALIFIERS: set[Any] = {
    typing.Final,
    typing.ClassVar,
    typing.Required,
    typing.NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
}
_ALIAS_TYPES: tuple[Any, ...] = tuple(
    {getattr(module, "TypeAliasType", None) for module in (typing, typing_extensions)} - {None}
)


def bind(expression: Any, parameters: Mapping[Any, Any], owner: Any) -> Any:
    """Put types in for type variables, and the owner in for Self."""
    if expression is typing.Self or expression is typing_extensions.Self:
        return owner
    if isinstance(expression, TypeVar):
        return parameters.get(expression, expression)
    arguments = get_args(expression)
    origin = get_origin(expression)
    if not arguments or origin is typing.Literal or origin is None:
        return expression
    if origin is Annotated:
        return bind(arguments[0], parameters, owner)
    bound = tuple(
        [bind(x, parameters, owner) for x in a]
        if isinstance(a, list)
        else bind(a, parameters, owner)
        for a in arguments
    )
    if all(new is old for new, old in zip(bound, arguments, strict=True)):
        return expression
    if origin in (Union, types.UnionType):
        return Union[bound]  # noqa: UP007  # `|` is not defined for every expression
    if isinstance(expression, types.GenericAlias):
        return origin[bound]
    return expression.copy_with(bound) if hasattr(expression, "copy_with") else origin[bound]


def _evaluate(base: Any, name: str, annotation: Any) -> Any:
    """Return what an annotation means where its class was defined.

    Names are looked for in the class, in its module, and then, for classes defined inside
    functions, among the local variables of the functions that are running, and among the classes
    of the same function that still exist.
    """
    module = sys.modules.get(base.__module__)
    module_names = dict(vars(module)) if module else {}
    holder = type("_", (), {"__annotations__": {name: annotation}, "__module__": base.__module__})
    try:
        hints = typing_extensions.get_type_hints(
            holder, module_names, _Names(base, module_names), include_extras=True
        )
    except Exception as error:
        raise MetadataError(
            f"{base.__qualname__}.{name}: its annotation {annotation!r} cannot be resolved: "
            f"{error}; metadata needs the type at run time, so import it outside of TYPE_CHECKING"
        ) from error
    return hints[name]


class _Names(dict[str, Any]):
    def __init__(self, base: Any, module_names: Mapping[str, Any]) -> None:
        own = {key: value for key, value in vars(base).items() if isinstance(value, type)}
        parameters = getattr(base, "__type_params__", getattr(base, "__parameters__", ()))
        super().__init__(own)
        self.update({p.__name__: p for p in parameters})
        self.setdefault(base.__name__, base)
        self._base = base
        self._module_names = module_names

    def __missing__(self, name: str) -> Any:
        if name in self._module_names or hasattr(builtins, name):
            raise KeyError(name)
        function, _, _ = self._base.__qualname__.rpartition("<locals>.")
        if not function:
            raise KeyError(name)
        frame: types.FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage]  # no other way to a caller's variables
        while frame := frame.f_back:
            if name in frame.f_locals and frame.f_globals.get("__name__") == self._base.__module__:
                return frame.f_locals[name]
        found = _sibling(self._base, f"{function}<locals>.{name}")
        if found is None:
            raise KeyError(name)
        return found


def _sibling(cls: type, qualified_name: str) -> type | None:
    """Return the class of that name which was defined with `cls`, in a function that returned.

    The function may have run more than once; of several, it is the last one made before `cls`.
    """
    same_name = [c for c in subclasses(object) if c.__qualname__ == qualified_name]
    same_name = [c for c in same_name if c.__module__ == cls.__module__]
    age = {c: i for i, c in enumerate(type.__subclasses__(object))}
    before = [c for c in same_name if age.get(c, -1) < age.get(cls, -1)]
    return max(before, key=lambda c: age.get(c, -1)) if before else next(iter(same_name), None)


def subclasses(cls: type) -> list[type]:
    """Return all classes that inherit from a class, the latest defined first."""
    found: dict[type, None] = {}
    stack = [cls]
    while stack:
        for subclass in type.__subclasses__(stack.pop()):
            if subclass not in found:
                found[subclass] = None
                stack.append(subclass)
    return list(reversed(found))
