"""NumPy and JAX values that PyYAML wrote, rebuilt from their pickled parts as data.

What pickle says of an array: a function that makes an empty one, and a state of version, shape,
dtype, order and bytes (`numpy/_core/src/multiarray/methods.c`, `array_reduce`); of a dtype: its
code, and a state whose second entry is the byte order. JAX wraps NumPy's, through functions that
have had several names and places over the years.
"""

from typing import Any

import ml_dtypes
import numpy as np
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ._numbers import as_jax, jax_scalar_type, numpy_scalar_type
from ._scalars import ScalarError
from ._schema import YAML, Context, load_any

_NAME = f"{YAML}python/name:"
_DTYPE = f"{YAML}python/object/apply:numpy.dtype"
_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_JAX_FUNCTIONS = ("_reconstruct_array", "reconstruct_device_array", "_reconstruct_device_array")


def named(name: str) -> Any:
    """Return the dtype or array class that PyYAML names, or NotImplemented."""
    module, _, short = name.rpartition(".")
    find = _SCALAR_TYPES.get(module)
    found = np.ndarray if name == "numpy.ndarray" else find and find(short)
    return found or NotImplemented


def _extended_type(name: str) -> Any:
    return numpy_scalar_type(name, ml_dtypes)


_JAX_SCALARS = ("jax.numpy", "jax._src.numpy.lax_numpy", "jax._src.numpy.scalar_types")
_JAX_DTYPES = ("ml_dtypes", "jaxlib.xla_extension", "jax._src.dtypes")
_SCALAR_TYPES = {
    "numpy": numpy_scalar_type,
    **dict.fromkeys(_JAX_SCALARS, jax_scalar_type),
    **dict.fromkeys(_JAX_DTYPES, _extended_type),
}


def load_blob(name: str, node: Node, context: Context) -> Any:
    """Return the dtype, array or scalar of a node; NotImplemented if its tag names none."""
    module, _, function = name.rpartition(".")
    if name == "numpy.dtype":
        return _dtype(node, context)
    if module in _NUMPY_MODULES and function == "scalar":
        dtype_node, data = _items(node, 2)
        dtype = _dtype_of(dtype_node, context)
        return np.frombuffer(_bytes(data, context), dtype, count=1)[0]
    if module in _NUMPY_MODULES and function == "_reconstruct":
        return _array(_part(node, "state"), context)
    if module.startswith("jax") and function in _JAX_FUNCTIONS:
        array = _array(_items(node, 3)[2], context)
        return array if context.bare else as_jax(array)
    return NotImplemented


def _array(state: Node, context: Context) -> Any:
    _, shape_node, dtype_node, order_node, data = _items(state, 5)
    order = "F" if load_any(order_node, context) is True else "C"
    flat = np.frombuffer(_bytes(data, context), _dtype_of(dtype_node, context))
    return flat.reshape(load_any(shape_node, context), order=order).copy()


def _dtype_of(node: Node, context: Context) -> Any:
    if node.tag != _DTYPE:
        raise ScalarError("a dtype is missing")
    return _dtype(node, context)


def _dtype(node: Node, context: Context) -> Any:
    code = _items(_part(node, "args") if type(node) is MappingNode else node, 1)[0]
    if type(code) is not ScalarNode:
        raise ScalarError("a dtype is made of its code")
    if code.tag and code.tag.startswith(_NAME):
        found = named(code.tag[len(_NAME) :])
        if found is NotImplemented:
            raise ScalarError(f"no dtype {code.tag[len(_NAME) :]}")
        return np.dtype(found)
    dtype = np.dtype(code.value)
    if dtype.hasobject or dtype.names or dtype.kind == "V":
        raise ScalarError(f"the dtype {code.value!r} is not read")
    if type(node) is MappingNode and dtype.kind in "mM":
        raise ScalarError("dates of NumPy are not read")
    if type(node) is MappingNode and _items(_part(node, "state"), 2)[1].value == ">":
        dtype = dtype.newbyteorder(">")
    return dtype


def _part(node: Node, key: str) -> Node:
    if type(node) is MappingNode:
        for key_node, value in node.value:
            if key_node.value == key:
                return value
    raise ScalarError(f"{key!r} is missing")


def _items(node: Node, count: int) -> list[Node]:
    if type(node) is not SequenceNode or len(node.value) < count:
        raise ScalarError(f"at least {count} parts were expected")
    return list(node.value)


def _bytes(node: Node, context: Context) -> bytes:
    data = load_any(node, context)
    if type(data) is str:
        # Python 2 and NumPy's own scalars of text leave bytes as a string.
        data = data.encode("latin1")
    if type(data) is not bytes:
        raise ScalarError("its bytes are missing")
    return data
