"""Putting a restored value where the target's leaf was."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._leaves import SCALARS
from ._stored import LeafInfo

_COPIED_BYTES = 8 << 20
_ON_DEVICES = (jax.Array, jax.ShapeDtypeStruct)


def info_of_target(leaf: Any) -> LeafInfo:
    """Return shape and dtype that a target's leaf asks for."""
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic):
        return LeafInfo(tuple(leaf.shape), str(leaf.dtype))
    kind = next((kind for kind in SCALARS if isinstance(leaf, kind)), type(leaf))
    return LeafInfo((), kind.__name__)


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
        arrays = jax.device_put([placed[index] for index in indices], destination)
        for index, array in zip(indices, arrays, strict=True):
            is_weak = getattr(targets[index], "weak_type", False)
            placed[index] = _weakly_typed(array, destination) if is_weak else array
    return placed


def _on_host(value: Any, target: Any) -> Any:
    if isinstance(value, str | bytes):
        return value
    if isinstance(target, _ON_DEVICES):
        is_number = isinstance(value, bool | int | float | complex)
        return np.asarray(value, target.dtype) if is_number else value
    if isinstance(target, np.ndarray | np.generic):
        array = np.asarray(value)
        if isinstance(target, np.generic) and array.ndim == 0:
            return array[()]
        # Small ones are views of what was read together, which each of them would keep alive.
        return array.copy() if array.nbytes < _COPIED_BYTES else array
    is_number = isinstance(target, bool | int | float | complex)
    if is_number and isinstance(value, jax.Array | np.ndarray) and value.shape == ():
        return value.item()
    return value


def _destination(target: Any, shape: tuple[int, ...]) -> Any:
    """Return the sharding to put an array to, or None for the default device."""
    # A leaf that is on no particular device takes part in a computation on any.
    if isinstance(target, jax.Array) and not getattr(target, "_committed", True):
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
    # A vector that is broadcast from a Python number is weakly typed, and stays so when its
    # elements are set. There is no other public way.
    kind = next(kind for kind in (bool, int, float, complex) if _is_kind(array.dtype, kind))
    if kind is bool:
        return array
    weak = jax.device_put(jnp.broadcast_to(jnp.asarray(kind(0)), array.shape), destination)
    return weak.at[...].set(array) if weak.dtype == array.dtype else array


def _is_kind(dtype: Any, kind: type) -> bool:
    kinds = {bool: np.bool_, int: np.integer, float: np.floating, complex: np.complexfloating}
    return bool(jnp.issubdtype(dtype, kinds[kind]))
