"""Taking arrays over from the caller: stacked scalars, and what is counted into histograms."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from .._errors import LogDataError
from ._problems import problem_of_array, problem_of_stack, problem_of_tag

Array: TypeAlias = "jax.Array | npt.NDArray[Any]"


def pack_stacked(scalars: Mapping[str, Any], steps: int) -> dict[str, Array]:
    """Take over the scalars of stacked steps, as float32 of shape `(steps,)` for each tag.

    Raises:
        LogDataError: lists every tag or value that cannot be logged.
    """
    arrays = _checked("scalars", scalars, lambda value: problem_of_stack(value, steps))
    return {tag: _copy(value, np.float32) for tag, value in arrays.items()}


def pack_histograms(histograms: Mapping[str, Any], steps: int | None) -> dict[str, Array]:
    """Take over arrays whose values are to be counted.

    Args:
        histograms: an array for each tag.
        steps: how many steps are stacked on the arrays' leading axis; None if none are.

    Raises:
        LogDataError: lists every tag or value that cannot be logged.
    """
    arrays = _checked("histograms", histograms, lambda value: problem_of_array(value, steps))
    return {tag: _copy(value) for tag, value in arrays.items()}


def own_step(step: Any) -> Any:
    """Return a step that the caller cannot donate or change any more."""
    return _copy_on_device(_local(step)) if isinstance(step, jax.Array) else step


def _checked(
    kind: str, given: Mapping[str, Any], problem_of: Callable[[Array], str]
) -> dict[str, Array]:
    arrays = {
        tag: value if isinstance(value, jax.Array) else np.asarray(value)
        for tag, value in given.items()
    }
    problems = [
        f"{kind}[{tag!r}]: {problem}"
        for tag, value in arrays.items()
        if (problem := problem_of_tag(tag) or problem_of(value))
    ]
    if problems:
        raise LogDataError("; ".join(problems))
    return arrays


def _copy(array: Array, dtype: Any = None) -> Array:
    if isinstance(array, jax.Array):
        return _copy_on_device(_local(array), dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(array.dtype if dtype is None else dtype)


def _local(array: jax.Array) -> jax.Array:
    """Return an array of this process alone, which an array may span."""
    return array if array.is_fully_addressable else array.addressable_data(0)


@functools.partial(jax.jit, static_argnames="dtype")
def _copy_on_device(array: jax.Array, dtype: Any = None) -> jax.Array:
    """Copy an array without waiting for it, so that the caller may donate its own."""
    return jnp.copy(array if dtype is None else array.astype(dtype))
