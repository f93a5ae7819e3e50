"""Checks of tags, values, steps and intervals."""

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.core import Tracer

from fifteen._text import counted

from ..._errors import LogDataError
from ..._log_data import TensorboardLogData

Values: TypeAlias = Mapping[str, Any]
"""Scalars or histograms, by tag."""

Steps: TypeAlias = "int | npt.NDArray[np.int64] | jax.Array"
"""A step, a vector of steps, or an integer array on a device that is either."""

MAX_STEP = 2**63 - 1
_MAX_FLOAT = 2**1023
_DELETED = "the array was deleted or donated before it was logged"


def check_arguments(log_data: Any, scalars_every_n: Any, histograms_every_n: Any) -> list[int]:
    """Return the intervals of scalars and of histograms, or raise `LogDataError`."""
    if not isinstance(log_data, TensorboardLogData):
        found = type(log_data).__name__
        raise LogDataError(f"log_data: expected TensorboardLogData, found {found}")
    parts: dict[str, Any] = {"scalars": log_data.scalars, "histograms": log_data.histograms}
    problems = [
        f"{name}: expected a mapping from tags, found {type(value).__name__}"
        for name, value in parts.items()
        if not isinstance(value, Mapping)
    ]
    intervals: list[int] = []
    given = {"log_scalars_every_n": scalars_every_n, "log_histograms_every_n": histograms_every_n}
    for name, every_n in given.items():
        is_never = isinstance(every_n, float) and every_n == math.inf
        interval = MAX_STEP if is_never else _whole(every_n) or 0
        # Only step 0 is a multiple of an interval larger than any step.
        intervals.append(min(interval, MAX_STEP))
        if interval < 1:
            problems.append(f"{name}: expected an integer of at least 1, found {every_n!r}")
    if problems:
        raise LogDataError("; ".join(problems))
    return intervals


def to_steps(step: Any) -> Steps:
    """Return a step or several of them, or raise `LogDataError`.

    An array of integers on a device is returned as it is.
    """
    if isinstance(step, int | float | np.integer):
        return _to_step(step)
    if isinstance(step, Tracer) or (
        isinstance(step, jax.Array) and _is_integer(step.dtype) and step.dtype != np.uint64
    ):
        if not _is_integer(step.dtype) or step.ndim > 1:
            raise _wrong_step(f"{step.dtype} of shape {step.shape}")
        if _is_deleted(step):
            raise LogDataError(f"step: {_DELETED}")
        return step
    try:
        array = np.asarray(step)
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise LogDataError(f"step: expected an integer, found {step!r:.80}: {error}") from error
    if array.ndim > 1 or array.dtype.kind in "mM":
        raise _wrong_step(f"{array.dtype} of shape {array.shape}")
    if jnp.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if array.dtype.kind != "i":
        array = np.reshape([_to_step(number) for number in array.ravel().tolist()], array.shape)
    # A copy, since the caller may change the array.
    return int(array) if array.ndim == 0 else array.astype(np.int64)


def _to_step(number: Any) -> int:
    step = _whole(number)
    if step is None:
        hint = "; pass int(step)" if isinstance(number, float) else ""
        raise _wrong_step(f"{number!r:.80}{hint}")
    if not -MAX_STEP - 1 <= step <= MAX_STEP:
        raise LogDataError(f"step: {step} does not fit in 64 bits")
    return step


def _wrong_step(found: str) -> LogDataError:
    return LogDataError(f"step: expected an integer, or integers of shape (n,); found {found}")


def _whole(value: Any) -> int | None:
    """Return an integral Python or NumPy number as an int; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    is_float = isinstance(value, float | np.floating)
    return int(value) if is_float and float(value).is_integer() else None


def check(scalars: Values, histograms: Values, steps: Steps) -> None:
    """Raise `LogDataError` with every tag and value that cannot be logged, if there are any.

    Tracers are judged by their shape and dtype.
    """
    count = None if isinstance(steps, int) or steps.ndim == 0 else steps.shape[0]
    problems = [*_problems("scalars", scalars, count), *_problems("histograms", histograms, count)]
    if problems:
        raise LogDataError("; ".join(problems))


def _problems(kind: str, values: Values, count: int | None) -> Iterator[str]:
    for tag, value in values.items():
        if kind == "scalars" and count is None:
            problem = _problem_of_tag(tag) or problem_of_scalar(value)
        else:
            problem = _problem_of_tag(tag) or _problem_of_array(kind, value, count)
        if problem:
            yield f"{kind}[{tag!r}]: {problem}"


def _problem_of_tag(tag: Any) -> str:
    if not isinstance(tag, str):
        return f"a tag must be a str, found {type(tag).__name__}"
    if not tag:
        return "a tag must not be empty"
    is_text = tag.encode(errors="ignore").decode() == tag
    return "" if is_text else "a tag must be text that UTF-8 can encode"


def problem_of_scalar(value: Any) -> str:
    """Say why a value is not a real scalar, or return an empty text."""
    if isinstance(value, bool | float):
        return ""
    if isinstance(value, int):
        return "" if abs(value) < _MAX_FLOAT else "the integer is too large for a float"
    if _is_deleted(value):
        return _DELETED
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


def _problem_of_array(kind: str, value: Any, count: int | None) -> str:
    """Say why an array is not `(count,)` scalars, or `(count, ...)` values of histograms."""
    if _is_deleted(value):
        return _DELETED
    try:
        array = value if isinstance(value, jax.Array) else np.asarray(value)
    except ValueError as error:
        return f"expected an array, found {type(value).__name__}: {error}"
    shape = array.shape
    if count is not None and (shape if kind == "scalars" else shape[:1]) != (count,):
        expected = f"({count},)" if kind == "scalars" else f"({count}, ...)"
        return f"expected shape {expected} for {counted(count, 'step')}, found {shape}"
    return "" if is_real(array.dtype) else f"expected an array of real numbers, found {array.dtype}"


def is_real(dtype: Any) -> bool:
    """Return whether a dtype is bool, integer or floating."""
    is_number = _is_integer(dtype) or jnp.issubdtype(dtype, np.floating)
    return is_number or jnp.issubdtype(dtype, np.bool_)


def _is_integer(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, np.integer)


def _is_deleted(value: Any) -> bool:
    # A tracer is an array too, but has no buffer to delete.
    return isinstance(value, jax.Array) and not isinstance(value, Tracer) and value.is_deleted()
