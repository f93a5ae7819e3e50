"""The summaries behind a row of TensorBoard's HParams tab."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._validation import problem_of_scalar


def summaries(hparams: Mapping[str, Any], metrics: Sequence[str]) -> list[Any]:
    """Return the `Summary` with this run's values, and the one with the columns if there is one.

    TensorBoard takes the columns that one run describes for those of all runs. If none does, it
    makes a column of each value of any run and of each scalar, which suits experiments with
    different configs better. So columns are described only if metrics are named.
    """
    from tensorboardX.summary import hparams as describe

    columns, row, _ = describe(dict(hparams), dict.fromkeys(metrics, 0.0))
    return [columns, row] if metrics else [row]


def to_plain(value: Any) -> bool | float | str:
    """Return what TensorBoard can show: a bool, a number or a text."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_:
        return bool(value) if np.ndim(value) == 0 else str(value)
    if isinstance(value, str):
        return value
    return str(value) if problem_of_scalar(value) else float(value)


def not_finite(hparams: Mapping[str, bool | float | str]) -> list[str]:
    """Return the names of the values that are NaN or infinite."""
    return [
        name
        for name, value in hparams.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
