"""Putting a restored value where the target's leaf was."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._fitting import ON_DEVICES, PYTHON_NUMBERS
from ._spreading import spread


def place(values: Sequence[Any], targets: Sequence[Any]) -> list[Any]:
    """Put each value where its target's leaf is.

    Args:
        values: what `fit` gave.
        targets: the leaves. A `jax.Array` or `jax.ShapeDtypeStruct` gives an array with its
            sharding, committed to its devices if it is, and with its weak type, so that nothing
            compiled for the target is compiled again. Any other leaves its value as it is.
    """
    placed = list(values)
    # All that goes to the same place goes in one call, which costs little more than one array.
    groups: dict[Any, list[int]] = defaultdict(list)
    for index, target in enumerate(targets):
        if isinstance(target, ON_DEVICES) and not isinstance(placed[index], str | bytes):
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
    kind = next(kind for kind in PYTHON_NUMBERS if _is_kind(array.dtype, kind))
    # Only the dtype that a Python number gets by itself can be weakly typed.
    if kind is bool or jnp.result_type(kind) != array.dtype:
        return array
    if array.shape == () and array.is_fully_addressable:
        weak = jax.device_put(jnp.asarray(array.item()), destination)
        # Some bits of a NaN do not survive as a Python number.
        if np.asarray(weak).tobytes() == np.asarray(array).tobytes():
            return weak
    # A vector that is broadcast from a Python number is weakly typed, and stays so when its
    # elements are set. There is no other public way.
    if array.is_fully_addressable:
        weak = jax.device_put(jnp.broadcast_to(jnp.asarray(kind(0)), array.shape), destination)
    else:
        # Onto devices of other processes only a computation puts what is no NumPy array.
        make = jax.jit(lambda: jnp.broadcast_to(kind(0), array.shape), out_shardings=destination)
        weak = make()
    return weak.at[...].set(array)


def _is_kind(dtype: Any, kind: type) -> bool:
    kinds = {bool: np.bool_, int: np.integer, float: np.floating, complex: np.complexfloating}
    return bool(jnp.issubdtype(dtype, kinds[kind]))
