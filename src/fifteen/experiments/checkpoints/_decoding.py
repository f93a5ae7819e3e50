"""Decode a leaf from what `_leaf.encode` has made of it; without JAX."""

import base64
import struct
from typing import Any

import numpy as np

from .._errors import CheckpointError
from ._dtypes import NAMES_OF_SCALARS, dtype_named, info_of_array, is_key
from ._reader import HostArray, KeyData, LeafInfo

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

STORED: dict[str, str] = {stored: name for name, stored in NATIVE.items()} | _FOREIGN
"""Dtypes of NumPy by the format's names, of which those of less than a byte have none."""


def stored_info(
    dtype: np.dtype[Any] | None, shape: tuple[int, ...], description: dict[str, Any] | None
) -> LeafInfo:
    """Return the shape and dtype of a leaf by those of its tensor, if any, and its description."""
    if description is None and dtype is not None:
        return info_of_array(shape, dtype)
    if description is None:
        raise ValueError("a leaf without a tensor or a description")
    if dtype is not None:
        name = description["dtype"]
        if not isinstance(name, str) or is_key(name) != ("key" in description):
            raise ValueError(f"{name!r} is no dtype")
        return LeafInfo(shape[:-1], name)
    ((kind, text),) = description.items()
    if kind not in NAMES_OF_SCALARS or (kind in ("bool", "str") and type(text).__name__ != kind):
        raise ValueError(f"{description!r} describes no leaf")
    return LeafInfo((), kind)


def _float_of(text: str) -> float:
    kind, _, bits = text.partition(" ")
    return struct.unpack(">d", bytes.fromhex(bits))[0] if bits else float.fromhex(kind)


def decode(array: HostArray | None, description: dict[str, Any] | None) -> Any:
    """Return the value of which `_leaf.encode` has made a tensor, a description, or both.

    Only a `CheckpointError` means that the description is one of ours.
    """
    if description is None:
        return array
    if array is not None:
        if "key" in description:
            return KeyData(array, str(description["key"]))
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
