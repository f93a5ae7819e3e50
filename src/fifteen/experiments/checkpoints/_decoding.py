"""Decode a leaf from what `_leaf.encode` has made of it; without JAX."""

import base64
import struct
from typing import Any

import numpy as np

from .._errors import CheckpointError
from ._dtypes import NAMES_OF_SCALARS, HostArray, dtype_named
from ._reader import LeafInfo

NATIVE: dict[str, str] = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16",
    "float16": "F16", "bfloat16": "BF16", "uint32": "U32", "int32": "I32", "float32": "F32",
    "uint64": "U64", "int64": "I64", "float64": "F64",
}  # fmt: skip
"""The dtypes that every reader of safetensors knows, with their names in the format."""

_FOREIGN: dict[str, str] = {
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "C64": "complex64",
}  # fmt: skip
"""What other libraries write as well, by the format's names."""

_NUMPY: dict[str, str] = {stored: name for name, stored in NATIVE.items()} | _FOREIGN


def stored_info(dtype: str, shape: tuple[int, ...], description: dict[str, Any] | None) -> LeafInfo:
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
    if kind not in NAMES_OF_SCALARS or (kind in ("bool", "str") and type(text).__name__ != kind):
        raise ValueError(f"{description!r} describes no leaf")
    return LeafInfo((), kind)


def _float_of(text: str) -> float:
    kind, _, bits = text.partition(" ")
    return struct.unpack(">d", bytes.fromhex(bits))[0] if bits else float.fromhex(kind)


def keys_from(data: Any, implementation: str, target: Any) -> Any:
    """Return typed PRNG keys.

    Args:
        data: their data.
        implementation: what JAX calls how they are split.
        target: keys of an implementation that has no name in JAX tell of it, as does a
            `jax.ShapeDtypeStruct` of them; anything else does not matter.

    Raises:
        CheckpointError: JAX knows of no such implementation, and the target is of another.
    """
    import jax
    import jax.numpy as jnp

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
    import jax
    import jax.numpy as jnp

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


def is_stored_dtype(dtype: str) -> bool:
    """Whether NumPy has a dtype that safetensors names; those of less than a byte it has not."""
    return dtype in _NUMPY


def stored_dtype(dtype: str) -> np.dtype[Any]:
    """Return NumPy's dtype for one that safetensors names.

    Raises:
        KeyError: there is none.
    """
    return dtype_named(_NUMPY[dtype])
