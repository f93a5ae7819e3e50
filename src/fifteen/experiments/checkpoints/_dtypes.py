"""Dtypes by name, and the kinds of their values; without JAX."""

import functools
import re
from typing import Any

import ml_dtypes
import numpy as np

from ._reader import LeafInfo

PYTHON_NUMBERS = (bool, int, float, complex)
SCALARS = (*PYTHON_NUMBERS, str, bytes)
NAMES_OF_SCALARS = frozenset(kind.__name__ for kind in SCALARS)

FLOAT0: np.dtype[Any] = np.dtype([("float0", np.void, 0)])
"""`jax.dtypes.float0`, the dtype of gradients with respect to integers."""

KEY_DTYPES = {"threefry2x32": "key<fry>", "rbg": "key<rbg>", "unsafe_rbg": "key<urbg>"}
"""JAX's names of the dtypes of typed PRNG keys, by those of their implementations."""


@functools.lru_cache(maxsize=256)
def name_of_dtype(dtype: Any) -> str:
    """Return the name of a dtype, without the order of its bytes."""
    if not isinstance(dtype, np.dtype):
        # The dtype of a typed PRNG key is JAX's own.
        return str(dtype)
    if dtype == FLOAT0:
        return "float0"
    # `str` has the length of a text and the unit of a date, and the name has not.
    return dtype.newbyteorder("<").str if dtype.kind in "USMm" else dtype.name


@functools.lru_cache(maxsize=256)
def dtype_named(name: str) -> np.dtype[Any]:
    """Return the dtype of that name, one of NumPy's or of `ml_dtypes`; or raise `TypeError`."""
    if name == "float0":
        return FLOAT0
    custom = getattr(ml_dtypes, name, None)
    try:
        dtype = np.dtype(custom if custom is not None else name)
    except SyntaxError:
        # NumPy reads `i4,,` as a list of fields.
        raise TypeError(f"data type {name!r} not understood") from None
    if dtype.hasobject:
        raise ValueError(f"an array of dtype {name} is no data")
    return dtype


@functools.lru_cache(maxsize=4096)
def info_of_array(shape: tuple[int, ...], dtype: Any) -> LeafInfo:
    """Describe an array; equal ones share a description, since there may be many thousands."""
    return LeafInfo(shape, name_of_dtype(dtype))


def info_of(value: Any) -> LeafInfo:
    if hasattr(value, "dtype"):
        return info_of_array(tuple(value.shape), value.dtype)
    kind = next((kind for kind in SCALARS if isinstance(value, kind)), type(value))
    return LeafInfo((), kind.__name__)


def family(info: LeafInfo) -> str:
    """Return the kind of a dtype's numbers, whatever their size: `int`, `float`, ..."""
    if info.dtype in ("float0", "float128", "complex256"):
        # Neither has a counterpart among Python's numbers.
        return info.dtype
    dtype = info.dtype.lstrip("u").rstrip("0123456789")
    return "float" if dtype.startswith(("float", "bfloat")) else dtype


def is_key(dtype: str) -> bool:
    return dtype.startswith("key<")


def kind_of(dtype: str) -> str:
    """Return the kind of a dtype's values: those of another kind cannot take their place."""
    if dtype in ("str", "bytes", "float0"):
        return dtype
    if is_key(dtype):
        return "key"
    found = re.match("[<|]([USMm])", dtype)
    return "number" if found is None else f"array of {found[1]}"
