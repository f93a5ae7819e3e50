"""Dtypes, and the classes that stand for them, by name."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from yaml.nodes import Node, ScalarNode

from ._codec import Codec, Writing, undeclared
from ._problems import Reading, Refusal, did_you_mean
from ._scalars import quote, shorten
from ._tree import Tree
from ._types import UNSET

MAX_ARRAY_BYTES = 2**20

_JNP_SCALARS: dict[str, Any] = {
    name: value for name in dir(jnp) if type(value := getattr(jnp, name)).__name__ == "_ScalarMeta"
}
_SCALAR_META: Any = type(jnp.float32)


def name_of(dtype: Any) -> str:
    """Return a dtype's name, or what NumPy writes for one whose name does not tell all of it."""
    if dtype.names is None and dtype.isnative and dtype.kind != "U":
        return dtype.name
    return dtype.str


def parse_dtype(text: str) -> np.dtype[Any]:
    """Return the dtype of a name such as `bfloat16` or `<f4`.

    Raises:
        ValueError: there is none.
    """
    scalar = _JNP_SCALARS.get(text)
    try:
        dtype = scalar.dtype if scalar is not None else np.dtype(text)
    except (TypeError, SyntaxError) as error:
        raise ValueError(f"no dtype {text!r}{did_you_mean(text, _JNP_SCALARS)}") from error
    if dtype.hasobject:
        raise ValueError("objects are not read")
    if dtype.names or dtype.subdtype or dtype.itemsize > MAX_ARRAY_BYTES:
        # One value in a file could become gigabytes of zeros in memory.
        raise ValueError(f"{shorten(text)} is no dtype of numbers or of short text")
    return dtype


def is_dtype(value: Any) -> bool:
    """Tell whether a value is a dtype, or a class that stands for one (`jnp.bfloat16`)."""
    if isinstance(value, np.dtype | _SCALAR_META):
        return True
    return isinstance(value, type) and issubclass(value, np.generic)


def dtype_text(value: Any) -> str:
    """Return a dtype's text, which tells `jnp.float32`, `np.float32` and its dtype apart."""
    if isinstance(value, _SCALAR_META):
        text = f"jnp.{value.dtype.name}"
    elif isinstance(value, type):
        text = f"np.{value.__name__}"
    else:
        text = name_of(value)
    try:
        parsed = parse_dtype_value(text)
    except ValueError:
        parsed = UNSET
    if type(parsed) is not type(value) or parsed != value:
        raise Refusal.because(f"the dtype {value}, which its name does not give back")
    return text


def parse_dtype_value(text: str) -> Any:
    """Return what `dtype_text` was given.

    Raises:
        ValueError: there is no such dtype.
    """
    module, _, name = text.rpartition(".")
    if module == "jnp" and name in _JNP_SCALARS:
        return _JNP_SCALARS[name]
    if module == "jnp" and name == "bool":
        return jnp.bool_
    if module == "np":
        # Not getattr, which would import a submodule of that name.
        found = vars(np).get(name)
        if isinstance(found, type) and issubclass(found, np.generic):
            return found
        return parse_dtype(name).type
    return parse_dtype(text)


def make_dtype(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of a dtype, or of any of what NumPy takes for one."""
    if origin is not np.dtype and expression is not _SCALAR_META:
        return None

    def encode(value: Any, writing: Writing) -> Tree:
        if is_dtype(value):
            return quote(dtype_text(value))
        return undeclared.encode_off_type(value, writing, codec)

    def decode(node: Node, reading: Reading) -> Any:
        try:
            if type(node) is ScalarNode:
                return parse_dtype_value(node.value)
        except ValueError as error:
            return reading.error(node, f"expected a dtype: {error}")
        return reading.expected(node, "a dtype such as bfloat16")

    codec = Codec("dtype", frozenset(["str"]), is_dtype, encode, decode, tags=frozenset(["!dtype"]),
                  tagged=lambda v, w: f"!dtype {quote(dtype_text(v))}")  # fmt: skip
    return codec
