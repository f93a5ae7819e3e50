"""Encode a leaf as a safetensors tensor and a description; `_decoding` decodes it.

Functions and classes among the leaves belong to the program and are left out. Objects of other
types are refused.
"""

import base64
import dataclasses
import functools
import math
import operator
import struct
import types
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from .._errors import CheckpointError
from . import _host_copy
from ._damage import listed
from ._decoding import NATIVE
from ._dtypes import FLOAT0, SCALARS, name_of_dtype
from ._host_copy import Snapshot
from ._keys import Key, name_of
from ._reader import HostArray
from ._tree import FlatTree, flatten

T = TypeVar("T")

_FUNCTIONS = (
    type, types.FunctionType, types.MethodType, types.BuiltinFunctionType,
    types.MethodDescriptorType, types.ClassMethodDescriptorType, types.WrapperDescriptorType,
    types.MethodWrapperType, operator.attrgetter, operator.itemgetter, operator.methodcaller,
    np.ufunc, jnp.ufunc, jax.stages.Compiled,
)  # fmt: skip
_WRAPPING_LIBRARIES = ("functools", "numpy", "jax", "jaxlib", "flax")
"""Their wrappers, such as `jax.jit(f)`, keep the function in `__wrapped__` and have no state."""

_plain_types: set[type] = set()
"""Array types that need no further checks: there may be thousands of leaves."""


@dataclasses.dataclass(slots=True)
class Leaf:
    description: dict[str, Any] | None  # What the tensor does not say; None if it says everything.
    data: Snapshot | None = None  # The tensor; None if the description has the value.
    dtype: str = ""  # Safetensors' name of the tensor's dtype.
    shape: tuple[int, ...] = ()  # The tensor's.


def encode(value: Any, copy: bool) -> Leaf:
    """Encode an array, a number, a str or bytes; the error for other types does not name the leaf.

    With `copy`, the result is safe from whatever the caller does next.
    """
    if type(value) in _plain_types:
        return _encode_array(value, copy)
    if isinstance(value, jax.core.Tracer):
        raise CheckpointError("it is a tracer, which has no value yet; save outside of jit")
    if isinstance(value, np.ma.MaskedArray):
        raise CheckpointError("cannot save a masked array; save its data and its mask as leaves")
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        data, implementation = key_data(value)
        leaf = _encode_array(data, copy)
        leaf.description = {"key": implementation, "dtype": str(value.dtype)}
        return leaf
    if isinstance(value, jax.Array | np.ndarray):
        _plain_types.add(type(value))
        return _encode_array(value, copy)
    if isinstance(value, np.generic):
        return encode(np.asarray(value), copy=False)
    for kind, text_of in _TEXTS.items():
        if isinstance(value, kind):
            return Leaf({kind.__name__: text_of(value)})
    raise CheckpointError(refusal(value))


def key_data(keys: jax.Array) -> tuple[jax.Array, str]:
    """Return the data of typed PRNG keys and the name of their implementation."""
    implementation = jax.random.key_impl(keys)
    if not isinstance(implementation, str):
        raise CheckpointError(
            f"JAX has no name for the implementation {implementation} of these typed PRNG keys; "
            "save jax.random.key_data of them"
        )
    return jax.random.key_data(keys), implementation


@functools.lru_cache(maxsize=256)
def _layout(dtype: np.dtype[Any]) -> tuple[str, int | None, dict[str, Any] | None]:
    """Return the stored dtype, the length of an added last axis, if any, and a description."""
    if dtype.name in NATIVE:
        return NATIVE[dtype.name], None, None
    if dtype != FLOAT0 and dtype.kind in "OVT" and not hasattr(ml_dtypes, dtype.name):
        advice = "save its fields as arrays" if dtype.names else "save what it holds as leaves"
        raise CheckpointError(f"cannot save a NumPy array of dtype {dtype}; {advice}")
    description = {"dtype": name_of_dtype(dtype)}
    if dtype.kind == "c" and dtype.itemsize in (8, 16):
        return NATIVE[f"float{dtype.itemsize * 4}"], 2, description
    return "U8", dtype.itemsize, description


def _encode_array(value: jax.Array | HostArray, copy: bool) -> Leaf:
    dtype, elements, description = _layout(value.dtype)
    data = _host_copy.snapshot(value, copy)
    shape = data.shape if elements is None else (*data.shape, elements)
    return Leaf(description, data, dtype, shape)


def _float_text(value: float) -> str:
    # NaNs differ in their bits, but Python prints all of them alike.
    return f"nan {struct.pack('>d', value).hex()}" if math.isnan(value) else float.hex(value)


_TEXTS: dict[type, Callable[[Any], Any]] = {
    bool: bool,
    int: hex,
    float: _float_text,
    complex: lambda value: [_float_text(value.real), _float_text(value.imag)],
    # The `str` of a subclass, such as an enumeration, may differ.
    str: str.__str__,
    bytes: lambda value: base64.b64encode(value).decode(),
}
"""JSON values that are exact, unlike JSON's numbers."""


def is_static(value: Any) -> bool:
    """Whether a leaf is part of the program, such as an activation function, rather than state.

    That is a function, a class, a method, or what JAX or NumPy makes of a function. Any other
    callable object may hold arrays.
    """
    if not callable(value) or isinstance(value, _FUNCTIONS):
        return callable(value)
    if isinstance(value, functools.partial):
        parts = jax.tree.leaves((value.func, value.args, value.keywords))
        return all(isinstance(part, SCALARS) or is_static(part) for part in parts)
    library = type(value).__module__.partition(".")[0]
    return library in _WRAPPING_LIBRARIES and is_static(getattr(value, "__wrapped__", None))


def refusal(value: Any) -> str:
    """Return why an object cannot be a leaf, and what to do."""
    kind = type(value)
    modules = " ".join(parent.__module__ for parent in kind.__mro__)
    if "flax.linen" in modules:
        advice = "a linen module has no state: use the variables that model.init(...) returns"
    elif "flax.nnx" in modules:
        advice = "use nnx.state(model), and nnx.update(model, state) after restoring"
    elif isinstance(value, getattr(jax, "Ref", ())):
        advice = "use its array, ref[...]"
    elif isinstance(value, functools.partial):
        advice = "use jax.tree_util.Partial, whose arguments are leaves"
    elif dataclasses.is_dataclass(value):
        advice = "register its class with jax.tree_util.register_dataclass"
    elif isinstance(value, set | frozenset):
        advice = "use a sorted list"
    else:
        advice = "use the arrays that it holds, or register its class as a pytree node"
        if callable(value):
            advice += " (jax.tree_util.register_static if it has no state)"
    return f"expected an array, a number, a str, bytes or None, found {kind.__name__}; {advice}"


def encode_tree(tree: Any, encode: Callable[[Any], T]) -> tuple[FlatTree, dict[Key, T]]:
    """Flatten a pytree without what is static; the error lists each leaf that is not encoded."""
    flat = flatten(tree, is_static=is_static)
    encoded: dict[Key, T] = {}
    problems: list[str] = []
    for key, value in zip(flat.keys, flat.leaves, strict=True):
        try:
            encoded[key] = encode(value)
        except (CheckpointError, RuntimeError) as error:
            # The error of an array that could not be computed, or else of one that is deleted.
            if not isinstance(error, CheckpointError | jax.errors.JaxRuntimeError) and not (
                isinstance(value, jax.Array) and value.is_deleted()
            ):
                raise
            problems.append(f"{name_of(key)}: {error}")
    if problems:
        raise CheckpointError(listed("cannot save the target:", problems))
    return flat, encoded
