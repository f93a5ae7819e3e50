"""Arrays that are spread over the devices of several processes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._pieces import HostArray


def sharding_over_processes(leaf: Any, shape: tuple[int, ...]) -> jax.sharding.Sharding | None:
    """Return where a leaf goes whose target is held by several processes; None for any other.

    A shape that differs from the target's may not divide among its devices; each of them then
    holds all of it.
    """
    sharding = getattr(leaf, "sharding", None)
    if not isinstance(sharding, jax.sharding.Sharding) or sharding.is_fully_addressable:
        return None
    try:
        sharding.shard_shape(shape)
    except ValueError:
        return _replicated(sharding)
    return sharding


def sharding_of_key_data(sharding: jax.sharding.Sharding, axes: int) -> jax.sharding.Sharding:
    """Return where the data of typed PRNG keys goes, which has an axis more than the keys.

    Args:
        sharding: of the keys.
        axes: how many the data has.
    """
    if not isinstance(sharding, jax.sharding.NamedSharding):
        return _replicated(sharding)
    spec = (*sharding.spec, *[None] * (axes - len(sharding.spec)))
    return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec(*spec))


def spread(value: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """Put a value on the devices of several processes.

    `jax.device_put` would send an array around first, to see whether all processes have the same
    one, which no NaN ever is; and it does not take typed PRNG keys.

    Args:
        value: a NumPy array, or typed PRNG keys, that each process holds whole; or an array that
            is spread over the same devices.
        sharding: where it goes.
    """
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        return value if value.sharding == sharding else jax.device_put(value, sharding)
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        data = np.asarray(jax.random.key_data(value))
        placed = spread(data, sharding_of_key_data(sharding, data.ndim))
        return jax.random.wrap_key_data(placed, impl=str(jax.random.key_impl(value)))
    array: HostArray = np.asarray(value)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _replicated(sharding: jax.sharding.Sharding) -> jax.sharding.Sharding:
    devices = np.array(sorted(sharding.device_set, key=lambda device: device.id))
    mesh = jax.sharding.Mesh(devices, ("devices",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
