"""Casting restored values to the dtypes of a target's leaves."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from ._dtypes import (
    NAMES_OF_SCALARS,
    PYTHON_NUMBERS,
    dtype_named,
    family,
    info_of,
    kind_of,
    name_of_dtype,
)
from ._reader import HostArray, KeyData, Shards

ON_DEVICES = (jax.Array, jax.ShapeDtypeStruct)
"""The types of a target's leaves that are arrays of JAX, or stand for one."""
_COPIED_BYTES = 8 << 20
_MAX_BLOCK = 1 << 20
"""Elements that are cast and compared at once, to bound the memory for it."""

_MAX_SHOWN_BITS = 128


class CastError(Exception):
    """A saved value does not fit its target's leaf."""


def canonical_dtype(dtype: str) -> str | None:
    """Return the dtype of JAX's arrays of a saved dtype; None if JAX has none."""
    if dtype in NAMES_OF_SCALARS or kind_of(dtype) != "number":
        return dtype
    try:
        held = _held_as(dtype_named(dtype))
    except (TypeError, ValueError):
        # NumPy has no such dtype, and reading the leaf will raise an error.
        return dtype
    return None if held is None else held.name


def cast_to_target(value: Any, target: Any) -> Any:
    """Cast a host value for its target's leaf, unless more than digits would be lost.

    A NumPy target gets a NumPy array or scalar, a Python number a number, and a target on devices
    what is to be put there.
    """
    if type(value) is np.ndarray and isinstance(target, ON_DEVICES):
        return canonicalize(value)
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, KeyData):
        return _checked_keys(value)
    if isinstance(value, Shards):
        return value.map(canonicalize)
    if isinstance(target, ON_DEVICES):
        is_number = isinstance(value, PYTHON_NUMBERS)
        return canonicalize(_as_array(value, target) if is_number else value)
    if isinstance(target, np.ndarray | np.generic):
        array = _as_array(value, target)
        if isinstance(target, np.generic) and array.ndim == 0:
            return array[()]
        # A small array is a view of a buffer with many others, which it would keep in memory. The
        # bytes of a msgpack file are read-only, and a target's array is not.
        is_kept = array.nbytes >= _COPIED_BYTES and array.flags.writeable
        return array if is_kept else array.copy()
    is_one = isinstance(value, np.ndarray) and value.shape == ()
    return value.item() if is_one and isinstance(target, PYTHON_NUMBERS) else value


def _checked_keys(keys: KeyData) -> KeyData:
    """Check that JAX can make keys of their data, and give empty data its shape."""
    try:
        shape = _shape_of_data(keys.implementation)
    except ValueError:
        raise CastError(
            f"typed PRNG keys of {keys.implementation!r}, an implementation that JAX does not know"
        ) from None
    found = keys.data.shape
    if 0 in found[:-1] and isinstance(keys.data, np.ndarray):
        return KeyData(np.zeros((*found[:-1], *shape), np.uint32), keys.implementation)
    if found[-1:] != shape:
        raise CastError(f"PRNG keys of {found[-1:]} numbers each, and JAX's have {shape}")
    return keys


@functools.lru_cache(maxsize=256)
def _shape_of_data(implementation: str) -> tuple[int, ...]:
    # A key itself would initialize a backend, after which JAX cannot join other processes.
    keys = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=implementation)))
    return keys.shape


def canonicalize(value: HostArray) -> HostArray:
    """Return an array in the dtype that JAX will give it, which depends on `jax_enable_x64`."""
    dtype = value.dtype
    held = dtype if dtype.itemsize < 8 else _held_as(dtype)
    if held is None or held == dtype:
        return value
    flat = value.reshape(-1)
    narrow = np.empty(flat.shape, held)
    for first in range(0, flat.size, _MAX_BLOCK):
        block = slice(first, first + _MAX_BLOCK)
        before = flat[block]
        with np.errstate(over="ignore", invalid="ignore"):
            narrow[block] = before
        after = narrow[block]
        lost = before != after if dtype.kind in "iu" else _overflowed(before, after)
        if lost.any():
            raise CastError(
                f"{name_of_dtype(dtype)} with {before[lost.argmax()]}, which {held.name} cannot "
                "hold; set jax_enable_x64, or give a NumPy array as the target's leaf"
            )
    return narrow.reshape(value.shape)


def _overflowed(before: Any, after: Any) -> Any:
    """Return where a finite number, or a part of a complex one, is no longer finite."""
    if np.iscomplexobj(before):
        real = _overflowed(before.real, after.real)
        return real | _overflowed(before.imag, after.imag)
    return np.isfinite(before) & ~np.isfinite(after)


def _as_array(value: Any, target: Any) -> HostArray:
    """Return a value as an array, and a Python number in the target's dtype."""
    is_number = isinstance(value, PYTHON_NUMBERS)
    if is_number and family(info_of(value)) == family(info_of(target)):
        dtype = np.dtype(target.dtype)
        held = _held_as(dtype) if isinstance(target, ON_DEVICES) else dtype
        if held is None:
            raise CastError(
                f"{_shown(value)}, and JAX has no arrays of that dtype; give a NumPy array, or "
                "another dtype, as the target's leaf"
            )
        return _array_of_number(value, held)
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise CastError(
            f"{_shown(value)}, which no array can hold; give a Python int as the target's leaf"
        )
    if array.dtype.newbyteorder(target.dtype.byteorder) == target.dtype:
        return array.astype(target.dtype, copy=False)
    return array


def _array_of_number(value: Any, dtype: np.dtype[Any]) -> HostArray:
    if isinstance(value, int) and not isinstance(value, bool):
        limits = jnp.iinfo(dtype)
        fits = int(limits.min) <= value <= int(limits.max)
        array = np.asarray(value if fits else 0, dtype)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            array = np.asarray(value, dtype)
        fits = isinstance(value, bool) or _is_about(complex(value), complex(array), dtype)
    if not fits:
        raise CastError(
            f"{_shown(value)}, which {dtype.name} cannot hold; change the target's leaf"
        )
    return array


def _is_about(value: complex, held: complex, dtype: np.dtype[Any]) -> bool:
    """Whether a number in a dtype differs from the original in digits only."""
    limits = ml_dtypes.finfo(dtype)
    # Small dtypes without an infinity saturate.
    largest = float(limits.max) * (1 + float(limits.eps) / 2)
    return all(
        math.isnan(part) == math.isnan(of_held)
        and math.isinf(part) == math.isinf(of_held)
        and (not math.isfinite(part) or abs(part) <= largest)
        for part, of_held in [(value.real, held.real), (value.imag, held.imag)]
    )


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > _MAX_SHOWN_BITS:
        return f"an int of {value.bit_length()} bits"
    return f"the {type(value).__name__} {value}"


def _held_as(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    held = np.dtype(jax.dtypes.canonicalize_dtype(dtype.newbyteorder("=")))
    return held if _is_held(held) else None


@functools.lru_cache(maxsize=256)
def _is_held(dtype: np.dtype[Any]) -> bool:
    # JAX has no table of the dtypes that a device supports.
    try:
        return jax.device_put(np.zeros(0, dtype)).dtype == dtype
    except (TypeError, jax.errors.JaxRuntimeError):
        return False
