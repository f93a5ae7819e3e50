"""The summaries behind a row of TensorBoard's HParams tab."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import _protobuf


def summaries(hparams: Mapping[str, Any], metrics: Sequence[str]) -> list[bytes]:
    """Encode the values of this run's row, and where metrics are named, the tab's columns.

    TensorBoard takes the columns that one run describes for those of all runs. Where none does,
    it makes columns of every value of any run and of every scalar, which suits experiments with
    different configurations better.

    Args:
        hparams: a value for each name; what is no bool, number or str is written as text.
        metrics: tags of scalars that become columns; all of them, if none is named.

    Returns:
        The `summary` fields of one or two events.
    """
    from tensorboardX.summary import hparams as describe

    plain = {name: _plain(value) for name, value in hparams.items()}
    columns, row, _ = describe(plain, dict.fromkeys(metrics, 0.0))
    return [
        _protobuf.summary([value.SerializeToString() for value in summary.value])
        for summary in ([columns, row] if metrics else [row])
    ]


def _plain(value: Any) -> bool | float | str:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float | np.integer | np.floating):
        return float(value)
    return value if isinstance(value, str) else str(value)
