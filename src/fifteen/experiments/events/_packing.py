"""Taking scalars over from the caller, whatever becomes of them afterwards."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._errors import LogDataError
from ._problems import is_real, problem_of_scalar, problem_of_tag

_MOST_REMEMBERED = 4096

_array_types: set[type] = set()
"""The types of arrays on a device that have been met: comparing is faster than `isinstance`."""

_known: "dict[tuple[str, ...], _Known]" = {}


class _Known(NamedTuple):
    """What was found out about scalars when their tags were met.

    Attributes:
        tags: valid tags, the same object for all entries.
        spread: whether the arrays lay on several devices; None if none of the values was one.
        on_host: whether they lay in memory that this process can read.
    """

    tags: tuple[str, ...]
    spread: bool | None
    on_host: bool


class Scalars(NamedTuple):
    """The scalars of one step, none of which the caller can donate, delete or change any more.

    A tuple of few objects: many of them wait to be written, and what the garbage collector has to
    look through it looks through in the caller's time.

    Attributes:
        tags: first those of the host's values, then those of the vectors' in order.
        host_values: Python and NumPy values.
        vectors: values from devices, one vector a device: float32 bits as uint32, on the device
            or, as `bytes`, here already.
        step: the step, or None where it is the last two words of the first vector.
        every_n: log only at steps that this divides; has been seen to unless `step` is None.
        wall_time: seconds since the epoch.
    """

    tags: tuple[str, ...]
    host_values: Sequence[float]
    vectors: "tuple[jax.Array | bytes, ...]"
    step: int | None
    every_n: int
    wall_time: float


def pack_arrays(scalars: Mapping[str, Any], step: int) -> "tuple[Any, ...] | None":
    """Take over what most training loops log, in as little code as can be.

    A dispatch leaves little of the interpreter in the processor's caches, and each line after it
    costs a multiple of its usual price.

    Returns:
        The fields of `Scalars`, which would take longer to make than the rest; or None unless all
        values are arrays on one device, under tags that `pack` has met before.
    """
    known = _known.get(tuple(scalars))
    values = scalars.values()
    if known is None or known[1] is not False or not _array_types.issuperset(map(type, values)):
        return None
    try:
        vector = _pack_values(*values)
        if known[2] and vector.is_ready():
            vector = bytes(memoryview(vector))
    except Exception:
        # Whatever it is, `pack` meets it again, and says more about it.
        return None
    return known[0], (), (vector,), step, 1, time.time()


def pack(scalars: Mapping[str, Any], step: "int | jax.Array", every_n: int = 1) -> Scalars:
    """Take over the values of one step's scalars.

    Values on a device are packed there into one vector, in one dispatch that waits for nothing.
    The runtime orders it before anything that donates or deletes them later on.

    Args:
        scalars: a scalar for each tag.
        step: their step, which may be on a device too.
        every_n: log only at steps that this divides.

    Raises:
        LogDataError: lists every tag or value that cannot be logged.
    """
    now = time.time()
    known = _known.get(tuple(scalars)) or _look_at(scalars)
    tags, host_values, values = _split(scalars)
    host_step, device_step = (step, None) if isinstance(step, int) else (None, step)
    if not values and device_step is None:
        return Scalars(tags, host_values, (), host_step, every_n, now)
    if known.spread is None:
        known = _look_at(scalars)
    vectors: tuple[jax.Array | bytes, ...]
    try:
        if known.spread:
            raise _Unpackable
        vector = _pack_values(*values) if device_step is None else _pack(values, device_step)
        vectors = (_read_if_ready(vector) if known.on_host else vector,)
    except Exception:
        _raise_problems(scalars, device_step)
        _known[known.tags] = known._replace(spread=True)
        tags, vectors = _pack_by_device(tags, len(host_values), values, device_step)
    return Scalars(tags, host_values, vectors, host_step, every_n, now)


def _look_at(scalars: Mapping[str, Any]) -> _Known:
    """Find out how to pack scalars, and remember it for these tags.

    Raises:
        LogDataError: lists every tag or value that cannot be logged.
    """
    tags = tuple(scalars)
    if any(problem_of_tag(tag) for tag in tags):
        _raise_problems(scalars, None)
    if len(_known) >= _MOST_REMEMBERED:
        _known.clear()
    arrays = [value for value in scalars.values() if isinstance(value, jax.Array)]
    devices = {device for array in arrays for device in array.sharding.device_set}
    # Of several processes only one logs, so that what it dispatches must not span others.
    spread = len(devices) > 1 or jax.distributed.is_initialized() if arrays else None
    on_host = all(device.platform == "cpu" for device in devices)
    known = _known[tags] = _Known(tags, spread, on_host)
    return known


def _read_if_ready(vector: jax.Array) -> jax.Array | bytes:
    """Return a vector's bytes where that means neither to wait nor to move anything.

    An array takes kilobytes, whatever it holds: to keep thousands of them until they are written
    costs more than to read each.
    """
    if not vector.is_ready():  # pyright: ignore[reportAttributeAccessIssue] # Arrays have it.
        return vector
    try:
        return bytes(memoryview(vector))  # pyright: ignore[reportArgumentType] # CPUs' arrays are.
    except Exception:
        # The computation has failed, which the thread that writes tells.
        return vector


class _Unpackable(Exception):
    """Raised while tracing, when a value is no real scalar; the caller then says which."""


@jax.jit
def _pack_values(*values: jax.Array) -> jax.Array:
    return _pack(values, None)


@jax.jit
def _pack(values: Sequence[jax.Array], step: jax.Array | None) -> jax.Array:
    for value in values:
        if value.shape != () or not is_real(value.dtype):
            raise _Unpackable
    # As bits, so that a step fits in beside them, and nothing on the way minds a NaN.
    words = [_bits(value.astype(jnp.float32)) for value in values]
    return jnp.stack(words if step is None else [*words, *_words_of_step(step)])


def _bits(value: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(value, jnp.uint32)


def _words_of_step(step: jax.Array) -> list[jax.Array]:
    """Return the low and the high 32 bits of a step as int64."""
    if step.dtype.itemsize == 8:
        low, high = _bits(step)
        return [low, high]
    is_negative = step < 0 if jnp.issubdtype(step.dtype, jnp.signedinteger) else False
    return [step.astype(jnp.uint32), jnp.where(is_negative, jnp.uint32(0xFFFFFFFF), jnp.uint32(0))]


def _pack_by_device(
    tags: tuple[str, ...], hosted: int, values: "Sequence[jax.Array]", step: "jax.Array | None"
) -> "tuple[tuple[str, ...], tuple[jax.Array | bytes, ...]]":
    """Pack values that lie on different devices, or on several each.

    Of an array on several devices the first copy is taken that this process holds, which burdens
    one device instead of all.

    Args:
        tags: those of the host's values and those of `values`.
        hosted: how many of them are the host's.
        values: an array for each of the others.
        step: the step, if it is on a device.

    Returns:
        All tags, in the order of the vectors, and a vector a device.
    """
    groups: dict[Any, tuple[list[str], list[jax.Array]]] = {}
    if step is not None:
        step = step.addressable_data(0)
        groups[next(iter(step.devices()))] = ([], [])
    for tag, value in zip(tags[hosted:], values, strict=True):
        local = value.addressable_data(0)
        names, members = groups.setdefault(next(iter(local.devices())), ([], []))
        names.append(tag)
        members.append(local)
    steps = [step, *[None] * len(groups)]
    vectors = tuple(
        _pack(members, step) for (_, members), step in zip(groups.values(), steps, strict=False)
    )
    return (*tags[:hosted], *(tag for names, _ in groups.values() for tag in names)), vectors


def _split(scalars: Mapping[str, Any]) -> tuple[tuple[str, ...], list[float], "list[jax.Array]"]:
    """Return tags, values of Python and NumPy, and arrays on a device; the tags in this order."""
    host: dict[str, float] = {}
    device: dict[str, jax.Array] = {}
    for tag, value in scalars.items():
        if type(value) is float:
            host[tag] = value
        elif isinstance(value, jax.Array):
            _array_types.add(type(value))
            device[tag] = value
        elif problem_of_scalar(value):
            _raise_problems(scalars, None)
        else:
            host[tag] = float(value)
    return (*host, *device), list(host.values()), list(device.values())


def _raise_problems(scalars: Mapping[str, Any], step: jax.Array | None) -> None:
    problems = [
        f"scalars[{tag!r}]: {problem}"
        for tag, value in scalars.items()
        if (problem := problem_of_tag(tag) or problem_of_scalar(value))
    ]
    if step is not None and step.is_deleted():
        problems.append("step: the array has been deleted, or donated, before it was logged")
    if problems:
        raise LogDataError("; ".join(problems)) from None
