"""One leaf: a value to a tensor that safetensors has, with a description, and back."""

import base64
import dataclasses
import functools
import math
import struct
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from .._errors import CheckpointError
from . import _host_copy
from ._host_copy import HostArray as HostArray
from ._host_copy import Pieces
from ._leaf_kinds import ARRAYS, SCALARS, refusal
from ._reader import LeafInfo

_NATIVE: dict[str, str] = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16",
    "float16": "F16", "bfloat16": "BF16", "uint32": "U32", "int32": "I32", "float32": "F32",
    "uint64": "U64", "int64": "I64", "float64": "F64",
}  # fmt: skip
"""The dtypes that every reader of safetensors knows, and what the format calls them."""

_FOREIGN: dict[str, str] = {
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "C64": "complex64",
}  # fmt: skip
"""What other libraries write as well, by the format's names."""

_NUMPY: dict[str, str] = {stored: name for name, stored in _NATIVE.items()} | _FOREIGN

_NAMES_OF_SCALARS = frozenset(kind.__name__ for kind in SCALARS)

_plain_types: set[type] = set()
"""Types of arrays that have been met and need no second look: there may be thousands of leaves."""


@dataclasses.dataclass(slots=True)
class Tensor:
    """What stands in the file: a dtype of safetensors, a shape, and the bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: Pieces


@dataclasses.dataclass(slots=True)
class Leaf:
    """A value that has been taken from the pytree.

    Attributes:
        tensor: its bytes; None for what the description alone holds.
        description: what is to be known beyond the tensor; None where the tensor says it all.
    """

    tensor: Tensor | None
    description: dict[str, Any] | None


def encode(value: Any, copy: bool) -> Leaf:
    """Take a leaf's value from the pytree.

    Args:
        value: an array, a number, a str or bytes.
        copy: make it safe from whatever the caller does once this returns.

    Raises:
        CheckpointError: it is something else; the text says what, not where.
    """
    if type(value) in _plain_types:
        return _leaf_of(value, copy)
    if isinstance(value, jax.core.Tracer):
        raise CheckpointError("it is only traced, and has no value yet; save outside of jit")
    if isinstance(value, np.ma.MaskedArray):
        raise CheckpointError("cannot save a masked array; save its data and its mask as leaves")
    if isinstance(value, ARRAYS):
        if isinstance(value.dtype, np.dtype):
            _plain_types.add(type(value))
            return _leaf_of(value, copy)
        # The dtype of a typed PRNG key is JAX's own.
        leaf = _leaf_of(jax.random.key_data(value), copy)
        description = {"key": str(jax.random.key_impl(value)), "dtype": str(value.dtype)}
        return Leaf(leaf.tensor, description)
    if isinstance(value, np.generic):
        return encode(np.asarray(value), copy=False)
    if isinstance(value, SCALARS):
        return Leaf(None, _described(value))
    raise CheckpointError(refusal(value))


@dataclasses.dataclass(frozen=True, slots=True)
class _Layout:
    """How elements of a dtype stand in the file: as one native element, or as several."""

    stored: str
    elements: int | None
    description: dict[str, Any] | None


@functools.lru_cache(maxsize=256)
def _layout(dtype: np.dtype[Any]) -> _Layout:
    if dtype.name in _NATIVE:
        return _Layout(_NATIVE[dtype.name], None, None)
    if dtype != jax.dtypes.float0 and dtype.kind in "OVT" and not hasattr(ml_dtypes, dtype.name):
        advice = "save its fields as arrays" if dtype.names else "save what it holds as leaves"
        raise CheckpointError(f"cannot save a NumPy array of dtype {dtype}; {advice}")
    name = name_of_dtype(dtype)
    if dtype.kind == "c" and dtype.itemsize in (8, 16):
        return _Layout(_NATIVE[f"float{dtype.itemsize * 4}"], 2, {"dtype": name})
    return _Layout("U8", dtype.itemsize, {"dtype": name})


@functools.lru_cache(maxsize=256)
def name_of_dtype(dtype: Any) -> str:
    """Return what a dtype is called; the order of its bytes is no part of the name."""
    if not isinstance(dtype, np.dtype):
        # The dtype of a typed PRNG key is JAX's own.
        return str(dtype)
    if dtype == jax.dtypes.float0:
        return "float0"
    # A text's length and a date's unit are a part of what `str` says, and not of the name.
    return dtype.newbyteorder("<").str if dtype.kind in "USMm" else dtype.name


def _leaf_of(value: jax.Array | HostArray, copy: bool) -> Leaf:
    layout = _layout(value.dtype)
    data = _host_copy.snapshot(value, copy)
    shape = data.shape if layout.elements is None else (*data.shape, layout.elements)
    return Leaf(Tensor(layout.stored, shape, data), layout.description)


def _described(value: Any) -> dict[str, Any]:
    kind = next(kind for kind in SCALARS if isinstance(value, kind))
    return {kind.__name__: _text(value)}


def _text(value: Any) -> Any:
    """Return what JSON holds exactly, which its own numbers would not."""
    match value:
        case bool():
            return value
        case str():
            # What a subclass says of itself, as an enumeration does, is not its text.
            return str.__str__(value)
        case int():
            return hex(value)
        case float():
            return _float_text(value)
        case complex():
            return [_float_text(value.real), _float_text(value.imag)]
        case _:
            return base64.b64encode(value).decode()


def _float_text(value: float) -> str:
    # There are many NaNs, of which Python's text tells nothing.
    bits = struct.pack(">d", value).hex()
    return f"nan {bits}" if math.isnan(value) else value.hex()


def _float_of(text: str) -> float:
    kind, _, bits = text.partition(" ")
    return struct.unpack(">d", bytes.fromhex(bits))[0] if bits else float.fromhex(kind)


def info_of(dtype: str, shape: tuple[int, ...], description: dict[str, Any] | None) -> LeafInfo:
    """Return what a leaf is, from what stands in a file's header.

    Args:
        dtype: safetensors' name of it; empty for what the description alone holds.
        shape: of the tensor.
        description: what `encode` described.

    Raises:
        KeyError, TypeError, ValueError or AttributeError: the description is none of ours.
    """
    if description is None:
        return LeafInfo(shape, _NUMPY[dtype])
    if dtype:
        name = description["dtype"]
        is_key = isinstance(name, str) and name.startswith("key<")
        if not isinstance(name, str) or is_key != ("key" in description):
            raise ValueError(f"{name!r} is no dtype")
        return LeafInfo(shape[:-1], name)
    ((kind, text),) = description.items()
    if kind not in _NAMES_OF_SCALARS or (kind in ("bool", "str") and type(text).__name__ != kind):
        raise ValueError(f"{description!r} describes no leaf")
    return LeafInfo((), kind)


def keys_from(data: Any, implementation: str, target: Any) -> jax.Array:
    """Return typed PRNG keys.

    Args:
        data: their data.
        implementation: what JAX calls how they are split.
        target: keys of an implementation that has no name in JAX tell of it, as does a
            `jax.ShapeDtypeStruct` of them; anything else does not matter.

    Raises:
        CheckpointError: JAX knows of no such implementation, and the target is of another.
    """
    of_target = _implementation_of(target)
    known: Any = of_target if str(of_target) == implementation else implementation
    # The user's transfer guard must not apply to our transfers.
    with jax.transfer_guard("allow"):
        array = data if isinstance(data, jax.Array) else jnp.asarray(data)
        try:
            return jax.random.wrap_key_data(array, impl=known)
        except ValueError as error:
            raise CheckpointError(
                f"typed PRNG keys of {implementation!r} ({error}); restore into a target that has "
                "such keys"
            ) from None


def _implementation_of(target: Any) -> Any:
    """Return what a target's typed PRNG keys are split by; None if it has no such keys."""
    is_array = isinstance(target, jax.Array | jax.ShapeDtypeStruct)
    if not is_array or not jnp.issubdtype(target.dtype, jax.dtypes.prng_key):
        return None
    found: list[Any] = []
    # Only an array can be asked, if only a traced one.
    jax.eval_shape(lambda keys: found.append(jax.random.key_impl(keys)), target)
    return found[0]


def decode(array: HostArray | None, description: dict[str, Any] | None, target: Any = None) -> Any:
    """Return the value that `encode` has taken.

    Args:
        array: as it stands in the file.
        description: what `encode` described.
        target: the leaf whose place it takes, if there is one.

    Raises:
        CheckpointError: typed PRNG keys that JAX does not know, or a dtype that NumPy does not.
        ValueError, KeyError or TypeError: the description is none of ours.
    """
    if array is not None:
        if description is None:
            return array
        if "key" in description:
            return keys_from(array, str(description["key"]), target)
        name = str(description["dtype"])
        try:
            dtype = dtype_named(name)
        except TypeError:
            raise CheckpointError(
                f"the dtype {name!r} is unknown here; a newer ml_dtypes or NumPy may know it"
            ) from None
        if not dtype.itemsize:
            # `zeros` would give a text without letters room for one, at any size of array.
            return np.ndarray(array.shape[:-1], dtype)
        return array.view(dtype).reshape(array.shape[:-1])
    if description is None:
        raise ValueError("a leaf without a tensor or a description")
    ((kind, text),) = description.items()
    match kind:
        case "int":
            return int(text, 16)
        case "float":
            return _float_of(text)
        case "complex":
            return complex(*map(_float_of, text))
        case "bytes":
            return base64.b64decode(text, validate=True)
        case "bool" | "str":
            return text
        case _:
            raise ValueError(f"a leaf of the unknown kind {kind!r}")


def dtype_named(name: str) -> np.dtype[Any]:
    """Return the dtype of that name, one of NumPy's or of `ml_dtypes`.

    Raises:
        TypeError: there is none.
        ValueError: its elements would be references.
    """
    if name == "float0":
        return jax.dtypes.float0
    custom = getattr(ml_dtypes, name, None)
    try:
        dtype = np.dtype(custom if custom is not None else name)
    except SyntaxError:
        # NumPy reads `i4,,` as a list of fields.
        raise TypeError(f"data type {name!r} not understood") from None
    if dtype.hasobject:
        raise ValueError(f"an array of dtype {name} is no data")
    return dtype


def is_stored_dtype(dtype: str) -> bool:
    """Whether NumPy has a dtype that safetensors names; those of less than a byte it has not."""
    return dtype in _NUMPY


def stored_dtype(dtype: str) -> np.dtype[Any]:
    """Return NumPy's dtype for one that safetensors names.

    Raises:
        KeyError: there is none.
    """
    return dtype_named(_NUMPY[dtype])
