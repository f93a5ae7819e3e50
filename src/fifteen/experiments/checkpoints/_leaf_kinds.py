"""Which objects are leaves of a checkpoint, which are left out, and why others are refused."""

import dataclasses
import functools
import operator
import types
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import CheckpointError
from ._damage import shortened
from ._dtypes import SCALARS
from ._host_copy import is_lost
from ._keys import Key, name_of
from ._tree import FlatTree

T = TypeVar("T")

ARRAYS = (jax.Array, np.ndarray)

_FUNCTIONS = (
    type, types.FunctionType, types.MethodType, types.BuiltinFunctionType,
    types.MethodDescriptorType, types.ClassMethodDescriptorType, types.WrapperDescriptorType,
    types.MethodWrapperType, operator.attrgetter, operator.itemgetter, operator.methodcaller,
    np.ufunc, jnp.ufunc, jax.stages.Compiled,
)  # fmt: skip
_WRAPPING_LIBRARIES = ("functools", "numpy", "jax", "jaxlib", "flax")
"""Their wrappers, such as `jax.jit(f)`, hold the function in `__wrapped__` and no state."""


def is_static(value: Any) -> bool:
    """Whether a leaf is a part of the program, such as an activation function, and no state.

    That is a function, a class or a method, and what JAX or NumPy makes of a function. Any other
    object that can be called may hold arrays.
    """
    return callable(value) and _is_function(value)


def _is_function(value: Any) -> bool:
    if isinstance(value, _FUNCTIONS):
        return True
    if isinstance(value, functools.partial):
        parts = jax.tree.leaves((value.func, value.args, value.keywords))
        return all(isinstance(part, SCALARS) or is_static(part) for part in parts)
    library = type(value).__module__.partition(".")[0]
    return library in _WRAPPING_LIBRARIES and is_static(getattr(value, "__wrapped__", None))


def is_state(value: Any) -> bool:
    """Whether a target's leaf is of a kind that a checkpoint may hold, or stands for one."""
    return isinstance(value, (*ARRAYS, jax.ShapeDtypeStruct, np.generic, *SCALARS))


def refusal(value: Any) -> str:
    """Return why an object cannot be a leaf, and what to do."""
    kind = type(value)
    return (
        f"expected an array, a number, a str, bytes or None, found {kind.__name__}; "
        f"{_remedy(value, [parent.__module__ for parent in kind.__mro__])}"
    )


def _remedy(value: Any, modules: list[str]) -> str:
    if any(name.startswith("flax.linen") for name in modules):
        return "a linen module holds no state: use the variables that model.init(...) returns"
    if any(name.startswith("flax.nnx") for name in modules):
        return "use nnx.state(model), and nnx.update(model, state) after restoring"
    if isinstance(value, getattr(jax, "Ref", ())):
        return "use the array that it holds, ref[...]"
    if isinstance(value, functools.partial):
        return "use jax.tree_util.Partial, whose arguments are leaves"
    if dataclasses.is_dataclass(value):
        return "register its class with jax.tree_util.register_dataclass"
    if isinstance(value, set | frozenset):
        return "use a sorted list"
    advice = "use the arrays that it holds, or register its class as a pytree node"
    if callable(value):
        advice += " (jax.tree_util.register_static if it has no state)"
    return advice


def encode_each(flat: FlatTree, encode: Callable[[Any], T]) -> dict[Key, T]:
    """Encode the leaves of a pytree.

    Raises:
        CheckpointError: lists each leaf that cannot be encoded.
    """
    encoded: dict[Key, T] = {}
    problems: list[str] = []
    for key, value in zip(flat.keys, flat.leaves, strict=True):
        try:
            encoded[key] = encode(value)
        except (CheckpointError, RuntimeError) as error:
            if not (isinstance(error, CheckpointError) or is_lost(value, error)):
                raise
            problems.append(f"{name_of(key)}: {error}")
    if problems:
        raise CheckpointError("\n".join(["cannot save the target:", *shortened(problems)]))
    return encoded
