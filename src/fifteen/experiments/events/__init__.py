"""Log data to TensorBoard event files, and back."""

from typing import TYPE_CHECKING, Any

from ._last_step import last_step as last_step
from ._reading import read_histograms as read_histograms
from ._reading import read_scalars as read_scalars
from ._series import HistogramSeries as HistogramSeries
from ._series import ScalarSeries as ScalarSeries

if TYPE_CHECKING:
    from ._log import EventLog as EventLog
else:

    def __getattr__(name: str) -> Any:
        # Imported when used: it needs JAX, and reading does not.
        if name == "EventLog":
            from ._log import EventLog

            return EventLog
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
