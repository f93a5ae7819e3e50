"""Arrays that are distributed over the devices of several processes."""

from typing import Any

import jax
import numpy as np

from ._dtypes import is_key
from ._reader import HostArray, LeafInfo, Shards


def divides(sharding: jax.sharding.Sharding, shape: tuple[int, ...]) -> bool:
    """Whether a sharding can divide an array of a shape among its devices."""
    if isinstance(sharding, jax.sharding.NamedSharding) and len(sharding.spec) > len(shape):
        return False
    try:
        sharding.shard_shape(shape)
    except (IndexError, ValueError):
        return False
    return True


def sharding_to_read(target: Any, saved: LeafInfo) -> jax.sharding.Sharding | None:
    """Return how to read a leaf for a target over several processes; None for any other."""
    sharding = sharding_over_processes(target, saved.shape)
    if sharding is None or not is_key(saved.dtype):
        return sharding
    return sharding_of_key_data(target, sharding, len(saved.shape) + 1)


def sharding_over_processes(target: Any, shape: tuple[int, ...]) -> jax.sharding.Sharding | None:
    """Return the sharding of a leaf if its target is on several processes' devices, else None.

    If the target's sharding does not divide the shape, each device gets all of the array.
    """
    sharding = getattr(target, "sharding", None)
    if not isinstance(sharding, jax.sharding.Sharding) or sharding.is_fully_addressable:
        return None
    return sharding if divides(sharding, shape) else _replicated(sharding)


def sharding_of_key_data(
    target: Any, sharding: jax.sharding.Sharding, ndim: int
) -> jax.sharding.Sharding:
    """Return the sharding of the data of typed PRNG keys, which has one axis more than the keys."""
    # What is compiled for the target depends on the description of its data's sharding, of which
    # there may be two that are equivalent.
    is_there = isinstance(target, jax.Array) and not target.is_deleted()
    if is_there and target.sharding == sharding and target.ndim + 1 == ndim:
        return jax.random.key_data(target).sharding
    if isinstance(sharding, jax.sharding.SingleDeviceSharding):
        return sharding
    if not isinstance(sharding, jax.sharding.NamedSharding):
        return _replicated(sharding)
    spec = (*sharding.spec, *[None] * (ndim - len(sharding.spec)))
    return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec(*spec))


def put_over_processes(value: HostArray | Shards, sharding: jax.sharding.Sharding) -> jax.Array:
    """Put shards, or an array that each process holds whole, on the devices of several processes.

    `jax.device_put` would first compare an array between the processes, and a NaN equals nothing.
    """
    if not isinstance(value, Shards):
        array = np.asarray(value)
        # A process that has none of the devices could not tell the dtype.
        return jax.make_array_from_callback(
            array.shape, sharding, lambda index: array[index], dtype=array.dtype
        )
    shape, sharding, parts = value.shape, value.sharding, value.parts
    if not sharding.addressable_devices:
        (part,) = parts.values()
        return jax.make_array_from_single_device_arrays(shape, sharding, [], dtype=part.dtype)
    return jax.make_array_from_callback(shape, sharding, lambda index: parts[str(index)])


def _replicated(sharding: jax.sharding.Sharding) -> jax.sharding.Sharding:
    devices = np.array(sorted(sharding.device_set, key=lambda device: device.id))
    mesh = jax.sharding.Mesh(devices, ("devices",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
