"""Encode a leaf as a tensor that safetensors has, with a description; see `_decoding`."""

import base64
import dataclasses
import functools
import math
import struct
from typing import Any

import jax
import jax.core
import ml_dtypes
import numpy as np

from .._errors import CheckpointError
from . import _host_copy
from ._decoding import NATIVE
from ._dtypes import SCALARS, HostArray, name_of_dtype
from ._host_copy import Pieces
from ._leaf_kinds import ARRAYS, refusal

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
    if dtype.name in NATIVE:
        return _Layout(NATIVE[dtype.name], None, None)
    if dtype != jax.dtypes.float0 and dtype.kind in "OVT" and not hasattr(ml_dtypes, dtype.name):
        advice = "save its fields as arrays" if dtype.names else "save what it holds as leaves"
        raise CheckpointError(f"cannot save a NumPy array of dtype {dtype}; {advice}")
    name = name_of_dtype(dtype)
    if dtype.kind == "c" and dtype.itemsize in (8, 16):
        return _Layout(NATIVE[f"float{dtype.itemsize * 4}"], 2, {"dtype": name})
    return _Layout("U8", dtype.itemsize, {"dtype": name})


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
