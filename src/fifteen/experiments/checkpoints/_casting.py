"""Whether what was saved fits where a target's leaf is, and what it becomes there."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from ._dtypes import (
    NAMES_OF_SCALARS,
    PYTHON_NUMBERS,
    HostArray,
    dtype_named,
    family,
    info_of,
    kind_of,
    name_of_dtype,
)
from ._keys import Key

ON_DEVICES = (jax.Array, jax.ShapeDtypeStruct)
_SETTINGS = ("jax_enable_x64", "jax_explicit_x64_dtypes")
_COPIED_BYTES = 8 << 20
_LOOKED_AT_ONCE = 1 << 20
_SHOWN_BITS = 128


class CastError(Exception):
    """Say what a checkpoint has that its target's leaf cannot be, and what to do."""


class CastErrors(Exception):
    """Hold what a `CastError` says of each of some leaves."""

    def __init__(self, problems: Mapping[Key, str]) -> None:
        super().__init__(problems)
        self.problems = problems


def canonical_dtype(dtype: str) -> str | None:
    """Return the dtype that JAX's arrays have of one that was saved; None if it has none for it."""
    if dtype in NAMES_OF_SCALARS or kind_of(dtype) != "number":
        return dtype
    try:
        held = _held_as(dtype_named(dtype))
    except (TypeError, ValueError):
        # NumPy has none of that name for data, which reading the leaf will tell.
        return dtype
    return None if held is None else held.name


def cast_to_target(value: Any, target: Any) -> Any:
    """Return a value as what is put where the target's leaf is.

    Args:
        value: a NumPy array, a `jax.Array`, or a Python number, str or bytes.
        target: the leaf, of the same kind.

    Returns:
        For a NumPy target a NumPy array or scalar, for a Python number one; for a target on
        devices an array to be put there.

    Raises:
        CastError: something other than digits would be lost.
    """
    if isinstance(value, str | bytes):
        return value
    if isinstance(target, ON_DEVICES):
        return canonicalize(
            _as_array(value, target) if isinstance(value, PYTHON_NUMBERS) else value
        )
    if isinstance(target, np.ndarray | np.generic):
        array = _as_array(value, target)
        if isinstance(target, np.generic) and array.ndim == 0:
            return array[()]
        # Small ones are views of what was read together, which each of them would keep alive.
        # What lies in a msgpack file's bytes cannot be changed in place, as a target's leaf can.
        is_kept = array.nbytes >= _COPIED_BYTES and array.flags.writeable
        return array if is_kept else array.copy()
    is_one = isinstance(value, jax.Array | np.ndarray) and value.shape == ()
    return value.item() if is_one and isinstance(target, PYTHON_NUMBERS) else value


def canonicalize(value: Any) -> Any:
    """Return an array in the dtype that JAX will give it, which has 64 bits only if it may.

    Raises:
        CastError: a number is out of that dtype's range.
    """
    if not isinstance(value, np.ndarray) or value.dtype.itemsize < 8:
        return value
    held = _held_as(value.dtype)
    if held is None or held == value.dtype:
        return value
    flat = value.reshape(-1)
    narrow = np.empty(flat.shape, held)
    for first in range(0, flat.size, _LOOKED_AT_ONCE):
        block = slice(first, first + _LOOKED_AT_ONCE)
        with np.errstate(over="ignore", invalid="ignore"):
            narrow[block] = flat[block]
        lost = _lost(flat[block], narrow[block])
        if lost is not None:
            raise CastError(
                f"{name_of_dtype(value.dtype)} with {lost}, which {held.name} cannot hold; "
                "set jax_enable_x64, or give a NumPy array as the target's leaf"
            )
    return narrow.reshape(value.shape)


def _lost(before: HostArray, after: HostArray) -> Any:
    """Return the first number that was out of range when it was cast; None if none was."""
    is_whole = before.dtype.kind in "iu"
    lost = before != after if is_whole else _overflowed(before, after)
    return before[lost.argmax()] if lost.any() else None


def _overflowed(before: Any, after: Any) -> Any:
    """Return where a finite number has become another kind, in either part of a complex one."""
    if np.iscomplexobj(before):
        real = _overflowed(before.real, after.real)
        return real | _overflowed(before.imag, after.imag)
    return np.isfinite(before) & ~np.isfinite(after)


def _as_array(value: Any, target: Any) -> HostArray:
    """Return a value as an array, a Python number in the dtype that the target says it has."""
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
    """Whether what a dtype holds instead of a number differs from it in digits only."""
    limits = ml_dtypes.finfo(dtype)
    # The small dtypes without an infinity give their largest number for whatever is above it.
    largest = float(limits.max) * (1 + float(limits.eps) / 2)
    return all(
        math.isnan(part) == math.isnan(of_held)
        and math.isinf(part) == math.isinf(of_held)
        and (not math.isfinite(part) or abs(part) <= largest)
        for part, of_held in [(value.real, held.real), (value.imag, held.imag)]
    )


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"an int of {value.bit_length()} bits"
    return f"the {type(value).__name__} {value}"


def settings() -> tuple[Any, ...]:
    """Return the settings on which it depends what dtypes JAX's arrays have."""
    # Its types do not name them, and older versions do not have the second one.
    return getattr(jax.config, _SETTINGS[0], None), getattr(jax.config, _SETTINGS[1], None)


def _held_as(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    return _held_under(dtype, settings())


@functools.lru_cache(maxsize=256)
def _held_under(dtype: np.dtype[Any], settings: tuple[Any, ...]) -> np.dtype[Any] | None:
    # JAX is asked, since no table tells, and what it answers depends on its settings.
    try:
        empty = jax.device_put(np.zeros(0, dtype.newbyteorder("=")))
    except (TypeError, jax.errors.JaxRuntimeError):
        return None
    return np.dtype(empty.dtype)
