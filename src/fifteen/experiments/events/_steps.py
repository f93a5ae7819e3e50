"""Checking a step, or a vector of them, as `log` is given it."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from .._errors import LogDataError

_LARGEST = 2**63 - 1


def host_steps(step: Any) -> int | npt.NDArray[np.int64]:
    """Return a step as an int, or a vector of steps as an array of shape `(n,)`.

    Raises:
        LogDataError: it is neither an integer nor a vector of integers, or does not fit in int64.
    """
    if isinstance(step, bool | np.bool_):
        raise LogDataError(f"step: expected an integer, found the bool {step}")
    if isinstance(step, int | np.integer):
        return _in_range(int(step))
    if isinstance(step, str | bytes) or step is None:
        raise LogDataError(f"step: expected an integer, found {step!r}")
    try:
        array = np.asarray(list(step) if isinstance(step, range) else step)
    except Exception as error:
        raise LogDataError(f"step: expected an integer, found {step!r}: {error}") from None
    check_steps(array.shape, array.dtype)
    if array.dtype.kind == "u" and array.size and int(array.max()) > _LARGEST:
        _in_range(int(array.max()))
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


def _in_range(step: int) -> int:
    if not -_LARGEST - 1 <= step <= _LARGEST:
        raise LogDataError(f"step: {step} does not fit in 64 bits")
    return step
