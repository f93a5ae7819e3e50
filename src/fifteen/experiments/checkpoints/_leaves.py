"""One leaf: a value to a tensor that safetensors has, with a description, and back."""

import base64
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import numpy.typing as npt

from .._errors import CheckpointError
from ._stored import LeafInfo

HostArray = npt.NDArray[Any]

_NATIVE: dict[str, str] = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16",
    "float16": "F16", "bfloat16": "BF16", "uint32": "U32", "int32": "I32", "float32": "F32",
    "uint64": "U64", "int64": "I64", "float64": "F64",
}  # fmt: skip
"""The dtypes that every reader of safetensors knows, and what the format calls them."""

_NUMPY: dict[str, str] = {stored: name for name, stored in _NATIVE.items()}

SCALARS = (bool, int, float, complex, str, bytes)


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """What stands in the file: a dtype of safetensors, a shape, and the bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: HostArray


@dataclasses.dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is safe from what the caller does next.

    Attributes:
        info: what it is called to be.
        tensor: its bytes; None for what the description alone holds.
        description: what is to be known beyond the tensor; None where the tensor says it all.
    """

    info: LeafInfo
    tensor: Tensor | None
    description: dict[str, Any] | None


def is_static(value: Any) -> bool:
    """Whether a leaf is a part of the program, such as an activation function, and no state."""
    return callable(value) and not isinstance(value, jax.Array)


def take(value: Any, own: bool) -> Leaf:
    """Take a leaf's value from the pytree.

    Args:
        value: an array, a number, a str or bytes.
        own: copy what the caller could still change; an array on a device cannot be changed, and
            is not freed or donated while it is looked at from here.

    Raises:
        CheckpointError: it is something else; the text says what, not where.
    """
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        implementation = str(jax.random.key_impl(value))
        data = np.asarray(jax.random.key_data(value))
        return Leaf(
            LeafInfo(value.shape, str(value.dtype)),
            _native(data),
            {"key": implementation, "dtype": str(value.dtype)},
        )
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        array = np.asarray(value)
        if own and not isinstance(value, jax.Array):
            array = array.copy()
        return _array(array)
    if isinstance(value, SCALARS):
        return _scalar(value)
    raise CheckpointError(
        f"expected an array, a number, a str, bytes or None, found {type(value).__name__}"
    )


def _array(array: HostArray) -> Leaf:
    name = array.dtype.name
    info = LeafInfo(array.shape, name)
    # Only the little-endian order is known to the format.
    if name in _NATIVE and array.dtype.byteorder != ">":
        return Leaf(info, _native(array), None)
    if array.dtype.byteorder == ">":
        return _array(array.astype(array.dtype.newbyteorder("<")))
    if array.dtype.kind == "c" and array.itemsize in (8, 16):
        parts = np.ascontiguousarray(array).reshape(*array.shape, 1)
        return Leaf(info, _native(parts.view(f"f{array.itemsize // 2}")), {"dtype": name})
    if array.dtype.kind in "OUSVMm" and not hasattr(ml_dtypes, name):
        raise CheckpointError(f"cannot save an array of dtype {array.dtype}")
    raw = np.ascontiguousarray(array).reshape(*array.shape, 1).view(np.uint8)
    return Leaf(info, _native(raw), {"dtype": name})


def _native(array: HostArray) -> Tensor:
    # `ascontiguousarray` makes a vector of what has no axes.
    contiguous = np.ascontiguousarray(array).reshape(array.shape)
    return Tensor(_NATIVE[array.dtype.name], array.shape, contiguous)


def _scalar(value: Any) -> Leaf:
    kind = next(kind for kind in SCALARS if isinstance(value, kind))
    return Leaf(LeafInfo((), kind.__name__), None, {kind.__name__: _text(value)})


def _text(value: Any) -> Any:
    """Return what JSON holds exactly; floats in hexadecimal, as JSON has no NaN."""
    match value:
        case bool() | str():
            return value
        case int():
            return hex(value)
        case float():
            return value.hex()
        case complex():
            return [value.real.hex(), value.imag.hex()]
        case _:
            return base64.b64encode(value).decode()


def info_of(dtype: str, shape: tuple[int, ...], description: dict[str, Any] | None) -> LeafInfo:
    """Return what a leaf is, from what stands in a file's header."""
    if description is None:
        return LeafInfo(shape, _NUMPY.get(dtype, dtype))
    if "dtype" in description:
        return LeafInfo(shape[:-1], str(description["dtype"]))
    (kind,) = description
    return LeafInfo((), kind)


def give(tensor: Tensor | None, description: dict[str, Any] | None) -> Any:
    """Return the value that `take` has taken.

    Raises:
        ValueError, KeyError or TypeError: the description is none of ours.
    """
    if tensor is not None:
        array = tensor.data
        if description is None:
            return array
        if "key" in description:
            return jax.random.wrap_key_data(jnp.asarray(array), impl=str(description["key"]))
        dtype = dtype_named(str(description["dtype"]))
        return array.view(dtype).reshape(tensor.shape[:-1])
    if description is None:
        raise ValueError("a leaf without a tensor or a description")
    ((kind, text),) = description.items()
    match kind:
        case "int":
            return int(text, 16)
        case "float":
            return float.fromhex(text)
        case "complex":
            return complex(*map(float.fromhex, text))
        case "bytes":
            return base64.b64decode(text)
        case "bool" | "str":
            return text
        case _:
            raise ValueError(f"a leaf of the unknown kind {kind!r}")


def dtype_named(name: str) -> np.dtype[Any]:
    """Return the dtype of that name, one of NumPy's or of `ml_dtypes`."""
    custom = getattr(ml_dtypes, name, None)
    return np.dtype(custom if custom is not None else name)


def stored_dtype(dtype: str) -> np.dtype[Any]:
    """Return NumPy's dtype for one that safetensors names.

    Raises:
        KeyError: there is none, or it is not one that we write.
    """
    return dtype_named(_NUMPY[dtype])
