"""The summaries behind a row of TensorBoard's HParams tab."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import _protobuf


def summaries(hparams: Mapping[str, Any], metrics: Sequence[str]) -> list[bytes]:
    """Encode the description of the columns, and the values of this run's row.

    Args:
        hparams: a value for each name; what is no bool, number or str is written as text.
        metrics: tags of scalars that become columns.

    Returns:
        The `summary` fields of two events.
    """
    from tensorboardX.summary import hparams as describe

    plain = {name: _plain(value) for name, value in hparams.items()}
    columns, row, _ = describe(plain, dict.fromkeys(metrics, 0.0))
    return [
        _protobuf.summary([value.SerializeToString() for value in summary.value])
        for summary in (columns, row)
    ]


def _plain(value: Any) -> bool | float | str:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float | np.integer | np.floating):
        return float(value)
    return value if isinstance(value, str) else str(value)
