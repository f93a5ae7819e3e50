"""Putting restored values on the devices of their targets' leaves, also of several processes."""

import contextlib
import functools
from collections import defaultdict
from collections.abc import Generator, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from ._casting import ON_DEVICES, CastError, settings
from ._dtypes import FLOAT0, is_key
from ._reader import HostArray, KeyData, LeafInfo, Shards


def resolve_sharding(target: Any) -> Any:
    """Return a target's leaf with a sharding over real devices.

    `jax.eval_shape` of a state over a mesh with explicit axes gives an abstract mesh.
    """
    if isinstance(target, jax.core.Tracer):
        raise CastError("is a tracer, which is on no device; restore outside of jit")
    sharding = target.sharding if isinstance(target, jax.ShapeDtypeStruct) else None
    is_named = isinstance(sharding, jax.sharding.NamedSharding)
    if not is_named or not isinstance(sharding.mesh, jax.sharding.AbstractMesh):
        if sharding is not None and not _divides(sharding, target.shape):
            raise CastError(
                f"has shape {target.shape}, which does not divide among the devices of its "
                f"sharding, {sharding}; give the jax.ShapeDtypeStruct another sharding"
            )
        return target
    mesh = _current_mesh()
    if mesh is None or mesh.shape_tuple != sharding.mesh.shape_tuple:
        axes = ", ".join(f"{name!r}: {size}" for name, size in sharding.mesh.shape.items())
        raise CastError(
            f"is sharded over an abstract mesh ({axes}), which has no devices; restore inside of "
            "`with jax.set_mesh(mesh):` and outside of jit, or give each jax.ShapeDtypeStruct a "
            "sharding over a mesh"
        )
    return jax.ShapeDtypeStruct(
        target.shape,
        target.dtype,
        sharding=jax.sharding.NamedSharding(mesh, sharding.spec),
        weak_type=target.weak_type,
    )


def _current_mesh() -> jax.sharding.Mesh | None:
    try:
        return jax.sharding.get_mesh()
    except ValueError:
        # JAX refuses to tell inside of jit.
        return None


def device_put_like(values: Sequence[Any], targets: Sequence[Any]) -> list[Any]:
    """Put each value, as `cast_to_target` returns it, on the devices of its target's leaf.

    A `jax.Array` or `jax.ShapeDtypeStruct` gives an array with its sharding, its weak type, and
    committed to its devices if it is, so that nothing that was compiled for the target is compiled
    again. For any other the value is returned.
    """
    placed = list(values)
    # All values with one destination are put in one call, which costs little more than one array.
    groups: dict[Any, list[int]] = defaultdict(list)
    # The user's debug flags must not apply to our transfers.
    with jax.transfer_guard("allow"), jax.debug_nans(False), jax.debug_infs(False):
        for index, (value, target) in enumerate(zip(values, targets, strict=True)):
            if not isinstance(target, ON_DEVICES) or isinstance(value, str | bytes):
                continue
            if isinstance(value, KeyData):
                placed[index] = value.data
                destination = _destination(target, value.data.shape[:-1])
                if isinstance(destination, jax.sharding.Sharding):
                    ndim = len(value.data.shape)
                    destination = _sharding_of_key_data(target, destination, ndim)
                groups[destination].append(index)
            # JAX's own arrays of float0, which have no bits, are NumPy's.
            elif isinstance(value, Shards) or value.dtype != FLOAT0:
                groups[_destination(target, value.shape)].append(index)
        for destination, indices in groups.items():
            with _on(destination) as sharding:
                arrays = _put(
                    [placed[index] for index in indices],
                    [getattr(targets[index], "weak_type", False) for index in indices],
                    sharding,
                )
            for index, array in zip(indices, arrays, strict=True):
                value = values[index]
                if isinstance(value, KeyData):
                    array = jax.random.wrap_key_data(array, impl=value.implementation)
                placed[index] = array
    return placed


def _destination(target: Any, shape: tuple[int, ...]) -> Any:
    """Return a sharding, the device of an uncommitted array, or None for the default device."""
    sharding = target.sharding
    # An uncommitted array may take part in computations on any device.
    if isinstance(target, jax.Array) and not target.committed:
        (device,) = sharding.device_set
        return device
    if sharding is None or shape == target.shape or _divides(sharding, shape):
        return sharding
    return _sharding_over_processes(target, shape)


@contextlib.contextmanager
def _on(destination: Any) -> Generator[jax.sharding.Sharding | None]:
    """Make a device the default one and yield None, or yield a sharding."""
    if not isinstance(destination, jax.Device):
        yield destination
        return
    default: Any = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] # It is set at run time.
    is_device = isinstance(default, jax.Device)
    # Changing the default would compile again what makes weakly typed arrays.
    if destination == (default if is_device else jax.local_devices(backend=default)[0]):
        yield None
        return
    with jax.default_device(destination):
        yield None


def _put(
    values: Sequence[Any], weak: Sequence[bool], sharding: jax.sharding.Sharding | None
) -> list[Any]:
    """Put values on the default device or with a sharding, and give some a weak type."""
    if sharding is None or sharding.is_fully_addressable:
        if True in weak:
            values = [
                _as_number(value) if is_weak else value
                for value, is_weak in zip(values, weak, strict=True)
            ]
        arrays: list[Any] = jax.device_put(list(values), sharding)
    else:
        arrays = [_put_over_processes(value, sharding) for value in values]
    if True not in weak:
        return arrays
    return [
        _weakly_typed(array, sharding) if is_weak and not array.weak_type else array
        for array, is_weak in zip(arrays, weak, strict=True)
    ]


def _as_number(value: Any) -> Any:
    """Return an array without axes as a number, from which JAX makes a weakly typed array."""
    if not isinstance(value, np.ndarray) or value.ndim or _kind_of_number(value.dtype) is None:
        return value
    number = value.item()
    # Some bits of a NaN do not survive as a Python number.
    return number if np.asarray(number, value.dtype).tobytes() == value.tobytes() else value


def _kind_of_number(dtype: Any) -> Any:
    """Return the Python type whose numbers have this dtype in JAX; None if there is none.

    Only such a dtype can be weakly typed.
    """
    return _kind_under(dtype, settings())


@functools.lru_cache(maxsize=256)
def _kind_under(dtype: Any, settings: tuple[Any, ...]) -> Any:
    del settings
    return next((kind for kind in (int, float, complex) if jnp.result_type(kind) == dtype), None)


def _weakly_typed(array: jax.Array, destination: jax.sharding.Sharding | None) -> jax.Array:
    kind = _kind_of_number(array.dtype)
    if kind is None:
        return array
    if destination is not None and _is_explicit(destination):
        # In a compiled function JAX would ask for the sharding of each operation.
        if array.is_fully_addressable:
            zeros = jax.device_put(jnp.broadcast_to(jnp.asarray(kind(0)), array.shape), destination)
        else:
            # Only a computation can put a JAX array on devices of other processes.
            zeros = jax.jit(
                lambda: jnp.broadcast_to(kind(0), array.shape), out_shardings=destination
            )()
        weak = zeros.at[...].set(array)
    else:
        weak = _with_weak_type(array, kind(0))
    # The result's sharding is equivalent, but may have another description.
    return weak if destination is None else jax.device_put(weak, destination)


def _is_explicit(sharding: jax.sharding.Sharding) -> bool:
    is_named = isinstance(sharding, jax.sharding.NamedSharding)
    return is_named and jax.sharding.AxisType.Explicit in sharding.mesh.axis_types


@jax.jit
def _with_weak_type(array: jax.Array, number: Any) -> jax.Array:
    # A broadcast Python number is weakly typed, and stays so when its elements are set. There is no
    # other public way. The number is an argument: a constant would be broadcast during tracing.
    return jnp.broadcast_to(number, array.shape).at[...].set(array)


def _divides(sharding: jax.sharding.Sharding, shape: tuple[int, ...]) -> bool:
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
    sharding = _sharding_over_processes(target, saved.shape)
    if sharding is None or not is_key(saved.dtype):
        return sharding
    return _sharding_of_key_data(target, sharding, len(saved.shape) + 1)


def _sharding_over_processes(target: Any, shape: tuple[int, ...]) -> jax.sharding.Sharding | None:
    """Return the sharding of a leaf if its target is on several processes' devices, else None.

    If the target's sharding does not divide the shape, each device gets all of the array.
    """
    sharding = getattr(target, "sharding", None)
    if not isinstance(sharding, jax.sharding.Sharding) or sharding.is_fully_addressable:
        return None
    return sharding if _divides(sharding, shape) else _replicated(sharding)


def _sharding_of_key_data(
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


def _put_over_processes(value: HostArray | Shards, sharding: jax.sharding.Sharding) -> jax.Array:
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
