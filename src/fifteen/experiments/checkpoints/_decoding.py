"""Decode a leaf that `_leaf.encode` has encoded, without JAX."""

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
"""Further dtypes that other libraries write, by their names in the format."""

STORED: dict[str, str] = {stored: name for name, stored in NATIVE.items()} | _FOREIGN
"""NumPy's dtypes by their names in the format; the format's dtypes under a byte have none."""


def stored_info(
    dtype: np.dtype[Any] | None, shape: tuple[int, ...], description: dict[str, Any] | None
) -> LeafInfo:
    """Return a leaf's shape and dtype, from those of its tensor, if any, and its description."""
    if description is None and dtype is not None:
        return info_of_array(shape, dtype)
    if description is None:
        raise ValueError("expected a tensor or a description, found neither")
    if dtype is not None:
        name = description["dtype"]
        if not isinstance(name, str) or is_key(name) != ("key" in description):
            raise ValueError(f"expected the name of a dtype, found {name!r}")
        return LeafInfo(shape[:-1], name)
    ((kind, text),) = description.items()
    if kind not in NAMES_OF_SCALARS or (kind in ("bool", "str") and type(text).__name__ != kind):
        raise ValueError(f"expected the description of a leaf, found {description!r}")
    return LeafInfo((), kind)


def _float_of(text: str) -> float:
    kind, _, bits = text.partition(" ")
    return struct.unpack(">d", bytes.fromhex(bits))[0] if bits else float.fromhex(kind)


def decode(array: HostArray | None, description: dict[str, Any] | None) -> Any:
    """Return the value that `_leaf.encode` has stored as a tensor, a description, or both.

    A `CheckpointError` means that the description is intact, and any other that it is damaged.
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
            # `np.zeros` widens `<U0` to `<U1`, and would allocate memory for any shape.
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
            raise ValueError(f"expected a kind of leaf, found {kind!r}")
