"""Putting a restored value where the target's leaf was."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._leaves import SCALARS, HostArray, name_of_dtype
from ._spreading import spread
from ._stored import LeafInfo

_COPIED_BYTES = 8 << 20
_NUMBERS = (bool, int, float, complex)
_ON_DEVICES = (jax.Array, jax.ShapeDtypeStruct)


def info_of_target(leaf: Any) -> LeafInfo:
    """Return shape and dtype that a target's leaf asks for."""
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic):
        return LeafInfo(tuple(leaf.shape), name_of_dtype(leaf.dtype))
    kind = next((kind for kind in SCALARS if isinstance(leaf, kind)), type(leaf))
    return LeafInfo((), kind.__name__)


def family(info: LeafInfo) -> str:
    """Return what numbers of a dtype are like, whatever their size: `int`, `float`, ..."""
    dtype = info.dtype.lstrip("u").rstrip("0123456789")
    return "float" if dtype.startswith(("float", "bfloat")) else dtype


def place(values: Sequence[Any], targets: Sequence[Any]) -> list[Any]:
    """Return each value as the kind of thing that its target's leaf is.

    Args:
        values: NumPy arrays, `jax.Array`s, or Python scalars, str or bytes.
        targets: the leaves. A `jax.Array` or `jax.ShapeDtypeStruct` gives an array with its
            sharding, committed to its devices if it is, and with its weak type, so that nothing
            compiled for the target is compiled again. A NumPy array or scalar gives one; a Python
            number gives a Python number.
    """
    placed = [_on_host(value, target) for value, target in zip(values, targets, strict=True)]
    # All that goes to the same place goes in one call, which costs little more than one array.
    groups: dict[Any, list[int]] = defaultdict(list)
    for index, target in enumerate(targets):
        if isinstance(target, _ON_DEVICES) and not isinstance(placed[index], str | bytes):
            groups[_destination(target, np.shape(placed[index]))].append(index)
    for destination, indices in groups.items():
        arrays = _put([placed[index] for index in indices], destination)
        for index, array in zip(indices, arrays, strict=True):
            is_weak = getattr(targets[index], "weak_type", False)
            placed[index] = _weakly_typed(array, destination) if is_weak else array
    return placed


def _put(values: list[Any], destination: Any) -> list[Any]:
    if destination is None or destination.is_fully_addressable:
        return jax.device_put(values, destination)
    return [spread(value, destination) for value in values]


def _on_host(value: Any, target: Any) -> Any:
    if isinstance(value, str | bytes):
        return value
    if isinstance(target, _ON_DEVICES):
        return _as_array(value, target) if isinstance(value, _NUMBERS) else value
    if isinstance(target, np.ndarray | np.generic):
        array = _as_array(value, target)
        if isinstance(target, np.generic) and array.ndim == 0:
            return array[()]
        # Small ones are views of what was read together, which each of them would keep alive.
        return array.copy() if array.nbytes < _COPIED_BYTES else array
    is_one = isinstance(value, jax.Array | np.ndarray) and value.shape == ()
    return value.item() if is_one and isinstance(target, _NUMBERS) else value


def _as_array(value: Any, target: Any) -> HostArray:
    """Return a value as an array, a Python number in the dtype that the target says it has."""
    is_number = isinstance(value, _NUMBERS)
    if is_number and family(info_of_target(value)) == family(info_of_target(target)):
        return np.asarray(value, target.dtype)
    array = np.asarray(value)
    if array.dtype.newbyteorder(target.dtype.byteorder) == target.dtype:
        return array.astype(target.dtype, copy=False)
    return array


def _destination(target: Any, shape: tuple[int, ...]) -> Any:
    """Return the sharding to put an array to, or None for the default device."""
    # A leaf that is on no particular device takes part in a computation on any.
    if isinstance(target, jax.Array) and not target.committed:
        return None
    sharding = target.sharding
    if sharding is not None and shape != target.shape:
        # A shape that differs from the target's may not divide among its devices.
        try:
            sharding.shard_shape(shape)
        except ValueError:
            return None
    return sharding


def _weakly_typed(array: jax.Array, destination: Any) -> jax.Array:
    kind = next(kind for kind in _NUMBERS if _is_kind(array.dtype, kind))
    if kind is bool:
        return array
    if array.shape == () and array.is_fully_addressable:
        weak = jax.device_put(jnp.asarray(array.item()), destination)
        # Some bits of a NaN do not survive as a Python number.
        if weak.dtype == array.dtype and np.asarray(weak).tobytes() == np.asarray(array).tobytes():
            return weak
    # A vector that is broadcast from a Python number is weakly typed, and stays so when its
    # elements are set. There is no other public way.
    if array.is_fully_addressable:
        weak = jax.device_put(jnp.broadcast_to(jnp.asarray(kind(0)), array.shape), destination)
    else:
        # Onto devices of other processes only a computation puts what is no NumPy array.
        make = jax.jit(lambda: jnp.broadcast_to(kind(0), array.shape), out_shardings=destination)
        weak = make()
    return weak.at[...].set(array) if weak.dtype == array.dtype else array


def _is_kind(dtype: Any, kind: type) -> bool:
    kinds = {bool: np.bool_, int: np.integer, float: np.floating, complex: np.complexfloating}
    return bool(jnp.issubdtype(dtype, kinds[kind]))
