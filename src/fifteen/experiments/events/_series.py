"""ScalarSeries and HistogramSeries: what was logged under one tag, as NumPy arrays."""

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._errors import MissingExtraError

if TYPE_CHECKING:
    import pandas

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ScalarSeries:
    """Hold the curve of one tag: every point that was logged, in the order of its steps.

    The arrays are read-only; `series.value.copy()` gives one to write to.

    Attributes:
        step: `(n,)` int64, strictly ascending.
        wall_time: `(n,)` float64, seconds since the epoch.
        value: `(n,)` float64. Most writers store a scalar as float32, so that 0.1 comes back as
            0.10000000149011612.

    Example:
        >>> log_data = TensorboardLogData(scalars={"loss": jnp.array([0.5, 0.25, 0.75])})
        >>> experiment.log(log_data, step=range(3))
        >>> loss = experiment.read_scalars()["loss"]
        >>> int(loss.step[loss.value.argmin()])
        1
    """

    step: Integers
    wall_time: Floats
    value: Floats

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.step)

    def __repr__(self) -> str:
        """Summarise the curve in one line."""
        if not len(self):
            return "ScalarSeries(0 points)"
        return f"ScalarSeries({_extent(self.step, 'point')}, last value {self.value[-1]:.6g})"

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a data frame with the columns `step`, `wall_time` and `value`.

        Raises:
            MissingExtraError: pandas is not installed.

        Example:
            >>> experiment.log(TensorboardLogData(scalars={"loss": 0.5}), step=7)
            >>> experiment.read_scalars()["loss"].to_pandas().columns.tolist()
            ['step', 'wall_time', 'value']
        """
        columns = {"step": self.step, "wall_time": self.wall_time, "value": self.value}
        return _import_pandas().DataFrame(columns)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class HistogramSeries:
    """Hold the histograms of one tag, in the order of their steps.

    Each histogram has its own buckets: bucket `j` of histogram `i` reaches from `edges[i][j]` to
    `edges[i][j + 1]` and holds `counts[i][j]` values. The outermost edges are the smallest and
    the largest value. The arrays are read-only.

    Attributes:
        step: `(n,)` int64, strictly ascending.
        wall_time: `(n,)` float64, seconds since the epoch.
        edges: `n` arrays, each of shape `(buckets + 1,)`, float64; of shape `(0,)` where a
            histogram of nothing was logged.
        counts: `n` arrays, each of shape `(buckets,)`, float64.

    Example:
        >>> experiment.log(TensorboardLogData(histograms={"w": jnp.arange(5)}), step=7)
        >>> series = experiment.read_histograms()["w"]
        >>> float(series.counts[-1].sum()), float(series.edges[-1][-1])
        (5.0, 4.0)
    """

    step: Integers
    wall_time: Floats
    edges: tuple[Floats, ...]
    counts: tuple[Floats, ...]

    def __len__(self) -> int:
        """Return the number of histograms."""
        return len(self.step)

    def __repr__(self) -> str:
        """Summarise the histograms in one line."""
        if not len(self):
            return "HistogramSeries(0 histograms)"
        return f"HistogramSeries({_extent(self.step, 'histogram')})"

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a data frame with one row a bucket.

        Its columns are `step`, `wall_time`, `left`, `right` and `count`.

        Raises:
            MissingExtraError: pandas is not installed.

        Example:
            >>> experiment.log(TensorboardLogData(histograms={"w": jnp.arange(5)}), step=7)
            >>> float(experiment.read_histograms()["w"].to_pandas()["count"].sum())
            5.0
        """
        buckets = [len(counts) for counts in self.counts]
        columns = {
            "step": np.repeat(self.step, buckets),
            "wall_time": np.repeat(self.wall_time, buckets),
            "left": _join(edges[:-1] for edges in self.edges),
            "right": _join(edges[1:] for edges in self.edges),
            "count": _join(self.counts),
        }
        return _import_pandas().DataFrame(columns)


def _extent(step: Integers, noun: str) -> str:
    if len(step) == 1:
        return f"1 {noun}, step {step[0]}"
    return f"{len(step)} {noun}s, steps {step[0]} to {step[-1]}"


def _join(parts: Any) -> Floats:
    return np.concatenate([np.zeros(0), *parts])


def _import_pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise MissingExtraError(
            "to_pandas() needs pandas, which is not installed; install it with "
            "pip install 'fifteen[pandas]'"
        ) from error
