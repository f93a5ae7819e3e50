"""Saying what is wrong with a tag, a value or a step that cannot be logged."""

import numbers
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.core import Tracer

from .._errors import LogDataError
from .._log_data import TensorboardLogData

_LARGEST_STEP = 2**63 - 1
_LARGEST_FLOAT = 2**1023
DELETED = "the array has been deleted, or donated, before it was logged"


def problem_of_tag(tag: Any) -> str:
    """Say why something is no tag, or return an empty text."""
    if not isinstance(tag, str):
        return f"a tag must be a str, found {type(tag).__name__}"
    if not tag:
        return "a tag must not be empty"
    try:
        tag.encode()
    except UnicodeEncodeError:
        return "a tag must be text that UTF-8 can encode"
    return ""


def problem_of_scalar(value: Any) -> str:
    """Say why a value is no real scalar, or return an empty text."""
    if isinstance(value, bool | float):
        return ""
    if isinstance(value, int):
        return "" if abs(value) < _LARGEST_FLOAT else "the integer is too large for a float"
    if _is_deleted(value):
        return DELETED
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(value, jax.Array | np.ndarray | np.generic) and not is_real(dtype):
        return f"expected a real number, found {dtype}"
    if shape is not None and tuple(shape) != ():
        return (
            f"expected a scalar, found shape {tuple(shape)}; average it, or take the first value "
            "of what pmap and shard_map return with fix_sharded_scalars()"
        )
    if shape is not None or isinstance(value, numbers.Real):
        return ""
    return f"expected a real number, found {type(value).__name__} {value!r:.60}"


def problem_of_array(value: "jax.Array | npt.NDArray[Any]", steps: int | None) -> str:
    """Say why an array cannot be counted into a histogram, or return an empty text."""
    if _is_deleted(value):
        return DELETED
    if not is_real(value.dtype):
        return f"expected an array of real numbers, found {value.dtype}"
    if steps is not None and value.shape[:1] != (steps,):
        return f"expected shape ({steps}, ...) for {steps} steps, found {value.shape}"
    return ""


def problem_of_stack(value: "jax.Array | npt.NDArray[Any]", steps: int) -> str:
    """Say why an array does not hold one scalar for each step, or return an empty text."""
    if _is_deleted(value):
        return DELETED
    if value.shape != (steps,):
        return f"expected shape {(steps,)} for {steps} steps, found {value.shape}"
    return "" if is_real(value.dtype) else f"expected real numbers, found {value.dtype}"


def check_arguments(log_data: Any, scalars_every_n: Any, histograms_every_n: Any) -> None:
    """Raise unless there are scalars and histograms by tag, and sensible intervals.

    Raises:
        LogDataError: lists all that is wrong.
    """
    problems: list[str] = []
    if isinstance(log_data, TensorboardLogData):
        problems += [
            f"{name}: expected a mapping from tags, found {type(value).__name__}"
            for name, value in vars(log_data).items()
            if not isinstance(value, Mapping)
        ]
    else:
        problems.append(f"log_data: expected TensorboardLogData, found {type(log_data).__name__}")
    problems += [
        f"{name}: expected an integer of at least 1, found {value!r}"
        for name, value in [
            ("log_scalars_every_n", scalars_every_n),
            ("log_histograms_every_n", histograms_every_n),
        ]
        if not isinstance(value, float | numbers.Integral) or value < 1
    ]
    if problems:
        raise LogDataError("; ".join(problems))


def check(scalars: Mapping[str, Any], histograms: Mapping[str, Any], step: Any) -> None:
    """Raise unless all can be logged; what is traced is judged by its shape and dtype.

    Raises:
        LogDataError: lists every tag or value that cannot be logged.
    """
    if hasattr(step, "dtype"):
        check_steps(step.shape, step.dtype)
    else:
        step = host_steps(step)
    shape = np.shape(step)
    steps = shape[0] if shape else None
    problems = [
        f"scalars[{tag!r}]: {problem}"
        for tag, value in scalars.items()
        if (
            problem := problem_of_tag(tag)
            or (problem_of_scalar(value) if steps is None else problem_of_stack(value, steps))
        )
    ]
    problems += [
        f"histograms[{tag!r}]: {problem}"
        for tag, value in histograms.items()
        if (problem := problem_of_tag(tag) or problem_of_array(value, steps))
    ]
    if problems:
        raise LogDataError("; ".join(problems))


def _is_deleted(value: Any) -> bool:
    # A tracer is an array too, but holds nothing that could be deleted.
    return isinstance(value, jax.Array) and not isinstance(value, Tracer) and value.is_deleted()


def is_real(dtype: Any) -> bool:
    """Tell whether a dtype's values are real numbers, as bool, integers and floats are."""
    return (
        jnp.issubdtype(dtype, np.bool_)
        or jnp.issubdtype(dtype, np.integer)
        or jnp.issubdtype(dtype, np.floating)
    )


def host_steps(step: Any) -> int | npt.NDArray[np.int64]:
    """Return a step as an int, or a vector of steps as an array of shape `(n,)`.

    Raises:
        LogDataError: it is neither an integer nor a vector of integers, or does not fit in int64.
    """
    if isinstance(step, bool | np.bool_):
        raise LogDataError(f"step: expected an integer, found the bool {step}")
    if isinstance(step, int | np.integer):
        return check_range(int(step))
    if isinstance(step, str | bytes) or step is None:
        raise LogDataError(f"step: expected an integer, found {step!r}")
    try:
        array = np.asarray(list(step) if isinstance(step, range) else step)
    except Exception as error:
        raise LogDataError(f"step: expected an integer, found {step!r}: {error}") from None
    check_steps(array.shape, array.dtype)
    if array.dtype.kind == "u" and array.size:
        check_range(int(array.max()))
    # Copied, since the caller may change its own.
    return int(array) if array.ndim == 0 else array.astype(np.int64)


def check_steps(shape: tuple[int, ...], dtype: Any) -> None:
    """Raise unless an array of that shape and dtype is a step or a vector of steps.

    Raises:
        LogDataError: it is not.
    """
    is_integer = jnp.issubdtype(dtype, np.integer) or shape == (0,)
    if not is_integer or len(shape) > 1:
        raise LogDataError(
            f"step: expected an integer, or integers of shape (n,); found {dtype} of shape {shape}"
        )


def check_range(step: int) -> int:
    """Return a step that fits in int64.

    Raises:
        LogDataError: it does not.
    """
    if not -_LARGEST_STEP - 1 <= step <= _LARGEST_STEP:
        raise LogDataError(f"step: {step} does not fit in 64 bits")
    return step
