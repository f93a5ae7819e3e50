"""Copy values at the call, so that the caller may donate, delete or change them."""

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._errors import raise_if_foreign
from . import _validation
from ._validation import Steps, Values, is_real, problem_of_scalar

BYTES_PER_SCALAR = 256
"""Approximately, in memory and as an event."""
MANY_SCALARS = 64
"""From this number of scalars on, the size of an entry counts."""
_MAX_LAYOUTS = 4096
_DISPATCH_ERRORS = (RuntimeError, TypeError, ValueError)
"""What JAX raises for arrays that are deleted, on several devices, or not real scalars."""


class Scalars(NamedTuple):
    """The scalars of one step.

    A tuple of few objects: many wait in the queue, and the garbage collector scans them all while
    the caller waits.
    """

    tags: tuple[str, ...]  # First those of `host_values`, then those of `vector`.
    host_values: Sequence[float]
    # float32 bits as uint32, on the device or, as `bytes`, on the host already.
    vector: "jax.Array | bytes | None"
    step: int | None  # None if it is the last two words of the vector.
    every_n: int  # Log only at steps that this divides. It matters only if `step` is None.
    wall_time: float  # Seconds since the epoch.


class Arrays(NamedTuple):
    """Arrays of one step, or stacked arrays of many."""

    kind: str  # "scalars", if they are stacked, or "histograms".
    values: dict[str, Any]
    steps: Steps  # A step, or one for each row of the arrays.
    every_n: int  # Log only at steps that this divides.
    wall_time: float  # Seconds since the epoch.

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in self.values.values())


class _Layout(NamedTuple):
    """How to pack scalars with the same tags."""

    tags: tuple[str, ...]  # Valid, and the same object for all entries.
    is_spread: bool | None  # The arrays are on several devices. None: there are no arrays.
    on_host: bool  # They are in memory that this process can read.


class Snapshots:
    """Take snapshots of scalars, faster for tags that were seen before."""

    def __init__(self) -> None:
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self._array_types: set[type] = set()

    def of_known_tags(self, scalars: Values, step: int) -> Scalars | None:
        """Take the scalars of one step; None unless all values are arrays on one device.

        Most training loops log such values. The tags must be known from `of_scalars`. A dispatch
        evicts most of the interpreter from the processor's caches, so each line after it is
        several times slower.
        """
        layout = self._layouts.get(tuple(scalars))
        if layout is None or layout[1] is not False:
            return None
        values = scalars.values()
        if not self._array_types.issuperset(map(type, values)):
            return None
        try:
            vector = _pack(*values)
        except _DISPATCH_ERRORS as error:
            raise_if_foreign(error, functools.partial(_pack, *values))
            # `of_scalars` raises the reason.
            return None
        if type(vector) not in self._array_types:
            # A tracer: the caller is traced.
            return None
        if layout[2]:
            vector = _read_if_ready(vector)
        # The class itself would take longer than all the rest.
        return tuple.__new__(Scalars, (layout[0], (), vector, step, 1, time.time()))

    def of_scalars(self, scalars: Values, step: Steps, every_n: int) -> Scalars:
        """Take the scalars of one step.

        Values on a device are packed there into one vector, in one dispatch that waits for
        nothing. The runtime orders it before anything that donates or deletes them later. Raises
        `LogDataError` with every tag and value that cannot be logged.
        """
        now = time.time()
        layout = self._layouts.get(tuple(scalars)) or self._look_at(scalars)
        tags, host_values, arrays = self._split(scalars)
        host_step = step if isinstance(step, int) else None
        on_device = {"step": step} if isinstance(step, jax.Array) else {}
        vector = None
        if arrays or on_device:
            if layout.is_spread is None:
                layout = self._look_at(scalars)
            if not layout.is_spread:
                pack = functools.partial(_pack, *arrays, **on_device)
                try:
                    vector = pack()
                except _DISPATCH_ERRORS as error:
                    raise_if_foreign(error, pack)
            if vector is None:
                _validation.check(scalars, {}, 0)
                self._layouts[layout.tags] = layout._replace(is_spread=True)
                vector = _pack_on_one_device(arrays, on_device)
            elif layout.on_host:
                vector = _read_if_ready(vector)
        return Scalars(tags, host_values, vector, host_step, every_n, now)

    def _look_at(self, scalars: Values) -> _Layout:
        """Determine how to pack scalars, and cache it for their tags."""
        _validation.check(scalars, {}, 0)
        if len(self._layouts) >= _MAX_LAYOUTS:
            self._layouts.clear()
        arrays = [value for value in scalars.values() if isinstance(value, jax.Array)]
        devices = {device for array in arrays for device in array.sharding.device_set}
        # Only one process logs, so its dispatches must not need the others.
        is_spread = len(devices) > 1 or jax.distributed.is_initialized() if arrays else None
        on_host = all(device.platform == "cpu" for device in devices)
        tags = tuple(scalars)
        layout = self._layouts[tags] = _Layout(tags, is_spread, on_host)
        return layout

    def _split(self, scalars: Values) -> tuple[tuple[str, ...], list[float], list[jax.Array]]:
        """Return tags, host values and device arrays, in the order of tags."""
        host: dict[str, float] = {}
        device: dict[str, jax.Array] = {}
        for tag, value in scalars.items():
            if type(value) is float:
                host[tag] = value
            elif isinstance(value, jax.Array):
                self._array_types.add(type(value))
                device[tag] = value
            elif problem_of_scalar(value):
                _validation.check(scalars, {}, 0)
            else:
                host[tag] = float(value)
        return (*host, *device), list(host.values()), list(device.values())


def of_arrays(kind: str, values: Values, steps: Steps, every_n: int) -> Arrays:
    """Take stacked scalars or the arrays of histograms, which `check` has found valid."""
    copies = {tag: _copy(value) for tag, value in values.items()}
    steps = steps if isinstance(steps, int) else _copy(steps)
    return Arrays(kind, copies, steps, every_n, time.time())


def _copy(value: Any) -> Any:
    if not isinstance(value, jax.Array):
        return np.array(value)
    local = value if value.is_fully_addressable else value.addressable_data(0)
    # Unlike `jnp.copy`, this is not compiled for each new shape.
    return jax.device_put(local, local.sharding, may_alias=False)


def _read_if_ready(vector: jax.Array) -> jax.Array | bytes:
    """Return a vector's bytes if they can be read without waiting.

    An array object takes kilobytes, however small the array: reading thousands of them is cheaper
    than keeping them.
    """
    if not vector.is_ready():  # pyright: ignore[reportAttributeAccessIssue] # Arrays have it.
        return vector
    try:
        return bytes(memoryview(vector))  # pyright: ignore[reportArgumentType] # CPUs' arrays are.
    except (BufferError, jax.errors.JaxRuntimeError):
        # It is on several devices; or the computation has failed, and the thread reports it.
        return vector


def _pack_on_one_device(values: Sequence[jax.Array], step: Mapping[str, jax.Array]) -> jax.Array:
    """Pack values that are on different devices, or on several each.

    Of an array on several devices, this process's first copy is taken, which burdens one device
    only.
    """
    local = [array.addressable_data(0) for array in (*values, *step.values())]
    *values, last = jax.device_put(local, local[0].device)
    return _pack(*values, step=last) if step else _pack(*values, last)


@jax.jit
def _pack(*values: jax.Array, step: jax.Array | None = None) -> jax.Array:
    for value in values:
        if value.shape != () or not is_real(value.dtype):
            raise ValueError("not a real scalar")  # The caller then raises the reason.
    # As bits, so that a step fits in beside them, and `jax_debug_nans` does not see a NaN.
    words = [_bits(value.astype(jnp.float32)) for value in values]
    return jnp.stack(words if step is None else [*words, *_words_of_step(step)])


def _bits(value: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(value, jnp.uint32)


def _words_of_step(step: jax.Array) -> list[jax.Array]:
    """Return the low and the high 32 bits of a step as int64."""
    if step.dtype.itemsize == 8:
        return [*_bits(step)]
    return [step.astype(jnp.uint32), jnp.where(step < 0, jnp.uint32(0xFFFFFFFF), jnp.uint32(0))]
