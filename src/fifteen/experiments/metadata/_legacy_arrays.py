"""NumPy and JAX values that PyYAML wrote, rebuilt from their pickled parts as data.

What pickle says of an array: a function that makes an empty one, and a state of version, shape,
dtype, order and bytes (`numpy/_core/src/multiarray/methods.c`, `array_reduce`); of a dtype: its
code, and a state whose second entry is the byte order. JAX wraps NumPy's, through functions that
have had several names and places over the years.
"""

from typing import Any

import numpy as np
from yaml.nodes import Node, ScalarNode

from ._numbers import as_jax, jax_scalar_type, numpy_scalar_type
from ._schema import YAML, Context, load_any
from ._yaml import children, pyyaml_parts

_NAME = f"{YAML}python/name:"
_DTYPE = f"{YAML}python/object/apply:numpy.dtype"
_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_JAX_FUNCTIONS = ("_reconstruct_array", "reconstruct_device_array", "_reconstruct_device_array")


_JAX_SCALARS = ("jax.numpy", "jax._src.numpy.lax_numpy", "jax._src.numpy.scalar_types")
_DTYPES = ("numpy", "ml_dtypes", "jaxlib.xla_extension", "jax._src.dtypes")


def named(name: str) -> Any:
    """Return the dtype or array class that PyYAML names, or NotImplemented."""
    module, _, short = name.rpartition(".")
    if name == "numpy.ndarray":
        return np.ndarray
    find = numpy_scalar_type if module in _DTYPES else jax_scalar_type
    return (module in _DTYPES + _JAX_SCALARS and find(short)) or NotImplemented


def load_blob(name: str, node: Node, context: Context) -> Any:
    """Return the dtype, array or scalar of a node; NotImplemented if its tag names none."""
    module, _, function = name.rpartition(".")
    if name == "numpy.dtype":
        return _dtype(node)
    if module in _NUMPY_MODULES and function == "scalar":
        dtype, data = children(node)
        return np.frombuffer(_bytes(data, context), _dtype(dtype), count=1)[0]
    if module in _NUMPY_MODULES and function == "_reconstruct":
        return _array(pyyaml_parts(node)["state"], context)
    if module.startswith("jax") and function in _JAX_FUNCTIONS:
        array = _array(children(node)[2], context)
        return array if context.bare else as_jax(array)
    return NotImplemented


def _array(state: Node, context: Context) -> Any:
    _, shape, dtype, is_fortran, data = children(state)
    order = "F" if load_any(is_fortran, context) is True else "C"
    flat = np.frombuffer(_bytes(data, context), _dtype(dtype))
    return flat.reshape(load_any(shape, context), order=order).copy()


def _dtype(node: Node) -> Any:
    if node.tag != _DTYPE:
        raise ValueError("a dtype is missing")
    parts = pyyaml_parts(node)
    code = children(parts["args"])[0]
    if type(code) is not ScalarNode:
        raise ValueError("a dtype is made of its code")
    if code.tag.startswith(_NAME):
        return np.dtype(named(code.tag[len(_NAME) :]))
    dtype = np.dtype(code.value)
    if dtype.hasobject or dtype.names or dtype.kind in "VmM":
        raise ValueError(f"the dtype {code.value!r} is not read")
    is_big_endian = "state" in parts and children(parts["state"])[1].value == ">"
    return dtype.newbyteorder(">") if is_big_endian else dtype


def _bytes(node: Node, context: Context) -> bytes:
    data = load_any(node, context)
    if type(data) is str:
        # Python 2 and NumPy's own scalars of text leave bytes as a string.
        data = data.encode("latin1")
    if type(data) is not bytes:
        raise ValueError("its bytes are missing")
    return data
