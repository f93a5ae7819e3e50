"""Taking scalars over from the caller, whatever becomes of them afterwards."""

import functools
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from .._errors import LogDataError

Float32s = npt.NDArray[np.float32]


def pack(
    scalars: Mapping[str, Any], step: "int | jax.Array"
) -> "tuple[tuple[str, ...], list[float], list[jax.Array], int | jax.Array]":
    """Take over the values of one step's scalars.

    Values on a device are packed there into a vector of float32, in one dispatch that waits for
    nothing. The runtime orders it before anything that donates or deletes them later on.

    Args:
        scalars: a scalar for each tag.
        step: their step, which may be on a device too.

    Returns:
        The tags, those of Python and NumPy values first; these values; vectors that hold the
        others, in order; and the step.

    Raises:
        LogDataError: lists every tag or value that cannot be logged.
    """
    host_tags: list[str] = []
    host_values: list[float] = []
    device_tags: list[str] = []
    device_values: list[jax.Array] = []
    for tag, value in scalars.items():
        if type(tag) is not str or not tag:
            _raise_problems(scalars)
        if isinstance(value, jax.Array):
            device_tags.append(tag)
            device_values.append(value)
        else:
            if type(value) is not float and _problem(value):
                _raise_problems(scalars)
            host_tags.append(tag)
            host_values.append(float(value))
    tags = (*host_tags, *device_tags)
    device_step = step if isinstance(step, jax.Array) else None
    if not device_values and device_step is None:
        return tags, host_values, [], step
    vectors, device_step = _pack_on_devices(device_values, device_step, scalars)
    return tags, host_values, vectors, step if device_step is None else device_step


class _Unpackable(Exception):
    """Raised while tracing, when a value is no real scalar; the caller then says which."""


@jax.jit
def _pack(
    values: Sequence[jax.Array], step: jax.Array | None
) -> tuple[jax.Array | None, jax.Array | None]:
    for value in values:
        if value.shape != () or not is_real(value.dtype):
            raise _Unpackable
    vector = jnp.stack([value.astype(jnp.float32) for value in values]) if values else None
    # Copied, since a result that is an argument unchanged would share its buffer.
    return vector, None if step is None else jnp.copy(step)


def _pack_on_devices(
    values: list[jax.Array], step: jax.Array | None, scalars: Mapping[str, Any]
) -> tuple[list[jax.Array], jax.Array | None]:
    if jax.distributed.is_initialized():
        # Only one process logs, so that what it dispatches must not span several.
        values = [value.addressable_data(0) for value in values]
        step = None if step is None else step.addressable_data(0)
    try:
        vector, step = _pack(values, step)
        return ([] if vector is None else [vector]), step
    except Exception:
        _raise_problems(scalars)
        if step is not None and step.is_deleted():
            raise LogDataError("step: the array has been deleted, or donated, before") from None
    # They are committed to different devices, so each goes by itself.
    alone = [_pack([value], None)[0] for value in values]
    return [vector for vector in alone if vector is not None], _pack([], step)[1]


def _raise_problems(scalars: Mapping[str, Any]) -> None:
    problems = [
        f"scalars[{tag!r}]: {problem}"
        for tag, value in scalars.items()
        if (problem := problem_of_tag(tag) or _problem(value))
    ]
    if problems:
        raise LogDataError("; ".join(problems)) from None


def problem_of_tag(tag: Any) -> str:
    """Say why something is no tag, or return an empty text."""
    if not isinstance(tag, str):
        return f"a tag must be a str, found {type(tag).__name__}"
    return "" if tag else "a tag must not be empty"


def _problem(value: Any) -> str:
    """Say why a value is no real scalar, or return an empty text."""
    if isinstance(value, jax.Array) and value.is_deleted():
        return "the array has been deleted, or donated, before it was logged"
    if isinstance(value, bool | int | float):
        return "" if not isinstance(value, int) or _fits(value) else "too large for a float"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        if not is_real(dtype):
            return f"expected a real number, found {dtype}"
        if shape != ():
            return (
                f"expected a scalar, found shape {shape}; average it, or take the first value of "
                "what pmap and shard_map return with fix_sharded_scalars()"
            )
        return ""
    if isinstance(value, numbers.Real) or (shape is not None and tuple(shape) == ()):
        return ""
    if shape is not None:
        return f"expected a scalar, found shape {tuple(shape)}; see fix_sharded_scalars()"
    return f"expected a real number, found {type(value).__name__} {value!r:.60}"


def _fits(value: int) -> bool:
    return abs(value) < 2**1023


def is_real(dtype: Any) -> bool:
    """Tell whether a dtype's values are real numbers, as bool, integers and floats are."""
    return (
        jnp.issubdtype(dtype, np.bool_)
        or jnp.issubdtype(dtype, np.integer)
        or jnp.issubdtype(dtype, np.floating)
    )


def pack_stacked(scalars: Mapping[str, Any], steps: int) -> "dict[str, jax.Array | Float32s]":
    """Take over the scalars of stacked steps, as float32 of shape `(steps,)` for each tag.

    Raises:
        LogDataError: lists every tag or value that cannot be logged.
    """
    problems: list[str] = []
    packed: dict[str, jax.Array | Float32s] = {}
    for tag, given in scalars.items():
        value = given if isinstance(given, jax.Array) else np.asarray(given)
        problem = problem_of_tag(tag)
        if not problem and value.shape != (steps,):
            problem = f"expected shape {(steps,)} for {steps} steps, found {value.shape}"
        elif not problem and not is_real(value.dtype):
            problem = f"expected real numbers, found {value.dtype}"
        if problem:
            problems.append(f"scalars[{tag!r}]: {problem}")
        elif isinstance(value, jax.Array):
            packed[tag] = copy_on_device(value, jnp.float32)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                packed[tag] = value.astype(np.float32)
    if problems:
        raise LogDataError("; ".join(problems))
    return packed


def pack_histograms(
    histograms: Mapping[str, Any], steps: int | None
) -> "dict[str, jax.Array | npt.NDArray[Any]]":
    """Take over arrays whose values are to be counted.

    Args:
        histograms: an array for each tag.
        steps: how many steps are stacked on the arrays' leading axis; None if none are.

    Raises:
        LogDataError: lists every tag or value that cannot be logged.
    """
    problems: list[str] = []
    packed: dict[str, jax.Array | npt.NDArray[Any]] = {}
    for tag, given in histograms.items():
        value = given if isinstance(given, jax.Array) else np.asarray(given)
        problem = problem_of_tag(tag)
        if not problem and isinstance(value, jax.Array) and value.is_deleted():
            problem = "the array has been deleted, or donated, before it was logged"
        elif not problem and not is_real(value.dtype):
            problem = f"expected an array of real numbers, found {value.dtype}"
        elif not problem and steps is not None and value.shape[:1] != (steps,):
            problem = f"expected shape ({steps}, ...) for {steps} steps, found {value.shape}"
        if problem:
            problems.append(f"histograms[{tag!r}]: {problem}")
        else:
            packed[tag] = copy_on_device(value) if isinstance(value, jax.Array) else value.copy()
    if problems:
        raise LogDataError("; ".join(problems))
    return packed


@functools.partial(jax.jit, static_argnames="dtype")
def copy_on_device(array: jax.Array, dtype: Any = None) -> jax.Array:
    """Copy an array without waiting for it, so that the caller may donate its own."""
    return jnp.copy(array if dtype is None else array.astype(dtype))
