"""A value as type and bits, for exact comparison."""

import collections
import dataclasses
import functools

import jax
import numpy as np


def is_key(value):
    return isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)


def exact(value, any_nan=False):
    """Return a value's type and content."""
    again = functools.partial(exact, any_nan=any_nan)
    match value:
        case jax.Array() if is_key(value):
            return str(jax.random.key_impl(value)), again(jax.random.key_data(value))
        case jax.Array():
            return "jax", again(np.asarray(value)), value.weak_type
        case np.ndarray() | np.generic():
            # Subclasses and byte order do not count.
            kind = "scalar" if isinstance(value, np.generic) else "array"
            native = np.array(value, value.dtype.newbyteorder("="), order="C", subok=False)
            # A long double has padding bytes.
            is_padded = native.dtype.char in "gG" or not native.dtype.itemsize
            content = repr(native.tolist()) if is_padded else native.tobytes()
            return kind, str(native.dtype), native.shape, content
        case float():
            return float, "nan" if any_nan and value != value else np.float64(value).tobytes()
        case complex():
            return complex, again(value.real), again(value.imag)
        case dict():
            return type(value), [(again(key), again(part)) for key, part in value.items()]
        case list() | tuple() | collections.deque():
            return type(value), [again(part) for part in value]
        case set() | frozenset():
            return type(value), sorted(repr(again(part)) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value), [again(getattr(value, one.name)) for one in dataclasses.fields(value)]
    return type(value), repr(value)
