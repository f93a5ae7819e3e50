"""Counting values into buckets, exactly and fast."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from ._protobuf import Moments

_MOST_BUCKETS = 64
_CHUNK = 32_768
"""Values handled at a time: few enough that the steps between stay in the processor's cache."""

_SMALLEST_EXPONENT = -1074
"""Of the smallest positive float64."""


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Count the finite values of an array.

    Attributes:
        edges: `(n + 1,)` ascending; the first is the smallest value and the last the largest.
        counts: `(n,)` how many values lie in each bucket. A bucket holds its left edge, and the
            last one its right edge too.
        moments: smallest, largest, number, sum and sum of squares of the finite values.
        not_finite: how many values were NaN or infinite, and are left out.
    """

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]
    moments: Moments
    not_finite: int


def histogram(values: npt.NDArray[np.generic]) -> Histogram:
    """Count the values of an array of any shape and any real dtype.

    The buckets' width is a power of two, and inner edges are multiples of it. Scaling by a power
    of two is exact in floating point, so each value's bucket is found by one multiplication
    without an error of rounding, and no value has to be compared with the edges.
    """
    flat = _as_float(values).reshape(-1)
    smallest, largest, finite = _range(flat)
    if not finite.size:
        return Histogram(np.zeros(2), np.zeros(1), (0.0, 0.0, 0.0, 0.0, 0.0), flat.size)
    not_finite = flat.size - finite.size
    total, squares = _sums(finite)
    moments = (smallest, largest, float(finite.size), total, squares)
    if smallest == largest:
        edges, counts = np.array([smallest, largest]), np.array([float(finite.size)])
    else:
        edges, counts = _count(finite, smallest, largest)
    return Histogram(edges, counts, moments, not_finite)


def _as_float(values: npt.NDArray[np.generic]) -> npt.NDArray[np.floating]:
    # float32 holds bfloat16, float8, float16 and the small integers exactly.
    fits_float32 = values.dtype == np.float32 or values.dtype.itemsize <= 2
    return values.astype(np.float32 if fits_float32 else np.float64, copy=False)


def _range(
    flat: npt.NDArray[np.floating],
) -> tuple[float, float, npt.NDArray[np.floating]]:
    """Return the smallest and the largest finite value, and the finite values."""
    if flat.size:
        smallest, largest = float(flat.min()), float(flat.max())
        # NaN and infinity show in the extremes, so that plain data is not searched for them.
        if math.isfinite(smallest) and math.isfinite(largest):
            return smallest, largest, flat
    finite = flat[np.isfinite(flat)]
    if not finite.size:
        return 0.0, 0.0, finite
    return float(finite.min()), float(finite.max()), finite


def _sums(finite: npt.NDArray[np.floating]) -> tuple[float, float]:
    total = squares = 0.0
    with np.errstate(over="ignore"):
        for start in range(0, finite.size, _CHUNK):
            chunk = finite[start : start + _CHUNK].astype(np.float64, copy=False)
            total += float(chunk.sum())
            squares += float(chunk @ chunk)
    return total, squares


def _count(
    finite: npt.NDArray[np.floating], smallest: float, largest: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    exponent = _width_exponent(smallest, largest)
    first = math.floor(math.ldexp(smallest, -exponent))
    buckets = math.floor(math.ldexp(largest, -exponent)) - first + 1
    counts = np.zeros(buckets, np.int64)
    for start in range(0, finite.size, _CHUNK):
        # In float64, where no float32 underflows when it is scaled.
        chunk = finite[start : start + _CHUNK].astype(np.float64, copy=False)
        index = np.floor(_scale(chunk, -exponent)).astype(np.int64)
        index -= first
        counts += np.bincount(index, minlength=buckets)
    inner = _scale((first + np.arange(1, buckets)).astype(np.float64), exponent)
    edges = np.concatenate([[smallest], inner, [largest]])
    if edges[-2] == largest:
        # The largest value lies on an inner edge, alone in a bucket without a width; the bucket
        # before it has the right edge to hold it.
        edges, counts = edges[:-1], np.append(counts[:-2], counts[-2] + counts[-1])
    return edges, counts.astype(np.float64)


def _width_exponent(smallest: float, largest: float) -> int:
    # Halved first, since the difference of two finite numbers may overflow.
    _, exponent = math.frexp(largest / 2 - smallest / 2)
    return max(exponent + 1 - _MOST_BUCKETS.bit_length() + 1, _SMALLEST_EXPONENT)


def _scale(values: npt.NDArray[np.float64], exponent: int) -> npt.NDArray[np.float64]:
    """Multiply by a power of two, which `ldexp` does too, where it must, but slowly."""
    if abs(exponent) < 1000:
        return values * math.ldexp(1.0, exponent)
    return np.ldexp(values, exponent)
