"""What is read back of one tag."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._errors import MissingExtraError

if TYPE_CHECKING:
    import pandas


@dataclasses.dataclass(frozen=True, eq=False)
class ScalarSeries:
    """Hold every logged point of one scalar, in the order of the steps.

    Attributes:
        step: `(n,)` int64.
        wall_time: `(n,)` float64, when each was logged, in seconds since the epoch.
        value: `(n,)` float64.

    Example:
        >>> experiment.log(TensorboardLogData(scalars={"loss": 0.5}), step=7)
        >>> experiment.read_scalars()["loss"]
        ScalarSeries(1 point, step 7, value 0.5)
    """

    step: npt.NDArray[np.int64]
    wall_time: npt.NDArray[np.float64]
    value: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        for array in (self.step, self.wall_time, self.value):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.step)

    def __repr__(self) -> str:
        if not len(self):
            return "ScalarSeries(0 points)"
        if len(self) == 1:
            return f"ScalarSeries(1 point, step {self.step[0]}, value {self.value[0]:.6g})"
        return (
            f"ScalarSeries({len(self)} points, steps {self.step[0]} to {self.step[-1]}, "
            f"last value {self.value[-1]:.6g})"
        )

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a data frame with the columns `step`, `wall_time` and `value`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return _data_frame(self)


@dataclasses.dataclass(frozen=True, eq=False)
class HistogramSeries:
    """Hold every logged histogram of one tag, in the order of the steps.

    Attributes:
        step: `(n,)` int64.
        wall_time: `(n,)` float64, when each was logged, in seconds since the epoch.
        edges: for each step, the `(m + 1,)` ascending edges of its buckets, float64.
        counts: for each step, how many values lie in each of the `(m,)` buckets, float64.
    """

    step: npt.NDArray[np.int64]
    wall_time: npt.NDArray[np.float64]
    edges: list[npt.NDArray[np.float64]]
    counts: list[npt.NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.step)

    def __repr__(self) -> str:
        if not len(self):
            return "HistogramSeries(0 histograms)"
        return (
            f"HistogramSeries({len(self)} histograms, steps {self.step[0]} to {self.step[-1]}, "
            f"last of {self.counts[-1].sum():.0f} values)"
        )

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a data frame with the columns `step`, `wall_time`, `edges` and `counts`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return _data_frame(self)


def _data_frame(series: Any) -> "pandas.DataFrame":
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError(
            "to_pandas() needs pandas; install it with: pip install 'fifteen[pandas]'"
        ) from error
    return pandas.DataFrame(
        {field.name: getattr(series, field.name) for field in dataclasses.fields(series)}
    )
