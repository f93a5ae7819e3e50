"""TensorBoard event files: `writing` logs to them, `reading` returns their curves."""

from ._series import HistogramSeries as HistogramSeries
from ._series import ScalarSeries as ScalarSeries
