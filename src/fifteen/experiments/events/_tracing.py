"""Logging from inside a function that JAX transforms, when the function runs."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import io_callback

from .._errors import LogDataError
from .._log_data import TensorboardLogData

_untraced_types: set[type] = set()
"""Types that have been met and are no tracer's: comparing with them is what `log` can afford."""


def is_traced(scalars: Mapping[str, Any], histograms: Mapping[str, Any], step: Any) -> bool:
    """Tell whether any value is a tracer, which has no value yet."""
    if (
        type(step) in _untraced_types
        and _untraced_types.issuperset(map(type, scalars.values()))
        and _untraced_types.issuperset(map(type, histograms.values()))
    ):
        return False
    types = {type(value) for value in (*scalars.values(), *histograms.values(), step)}
    traced = {kind for kind in types if issubclass(kind, Tracer)}
    _untraced_types.update(types - traced)
    return bool(traced)


def log_at_run_time(
    log: Callable[..., None], log_data: TensorboardLogData, step: Any, *arguments: Any
) -> None:
    """Register an ordered callback that calls `log` with what the tracers stand for.

    Args:
        log: is called as `log(log_data, step, *arguments)` whenever the function runs.
        log_data: what to log, tracers among it.
        step: its step.
        arguments: what else `log` takes.

    Raises:
        LogDataError: the function is under `vmap`.
    """
    # Each operand of a callback costs more than what is done with it, so that scalars go as one.
    packed = [tag for tag, value in log_data.scalars.items() if _is_traced_scalar(value)]
    known = {tag: log_data.scalars[tag] for tag in log_data.scalars if tag not in packed}
    vector = [jnp.asarray(log_data.scalars[tag], jnp.float32) for tag in packed]
    leaves, structure = jax.tree.flatten((known, log_data.histograms, step))
    traced = [at for at, leaf in enumerate(leaves) if isinstance(leaf, Tracer)]

    def run(*operands: Any) -> None:
        # On the host: a dispatch from within a callback could wait for the device that waits for
        # the callback.
        filled = list(leaves)
        for at, value in zip(traced, operands, strict=False):
            filled[at] = np.asarray(value)
        scalars, histograms, step = jax.tree.unflatten(structure, filled)
        if packed:
            values = np.asarray(operands[-1]).tolist()
            scalars.update(zip(packed, values, strict=True))
        log(TensorboardLogData(scalars, histograms), step, *arguments)

    try:
        operands = [leaves[at] for at in traced] + ([jnp.stack(vector)] if packed else [])
        # What is logged is not differentiated, and the callback has no derivative.
        io_callback(run, None, *map(jax.lax.stop_gradient, operands), ordered=True)
    except ValueError as error:
        if "vmap" not in str(error):
            raise
        raise LogDataError(
            "log: cannot be called under vmap, where there is no order of steps; return the "
            "TensorboardLogData from the mapped function and log it outside"
        ) from None


def _is_traced_scalar(value: Any) -> bool:
    return isinstance(value, Tracer) and value.shape == ()
