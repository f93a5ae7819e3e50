"""Curves as they are drawn: the x axis, smoothing, bands over seeds, limits, downsampling."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fifteen.experiments import ScalarSeries

Floats = npt.NDArray[np.float64]

_MAX_GROWTH = 1e200
"""How much the weights within a block of `smooth` may differ."""
_BAND_POINTS = 2000
_FAR = 10
"""A run has diverged if it reaches this many times what the median run reaches."""
_MARGIN = 0.05
_MAX_Y = 1e150
"""The squares of larger numbers overflow."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How curves are drawn."""

    x: str = "step"  # Or `time` (seconds since the run's first point), or the tag of a scalar.
    smooth: float = 0  # The weight of an exponential moving average.
    over: str | None = None  # The field over which to take the mean, such as `seed`.
    log_x: bool = False
    log_y: bool = False

    @property
    def x_label(self) -> str:
        return "seconds" if self.x == "time" else self.x


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line, or a mean with a band; all arrays have the same length."""

    x: Floats  # Ascending, unless another scalar is the x axis.
    y: Floats  # NaN is a gap.
    low: Floats | None = None
    high: Floats | None = None
    diverged_at: float | None = None  # The x of the first value that is NaN or infinite.
    count: int = 1  # How many runs it is the mean of.

    def with_parts(self, change: Callable[[Floats], Floats], **others: Floats) -> "Curve":
        """Return it with what a function makes of its values and its band."""
        low, high = (None if part is None else change(part) for part in (self.low, self.high))
        return dataclasses.replace(self, y=change(self.y), low=low, high=high, **others)


def curve_of(scalars: "dict[str, ScalarSeries]", tag: str, x: str = "step") -> Curve | None:
    """Return the curve of a tag; None if the run lacks the tag, or the scalar of the x axis."""
    series = scalars.get(tag)
    if series is None:
        return None
    y, position = series.value, series.step.astype(float)
    if x == "time":
        position = seconds_of(scalars, tag)
    elif x != "step":
        if x not in scalars:
            return None
        _, own, others = np.intersect1d(series.step, scalars[x].step, return_indices=True)
        position, y = scalars[x].value[others], y[own]
    bad, has_place = ~np.isfinite(y), np.isfinite(position)
    at = position[bad & has_place]
    diverged = (
        float(at[0] if len(at) else position[has_place].max(initial=0)) if bad.any() else None
    )
    y = np.where(bad, math.nan, y).clip(-_MAX_Y, _MAX_Y)
    return Curve(position[has_place], y[has_place], diverged_at=diverged)


def seconds_of(scalars: "dict[str, ScalarSeries]", tag: str) -> Floats:
    """Return the times of a curve's points since the run's first point."""
    return scalars[tag].wall_time - min(float(other.wall_time[0]) for other in scalars.values())


def smoothed(curve: Curve, weight: float) -> Curve:
    return curve.with_parts(lambda part: smooth(part, weight)) if weight else curve


def smooth(values: Floats, weight: float) -> Floats:
    """Return exponential moving averages, without bias to zero at the beginning, as TensorBoard's.

    What is NaN or infinite stays, and counts nothing.
    """
    if not 0 <= weight < 1:
        raise ValueError(f"smoothing: expected at least 0 and below 1, found {weight}")
    finite = np.isfinite(values)
    numbers = values[finite]
    if not weight or not len(numbers):
        return values
    result = values.copy()
    # In closed form, by blocks short enough for the powers of the weight to be floats.
    length = max(1, int(math.log(_MAX_GROWTH) / -math.log(weight)))
    powers = weight ** np.arange(1, min(length, len(numbers)) + 1, dtype=np.float64)
    sums = np.empty_like(numbers)
    total = 0.0
    for start in range(0, len(numbers), length):
        block = numbers[start : start + length]
        own = powers[: len(block)]
        sums[start : start + length] = own * (total + (1 - weight) * np.cumsum(block / own))
        total = sums[start + len(block) - 1]
    sums[: len(powers)] /= 1 - powers
    result[finite] = sums
    return result


def mean_of(curves: Sequence[Curve]) -> Curve:
    """Return the mean of curves, with a band of one standard deviation on either side.

    A curve counts from its first to its last finite value.
    """
    grid = np.unique(np.concatenate([curve.x for curve in curves]))
    if len(grid) > _BAND_POINTS:
        grid = grid[np.linspace(0, len(grid) - 1, _BAND_POINTS).round().astype(int)]
    rows = np.full((len(curves), len(grid)), math.nan)
    for row, curve in zip(rows, curves, strict=True):
        order = np.argsort(curve.x, kind="stable")
        x, y = curve.x[order], curve.y[order]
        known = np.isfinite(y)
        if known.any():
            row[:] = np.interp(grid, x[known], y[known], left=math.nan, right=math.nan)
    count = np.isfinite(rows).sum(0)
    some = np.maximum(count, 1)
    mean = np.where(count > 0, np.nansum(rows, 0) / some, math.nan)
    # The runs are a sample of what other seeds would give.
    deviation = np.sqrt(np.nansum((rows - mean) ** 2, 0) / np.maximum(count - 1, 1))
    bad = [curve.diverged_at for curve in curves if curve.diverged_at is not None]
    return Curve(
        grid, mean, mean - deviation, mean + deviation, min(bad, default=None), len(curves)
    )


def downsample(curve: Curve, points: int) -> Curve:
    """Return at most about so many points: the smallest and the largest value of each bucket."""
    kept = extremes(curve.y, points)
    return curve.with_parts(lambda part: part[kept], x=curve.x[kept])


def extremes(y: Floats, points: int) -> npt.NDArray[np.bool_]:
    """Return which of the values `downsample` keeps."""
    count = len(y)
    if count <= points:
        return np.ones(count, bool)
    size = math.ceil(count / max(1, points // 2))
    buckets = np.pad(y, (0, -count % size), constant_values=math.nan).reshape(-1, size)
    known, starts = np.isfinite(buckets), np.arange(0, count, size)
    chosen = np.zeros(count, bool)
    chosen[starts + np.where(known, buckets, math.inf).argmin(axis=1)] = True
    chosen[starts + np.where(known, buckets, -math.inf).argmax(axis=1)] = True
    chosen[[0, -1]] = True
    return chosen


def diverged(curves: dict[str, Curve]) -> dict[str, str]:
    """Return what is to be said of each curve that became NaN or infinite, or left all others."""
    tops = {name: np.abs(_values(curve)).max(initial=0) for name, curve in curves.items()}
    usual = sorted(tops.values())[(len(tops) - 1) // 2] if tops else 0
    found: dict[str, str] = {}
    for name, curve in curves.items():
        if curve.diverged_at is not None:
            found[name] = f"not finite from {curve.diverged_at:g} on"
        elif tops[name] > _FAR * usual > 0:
            found[name] = f"reaches {tops[name]:.3g}"
    return found


def limits(curves: dict[str, Curve], log: bool = False) -> tuple[float, float] | None:
    """Return the range of y that shows all curves that have not diverged; None if there is none."""
    # The mean goes on without a run that is no longer finite.
    own = {
        name: dataclasses.replace(curve, diverged_at=None) if curve.count > 1 else curve
        for name, curve in curves.items()
    }
    bad = diverged(own if len(curves) > 1 else curves)
    good = [_values(curve) for name, curve in curves.items() if name not in bad]
    top = max((np.abs(values).max(initial=0) for values in good), default=math.inf)
    good += [_before(curves[name], top) for name in bad]
    values = _join(good, log)
    if not len(values):  # What has diverged may be all that can be drawn.
        values = _join(map(_values, curves.values()), log)
    if not len(values):
        return None
    low, high = values.min(), values.max()
    if len(bad) == len(curves):
        # If all have grown without end, that would hide what they were before.
        usual = np.quantile(values, 0.9)
        high = usual if high - low > _FAR * (usual - low) else high
    if log:
        low, high = max(low, 1 / _MAX_Y), max(high, 1 / _MAX_Y)
        factor = (high / low) ** _MARGIN if high > low else 1.1
        return float(low / factor), float(high * factor)
    margin = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
    return float(low - margin), float(high + margin)


def _join(parts: Iterable[Floats], log: bool) -> Floats:
    values = np.concatenate([np.zeros(0), *parts])
    return values[values > 0] if log else values


def _before(curve: Curve, top: float) -> Floats:
    """Return what a curve was before it left all others, and the way there."""
    values = curve.y[np.isfinite(curve.y)]
    far = np.flatnonzero(np.abs(values) > top)
    return values[: int(0.9 * far[0])] if len(far) else values


def _values(curve: Curve) -> Floats:
    parts = [part for part in (curve.y, curve.low, curve.high) if part is not None]
    values = np.concatenate(parts)
    return values[np.isfinite(values)]
