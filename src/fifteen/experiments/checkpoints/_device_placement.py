"""Put restored values on the devices of their targets' leaves, also of several processes."""

import contextlib
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec, Sharding
from typing_extensions import TypeIs

from ._casting import CastError
from ._dtypes import FLOAT0, is_key
from ._keys import Key
from ._reader import Box, HostArray, KeyData, LeafInfo, Shards


def resolve_sharding(target: Any) -> Any:
    """Return a target's leaf with a sharding over real devices.

    `jax.eval_shape` of a state over a mesh with explicit axes gives an abstract mesh.
    """
    if isinstance(target, jax.core.Tracer):
        raise CastError("is a tracer, which is on no device; restore outside of jit")
    sharding = target.sharding if isinstance(target, jax.ShapeDtypeStruct) else None
    if sharding is None:
        return target
    if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, jax.sharding.AbstractMesh):
        mesh = None
        # Inside of jit, JAX raises an error.
        with contextlib.suppress(ValueError):
            mesh = jax.sharding.get_mesh()
        if mesh is not None and mesh.shape_tuple == sharding.mesh.shape_tuple:
            return target.update(sharding=NamedSharding(mesh, sharding.spec))
        axes = ", ".join(f"{name!r}: {size}" for name, size in sharding.mesh.shape.items())
        raise CastError(
            f"is sharded over an abstract mesh ({axes}), which has no devices; restore inside of "
            "`with jax.set_mesh(mesh):` and outside of jit, or give each jax.ShapeDtypeStruct a "
            "sharding over a mesh"
        )
    if not _divides(sharding, target.shape):
        raise CastError(
            f"has shape {target.shape}, which does not divide among the devices of its "
            f"sharding, {sharding}; give the jax.ShapeDtypeStruct another sharding"
        )
    return target


def device_put_like(values: Sequence[Any], targets: Sequence[Any]) -> list[Any]:
    """Put each value, as `cast_to_target` returns it, on the devices of its target's leaf.

    A `jax.Array` or `jax.ShapeDtypeStruct` gives an array with its sharding, its weak type, and
    committed to its devices if it is, so that nothing that was compiled for the target is compiled
    again. For any other, the value is returned.
    """
    placed = list(values)
    # One call for all values with the same destination costs little more than one for one value.
    groups: dict[tuple[Sharding | None, bool, bool], list[int]] = defaultdict(list)
    keys: list[int] = []
    # The user's debug flags must not apply to our transfers.
    with jax.transfer_guard("allow"), jax.debug_nans(False), jax.debug_infs(False):
        for index, (value, target) in enumerate(zip(values, targets, strict=True)):
            # Arrays of float0, which have no bits, are NumPy's in JAX, too.
            if isinstance(target, jax.Array) or (
                isinstance(target, jax.ShapeDtypeStruct) and target.dtype != FLOAT0
            ):
                groups[_destination(target, value)].append(index)
                if isinstance(value, KeyData):
                    placed[index] = value.data
                    keys.append(index)
        for (sharding, is_committed, is_weak), indices in groups.items():
            group = [placed[index] for index in indices]
            if is_committed:
                arrays = _put(group, sharding, is_weak)
            else:
                with _default_device(sharding):
                    arrays = _put(group, None, is_weak)
            for index, array in zip(indices, arrays, strict=True):
                placed[index] = array
        for index in keys:
            placed[index] = jax.random.wrap_key_data(
                placed[index], impl=values[index].implementation
            )
    return placed


def _destination(target: Any, value: Any) -> tuple[Sharding | None, bool, bool]:
    """Return a sharding, None for the default device, and whether arrays are committed and weak.

    An uncommitted array may take part in computations on any device.
    """
    is_committed = getattr(target, "committed", True)
    sharding, is_weak = target.sharding, getattr(target, "weak_type", False)
    if sharding is not None and is_committed:
        sharding = _sharding_of(target, value.shape, isinstance(value, KeyData))
    return sharding, is_committed, is_weak


def _default_device(sharding: Any) -> contextlib.AbstractContextManager[Any]:
    (device,) = sharding.device_set
    default: Any = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] # It is set at run time.
    if not isinstance(default, jax.Device):
        default = jax.local_devices(backend=default)[0]
    # Changing the default would compile again what makes weakly typed arrays.
    return contextlib.nullcontext() if device == default else jax.default_device(device)


def _put(values: list[Any], sharding: Sharding | None, is_weak: bool) -> Sequence[Any]:
    """Put values on the default device or with a sharding, and give them a weak type."""
    zeros = {jnp.result_type(kind): kind(0) for kind in (int, float, complex) if is_weak}
    if _is_over_processes(sharding):
        arrays = [_put_over_processes(value, sharding) for value in values]
    elif is_weak:
        numbers = [_as_number(value) if value.dtype in zeros else value for value in values]
        arrays = jax.device_put(numbers, sharding)
    else:
        return jax.device_put(values, sharding)
    return [
        _weakly_typed(array, zeros[array.dtype], sharding)
        if array.dtype in zeros and not array.weak_type
        else array
        for array in arrays
    ]


def _as_number(value: HostArray) -> Any:
    """Return an array without axes as a number, from which JAX makes a weakly typed array."""
    number = value.item() if not value.ndim else value
    # Some bits of a NaN do not survive as a Python number.
    return number if np.asarray(number, value.dtype).tobytes() == value.tobytes() else value


def _weakly_typed(array: jax.Array, zero: Any, sharding: Sharding | None) -> jax.Array:
    if isinstance(sharding, NamedSharding) and AxisType.Explicit in sharding.mesh.axis_types:
        # In one compiled function, JAX would ask for the sharding of each operation.
        zeros = jax.jit(lambda: jnp.broadcast_to(zero, array.shape), out_shardings=sharding)()
        weak = zeros.at[...].set(array)
    else:
        weak = _with_weak_type(array, zero)
    # The result's sharding is equivalent, but may have another description.
    return weak if sharding is None else jax.device_put(weak, sharding)


@jax.jit
def _with_weak_type(array: jax.Array, zero: Any) -> jax.Array:
    # A broadcast Python number is weakly typed, and stays so when its elements are set. There is no
    # other public way. The number is an argument: a constant would be broadcast during tracing.
    return jnp.broadcast_to(zero, array.shape).at[...].set(array)


def _divides(sharding: Sharding, shape: tuple[int, ...]) -> bool:
    """Whether a sharding can divide an array of a shape among its devices."""
    if isinstance(sharding, NamedSharding) and len(sharding.spec) > len(shape):
        return False
    try:
        sharding.shard_shape(shape)
    except (IndexError, ValueError):
        return False
    return True


def shardings_to_read(
    wanted: Mapping[Key, Any], saved: Mapping[Key, LeafInfo]
) -> dict[Key, Sharding | None]:
    """Return how to read leaves for targets over several processes; None for any others."""
    shardings: dict[Key, Sharding | None] = dict.fromkeys(wanted)
    for key, target in wanted.items():
        if _is_over_processes(getattr(target, "sharding", None)):
            shardings[key] = _sharding_of(target, saved[key].shape, is_key(saved[key].dtype))
    return shardings


@functools.lru_cache(maxsize=256)
def _is_over_processes(sharding: Any) -> TypeIs[Sharding]:
    return isinstance(sharding, Sharding) and not sharding.is_fully_addressable


def _sharding_of(target: Any, shape: tuple[int, ...], has_keys: bool) -> Sharding | None:
    """Return the sharding of a leaf of a shape, None for the default device.

    Of typed PRNG keys it is that of their data, which has one axis more. If the target's sharding
    does not divide the shape, each device of several processes gets all of the array.
    """
    sharding: Sharding = target.sharding
    if shape != target.shape and not _divides(sharding, shape):
        if not _is_over_processes(sharding):
            return None
        sharding = _replicated(sharding)
    if not has_keys:
        return sharding
    # What is compiled for the target depends on the description of its data's sharding, of which
    # there may be two that are equivalent.
    is_there = isinstance(target, jax.Array) and not target.is_deleted()
    if is_there and target.sharding == sharding and target.ndim == len(shape):
        return jax.random.key_data(target).sharding
    if isinstance(sharding, jax.sharding.SingleDeviceSharding):
        return sharding
    if not isinstance(sharding, NamedSharding):
        return _replicated(sharding)
    spec = (*sharding.spec, *[None] * (len(shape) + 1 - len(sharding.spec)))
    return NamedSharding(sharding.mesh, PartitionSpec(*spec))


def _put_over_processes(value: HostArray | Shards, sharding: Sharding) -> jax.Array:
    """Put shards, or an array that each process has all of, on the devices of several processes.

    `jax.device_put` would first compare an array between the processes, and a NaN equals nothing.
    """
    if not isinstance(value, Shards):
        array = np.asarray(value)
        # A process that has none of the devices could not infer the dtype.
        return jax.make_array_from_callback(
            array.shape, sharding, lambda index: array[index], dtype=array.dtype
        )
    shape, sharding, parts = value.shape, value.sharding, value.parts
    if not sharding.addressable_devices:
        (part,) = parts.values()
        return jax.make_array_from_single_device_arrays(shape, sharding, [], dtype=part.dtype)
    return jax.make_array_from_callback(
        shape, sharding, lambda index: parts[Box.at(index or (), shape)]
    )


def _replicated(sharding: Sharding) -> Sharding:
    devices = np.array(sorted(sharding.device_set, key=lambda device: device.id))
    return NamedSharding(jax.sharding.Mesh(devices, ("devices",)), PartitionSpec())
