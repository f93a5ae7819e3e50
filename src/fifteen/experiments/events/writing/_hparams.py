"""The summaries behind a row of TensorBoard's HParams tab: hyperparameters, metrics, outcome."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import _protos
from ._validation import problem_of_scalar


def summaries(hparams: Mapping[str, Any], metrics: Sequence[str]) -> list[Any]:
    """Return the `Summary` with this run's values, and the one with the columns, if any.

    TensorBoard uses the columns that one run describes for all runs. If none does, each value and
    each scalar of any run becomes a column, which suits runs with different configs. So columns
    are described only if metrics are named.
    """
    from tensorboardX.summary import hparams as describe

    columns, row, _ = describe(dict(hparams), dict.fromkeys(metrics, 0.0))
    return [columns, row] if metrics else [row]


def session_end(is_success: bool, reason: str) -> Any:
    """Return the `Summary` of a script's end.

    TensorBoard shows the status only, so the reason is the summary's description.
    """
    status = _protos.SUCCESS if is_success else _protos.FAILURE
    end = {"status": status, "end_time_secs": time.time()}
    content = _protos.hparams_type()(version=0, session_end_info=end).SerializeToString()
    plugin = {"plugin_name": "hparams", "content": content}
    metadata = {"summary_description": reason, "plugin_data": plugin}
    return {"value": [{"tag": _protos.SESSION_END_TAG, "metadata": metadata}]}


def to_plain(value: Any) -> bool | float | str:
    """Return a value as TensorBoard can show it: a bool, a number or a text."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_:
        return bool(value) if np.ndim(value) == 0 else str(value)
    if isinstance(value, str):
        return value
    return str(value) if problem_of_scalar(value) else float(value)
