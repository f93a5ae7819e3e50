"""NumPy and JAX values as PyYAML writes them: their pickled parts, put together as data.

What pickle says of an array: a function that makes an empty one, and a state of version, shape,
dtype, order and bytes (`numpy/_core/src/multiarray/methods.c`, `array_reduce`); of a dtype: its
code, and a state whose second entry is the byte order. JAX wraps NumPy's, through functions that
have had several names and places over the years.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ._arrays import finish
from ._codec import undeclared
from ._problems import Reading
from ._scalars import ScalarError

_NAME = "tag:yaml.org,2002:python/name:"
_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_JAX_FUNCTIONS = ("_reconstruct_array", "reconstruct_device_array", "_reconstruct_device_array")


def _names() -> dict[str, Any]:
    """Return the dtypes that a file may name, by the names that PyYAML gives them."""
    names: dict[str, Any] = {"numpy.ndarray": np.ndarray}
    # Not `dir`, whose names include sub-packages that would then be imported.
    for name, value in list(vars(np).items()):
        if isinstance(value, type) and issubclass(value, np.generic):
            names[f"numpy.{value.__name__}"] = value
            names[f"numpy.{name}"] = value
    names["numpy.bool_"] = names["numpy.bool"] = np.bool_
    scalar: Any = type(jnp.float32)
    for name, value in list(vars(jnp).items()):
        if isinstance(value, scalar):
            for module in ("jax.numpy", "jax._src.numpy.lax_numpy", "jax._src.numpy.scalar_types"):
                names[f"{module}.{name}"] = value
                names[f"{module}.{value.dtype.name}"] = value
            if value.dtype.kind == "V" or value.dtype.name not in dir(np):
                names[f"ml_dtypes.{name}"] = value.dtype.type
                names[f"jaxlib.xla_extension.{name}"] = value.dtype.type
                names[f"jax._src.dtypes.{name}"] = value
    return names


NAMES = _names()


def decode_blob(name: str, node: Node, reading: Reading) -> Any:
    """Return the dtype, array or scalar of a node; NotImplemented if its tag names none.

    Raises:
        ScalarError, TypeError, ValueError: its parts do not fit together.
    """
    module, _, function = name.rpartition(".")
    if name == "numpy.dtype":
        return _dtype(node, reading)
    if module in _NUMPY_MODULES and function == "scalar":
        dtype_node, data = _items(node, 2)
        dtype = _dtype_of(dtype_node, reading)
        return np.frombuffer(_bytes(data, reading), dtype, count=1)[0]
    if module in _NUMPY_MODULES and function == "_reconstruct":
        return _array(_part(node, "state"), reading)
    if module.startswith("jax") and function in _JAX_FUNCTIONS:
        array = _array(_items(node, 3)[2], reading)
        return finish(array, is_jax=True)
    return NotImplemented


def _array(state: Node, reading: Reading) -> Any:
    _, shape_node, dtype_node, order_node, data = _items(state, 5)
    dtype = _dtype_of(dtype_node, reading)
    shape = undeclared.decode(shape_node, reading)
    fortran = undeclared.decode(order_node, reading) is True
    flat = np.frombuffer(_bytes(data, reading), dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy()


def _dtype_of(node: Node, reading: Reading) -> Any:
    if node.tag != "tag:yaml.org,2002:python/object/apply:numpy.dtype":
        raise ScalarError("a dtype is missing")
    return _dtype(node, reading)


def _dtype(node: Node, reading: Reading) -> Any:
    code = _items(_part(node, "args") if type(node) is MappingNode else node, 1)[0]
    if type(code) is not ScalarNode:
        raise ScalarError("a dtype is made of its code")
    if code.tag and code.tag.startswith(_NAME):
        named = NAMES.get(code.tag[len(_NAME) :])
        if named is None:
            raise ScalarError(f"no dtype {code.tag[len(_NAME) :]}")
        return np.dtype(named)
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


def _bytes(node: Node, reading: Reading) -> bytes:
    data = undeclared.decode(node, reading)
    if type(data) is str:
        # Python 2 and NumPy's own scalars of text leave bytes as a string.
        data = data.encode("latin1")
    if type(data) is not bytes:
        raise ScalarError("its bytes are missing")
    return data
