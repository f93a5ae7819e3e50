"""Log data to TensorBoard event files, and back."""

from ._last_step import last_step as last_step
from ._log import EventLog as EventLog
from ._reading import read_histograms as read_histograms
from ._reading import read_scalars as read_scalars
from ._series import HistogramSeries as HistogramSeries
from ._series import ScalarSeries as ScalarSeries
