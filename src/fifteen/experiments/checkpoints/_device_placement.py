"""Putting a restored value where the target's leaf was."""

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
from ._dtypes import PYTHON_NUMBERS
from ._sharding import fits, sharding_of_key_data, sharding_over_processes, spread


def resolve_sharding(target: Any) -> Any:
    """Return a target's leaf with the devices that it is to be put on.

    `jax.eval_shape` of a state over a mesh with explicit axes tells of the mesh only its shape.

    Raises:
        CastError: there is no mesh of that shape at hand, the shape does not divide among the
            devices, or the leaf is a traced one.
    """
    if isinstance(target, jax.core.Tracer):
        raise CastError("is only traced, and is on no device; restore outside of jit")
    sharding = target.sharding if isinstance(target, jax.ShapeDtypeStruct) else None
    is_named = isinstance(sharding, jax.sharding.NamedSharding)
    if not is_named or not isinstance(sharding.mesh, jax.sharding.AbstractMesh):
        if sharding is not None and not fits(sharding, target.shape):
            raise CastError(
                f"has shape {target.shape}, which does not divide among the devices of its "
                f"sharding, {sharding}; give the jax.ShapeDtypeStruct another sharding"
            )
        return target
    mesh = _mesh_at_hand()
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


def _mesh_at_hand() -> jax.sharding.Mesh | None:
    # Older versions of JAX have no public way to ask for it.
    find_mesh = getattr(jax.sharding, "get_mesh", None)
    try:
        return None if find_mesh is None else find_mesh()
    except ValueError:
        # JAX does not tell it inside of jit.
        return None


def device_put_like(values: Sequence[Any], targets: Sequence[Any]) -> list[Any]:
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
    # The user's debug flags must not apply to our transfers.
    with jax.transfer_guard("allow"), jax.debug_nans(False), jax.debug_infs(False):
        for index, target in enumerate(targets):
            value = placed[index]
            if isinstance(target, ON_DEVICES) and _can_be_on_devices(value):
                destination = _destination(target, np.shape(value))
                if _are_keys(value):
                    with _on(destination) as sharding:
                        placed[index] = _put_keys(value, target, sharding)
                else:
                    groups[destination].append(index)
        for destination, indices in groups.items():
            with _on(destination) as sharding:
                weak = [getattr(targets[index], "weak_type", False) for index in indices]
                # JAX puts only arrays, of which it needs the dtype, on devices of other processes.
                is_local = sharding is None or sharding.is_fully_addressable
                values = [
                    _as_number(placed[index]) if is_weak and is_local else placed[index]
                    for index, is_weak in zip(indices, weak, strict=True)
                ]
                arrays = _put(values, sharding)
                for index, array, is_weak in zip(indices, arrays, weak, strict=True):
                    needs_type = is_weak and not array.weak_type
                    placed[index] = _weakly_typed(array, sharding) if needs_type else array
    return placed


def _can_be_on_devices(value: Any) -> bool:
    # JAX's own arrays of float0, which have no bits, are NumPy's.
    return not isinstance(value, str | bytes) and value.dtype != jax.dtypes.float0


def _destination(target: Any, shape: tuple[int, ...]) -> Any:
    """Return a sharding, the device that is to hold an uncommitted array, or None for any."""
    # A leaf that is on no particular device takes part in a computation on any.
    if isinstance(target, jax.Array) and not target.committed:
        (device,) = target.sharding.device_set
        return device
    sharding = target.sharding
    if sharding is None or shape == target.shape or fits(sharding, shape):
        return sharding
    # A shape that differs from the target's may not divide among its devices.
    return sharding_over_processes(target, shape)


@contextlib.contextmanager
def _on(destination: Any) -> Generator[jax.sharding.Sharding | None]:
    """Make an uncommitted array's device the default one, and yield the sharding of any other."""
    if not isinstance(destination, jax.Device):
        yield destination
        return
    default: Any = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] # It is set at run time.
    is_device = isinstance(default, jax.Device)
    # A change of the default would compile again what makes weakly typed arrays.
    if destination == (default if is_device else jax.local_devices(backend=default)[0]):
        yield None
        return
    with jax.default_device(destination):
        yield None


def _put(values: list[Any], destination: jax.sharding.Sharding | None) -> list[Any]:
    if destination is None or destination.is_fully_addressable:
        return jax.device_put(values, destination)
    return [spread(value, destination) for value in values]


def _are_keys(value: Any) -> bool:
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _put_keys(keys: jax.Array, target: Any, destination: jax.sharding.Sharding | None) -> jax.Array:
    data = jax.random.key_data(keys)
    if destination is not None:
        destination = sharding_of_key_data(target, destination, data.ndim)
    held = np.asarray(data) if data.is_fully_addressable else data
    (placed,) = _put([held], destination)
    return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(keys))


def _as_number(value: Any) -> Any:
    """Return an array without axes as a number, of which JAX makes a weakly typed array."""
    if not isinstance(value, np.ndarray) or value.ndim or _kind_of_number(value.dtype) is None:
        return value
    number = value.item()
    # Some bits of a NaN do not survive as a Python number.
    return number if np.asarray(number, value.dtype).tobytes() == value.tobytes() else value


def _kind_of_number(dtype: Any) -> Any:
    """Return the type of the Python numbers that get a dtype by themselves; None if none do.

    Only such a dtype can be weakly typed.
    """
    return _kind_under(dtype, settings())


@functools.lru_cache(maxsize=256)
def _kind_under(dtype: Any, settings: tuple[Any, ...]) -> Any:
    del settings
    kind = next(kind for kind in PYTHON_NUMBERS if _is_kind(dtype, kind))
    return None if kind is bool or jnp.result_type(kind) != dtype else kind


def _weakly_typed(array: jax.Array, destination: jax.sharding.Sharding | None) -> jax.Array:
    kind = _kind_of_number(array.dtype)
    if kind is None:
        return array
    if destination is not None and _is_explicit(destination):
        # Inside of a compiled function JAX would ask for the sharding of each operation.
        if array.is_fully_addressable:
            zeros = jax.device_put(jnp.broadcast_to(jnp.asarray(kind(0)), array.shape), destination)
        else:
            # Onto devices of other processes only a computation puts what is no NumPy array.
            zeros = jax.jit(
                lambda: jnp.broadcast_to(kind(0), array.shape), out_shardings=destination
            )()
        weak = zeros.at[...].set(array)
    else:
        weak = _with_weak_type(array, kind(0))
    # The result's sharding is the same, but may be written otherwise.
    return weak if destination is None else jax.device_put(weak, destination)


def _is_explicit(sharding: jax.sharding.Sharding) -> bool:
    is_named = isinstance(sharding, jax.sharding.NamedSharding)
    return is_named and jax.sharding.AxisType.Explicit in sharding.mesh.axis_types


@jax.jit
def _with_weak_type(array: jax.Array, number: Any) -> jax.Array:
    # What is broadcast from a Python number is weakly typed, and stays so when its elements are
    # set. There is no other public way. It is compiled once for each shape, since there may be
    # many. The number is an argument: a constant would be broadcast while this is traced.
    return jnp.broadcast_to(number, array.shape).at[...].set(array)


def _is_kind(dtype: Any, kind: type) -> bool:
    kinds = {bool: np.bool_, int: np.integer, float: np.floating, complex: np.complexfloating}
    return bool(jnp.issubdtype(dtype, kinds[kind]))
