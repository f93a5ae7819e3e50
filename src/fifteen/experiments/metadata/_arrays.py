"""The schemas of NumPy and JAX arrays, and of NumPy's scalar classes."""

import sys
from typing import Any

import numpy as np
from yaml.nodes import MappingNode, Node

from . import _numbers
from ._fields import UNSET
from ._problems import Problem, expected
from ._scalars import shorten
from ._schema import Context, Declared, Schema, Schemas, dump_any, load_any, load_untagged

# NumPy parses texts that could be dtypes.
_ERRORS = (TypeError, ValueError, OverflowError, MemoryError, SyntaxError)
TAGS = {"!array": np.ndarray}
_JAX_TAG = "!jax_array"


def make_array(schemas: Schemas, declared: Declared) -> Schema | None:
    """Return the schema of NumPy or JAX arrays, or of one class of NumPy scalars."""
    origin = declared.origin
    origin = getattr(origin, "array_type", origin)  # jaxtyping's Float[Array, "..."]
    if not isinstance(origin, type):
        return None
    if issubclass(origin, np.generic):
        return _make_scalar(origin)
    is_jax = issubclass(origin, getattr(sys.modules.get("jax"), "Array", ()))
    if not is_jax and not issubclass(origin, np.ndarray):
        return None
    name = "jax.Array" if is_jax else "numpy.ndarray"
    parts = schemas.of(dict[str, Any])

    def accept(value: Any) -> Any:
        is_mine = _numbers.is_jax_array(value) if is_jax else type(value) is np.ndarray
        return value if is_mine else UNSET

    def dump(value: Any, context: Context) -> Node:
        return parts.dump_accepted(_numbers.array_to_dict(value), context)

    def load(node: Node, context: Context) -> Any:
        value = load_untagged(node, context)
        try:
            if type(node) is MappingNode:
                array = _numbers.array_from_dict(value)
                return _numbers.as_jax(array) if is_jax else array
            # No dtype is given, so the library chooses one.
            array = _numbers.array_from_list(value)
            return _numbers.as_jax(array.tolist()) if is_jax else array
        except _ERRORS as error:
            raise Problem(f"expected an array: {shorten(str(error), 200)}", node) from None

    def load_tagged(node: Node, context: Context) -> Any:
        """Load an array of the other library, or a number of an older file."""
        if node.tag.startswith("!"):
            return NotImplemented
        value = load_any(node, context)
        if not _numbers.is_array(value) and type(value) not in (bool, int, float, complex):
            return NotImplemented
        try:
            return _numbers.as_jax(value) if is_jax else np.asarray(value)
        except ValueError:
            return expected(name, node)

    ranks = {"map": 1, "seq": 1, "int": 2, "float": 2, "bool": 2}
    tag = _JAX_TAG if is_jax else "!array"
    return Schema(name, ranks, accept, dump, load, (tag,), load_tagged)


def load_jax_array(node: Node, context: Context) -> Any:
    """Load a JAX array without a declared type; in plain data, as a NumPy array."""
    if node.tag != _JAX_TAG:
        return NotImplemented
    if context.bare:
        return context.schemas.of(np.ndarray).load_node(node, context)
    import jax

    return context.schemas.of(jax.Array).load_node(node, context)


def _make_scalar(cls: Any) -> Schema:
    def accept(value: Any) -> Any:
        number = _numbers.as_plain_number(value)
        made = value if isinstance(value, cls) else convert(number)
        return made if type(_numbers.as_plain_number(made)) is type(number) else UNSET

    def convert(number: Any) -> Any:
        if not isinstance(number, bool | int | float | complex):
            return UNSET
        try:
            # An abstract class such as np.floating has no instances.
            made = cls(number) if cls.__subclasses__() == [] else number
        except _ERRORS:
            return UNSET
        return made if made == number or number != number else UNSET

    def dump(value: Any, context: Context) -> Node:
        number = _numbers.as_plain_number(value)
        if _numbers.is_array(number):
            name = type(number).__name__
            raise Problem(f"a {name}, which no plain number equals; use numpy.asarray(it)")
        return dump_any(number, context)

    def load(node: Node, context: Context) -> Any:
        made = convert(load_untagged(node, context))
        return expected(cls.__name__, node) if made is UNSET else made

    return Schema(cls.__name__, {"bool": 1, "int": 1, "float": 1}, accept, dump, load)
