"""Arrays that are spread over the devices of several processes."""

from typing import Any

import jax
import numpy as np

from ._dtypes import HostArray


def fits(sharding: jax.sharding.Sharding, shape: tuple[int, ...]) -> bool:
    """Whether an array of a shape can be divided among the devices of a sharding."""
    if isinstance(sharding, jax.sharding.NamedSharding) and len(sharding.spec) > len(shape):
        return False
    try:
        sharding.shard_shape(shape)
    except (IndexError, ValueError):
        return False
    return True


def sharding_over_processes(leaf: Any, shape: tuple[int, ...]) -> jax.sharding.Sharding | None:
    """Return where a leaf goes whose target is held by several processes; None for any other.

    A shape that differs from the target's may not divide among its devices; each of them then
    holds all of it.
    """
    sharding = getattr(leaf, "sharding", None)
    if not isinstance(sharding, jax.sharding.Sharding) or sharding.is_fully_addressable:
        return None
    return sharding if fits(sharding, shape) else _replicated(sharding)


def sharding_of_key_data(
    target: Any, sharding: jax.sharding.Sharding, axes: int
) -> jax.sharding.Sharding:
    """Return where the data of typed PRNG keys goes, which has an axis more than the keys.

    Args:
        target: the target's leaf. What is compiled for keys depends on where exactly their data
            is, of which there may be two descriptions.
        sharding: where the keys go.
        axes: how many the data has.
    """
    is_there = isinstance(target, jax.Array) and not target.is_deleted()
    if is_there and target.sharding == sharding and target.ndim + 1 == axes:
        return jax.random.key_data(target).sharding
    if isinstance(sharding, jax.sharding.SingleDeviceSharding):
        return sharding
    if not isinstance(sharding, jax.sharding.NamedSharding):
        return _replicated(sharding)
    spec = (*sharding.spec, *[None] * (axes - len(sharding.spec)))
    return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec(*spec))


def spread(value: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """Put a value on the devices of several processes.

    `jax.device_put` would send an array around first, to see whether all processes have the same
    one, which no NaN ever is.

    Args:
        value: a NumPy array that each process holds whole, in a dtype that JAX has; or an array
            that is spread over the same devices.
        sharding: where it goes.
    """
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        return value if value.sharding == sharding else jax.device_put(value, sharding)
    array: HostArray = np.asarray(value)
    # A process that has none of the devices could not tell the dtype from what is put there.
    return jax.make_array_from_callback(
        array.shape, sharding, lambda index: array[index], dtype=array.dtype
    )


def _replicated(sharding: jax.sharding.Sharding) -> jax.sharding.Sharding:
    devices = np.array(sorted(sharding.device_set, key=lambda device: device.id))
    mesh = jax.sharding.Mesh(devices, ("devices",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
