"""Timeline: times of a directory's events, how its script ended, and where it diverged."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._protos import FAILURE, SESSION_END_TAG, SUCCESS, hparams_type
from .._series import ScalarSeries
from ._event_file import MALFORMED


class SessionEnd(NamedTuple):
    """How a script ended."""

    is_success: bool
    reason: str  # Such as "ValueError: boom"; may be empty.
    time: float  # Seconds since the epoch.


class Timeline(NamedTuple):
    """Times and last step of a directory's events, and how the script ended."""

    first_time: float | None = None  # Of the first events, in seconds since the epoch.
    last_time: float | None = None  # Of the last event.
    last_step: int | None = None  # Of the last scalars or histograms that no rewind hides.
    end: SessionEnd | None = None  # None if anything was logged later.


def session_end(event: Any) -> SessionEnd | None:
    """Return the session end in an event, if there is one."""
    for value in event.summary.value:
        if value.tag == SESSION_END_TAG:
            try:
                content = hparams_type().FromString(value.metadata.plugin_data.content)
            except MALFORMED:
                return None
            end = content.session_end_info
            if end.status in (SUCCESS, FAILURE):
                time = end.end_time_secs or event.wall_time
                return SessionEnd(end.status == SUCCESS, value.metadata.summary_description, time)
    return None


def diverged_at(curves: Mapping[str, ScalarSeries]) -> int | None:
    """Return the first step from which a curve is only NaN or infinite."""
    steps: list[int] = []
    for curve in curves.values():
        finite = np.flatnonzero(np.isfinite(curve.value))
        first = int(finite[-1]) + 1 if finite.size else 0
        steps += curve.step[first : first + 1].tolist()
    return min(steps, default=None)
