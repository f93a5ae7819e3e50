"""Count values into buckets, exactly and fast."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

_MAX_BUCKETS = 64
_CHUNK = 131_072
"""Values counted at a time: few enough that intermediate results stay in the processor's cache."""

_DOT = 8192
"""Values per dot product: few enough that the linear algebra library starts no threads for it,
which would take the processor from training."""

_MIN_EXPONENT = -1074  # That of the smallest positive float64.


@dataclasses.dataclass(frozen=True)
class Histogram:
    """The finite values of an array, counted.

    A bucket includes its left edge, and the last bucket its right edge too.
    """

    edges: npt.NDArray[np.float64]  # `(n + 1,)`, from the smallest value to the largest.
    counts: npt.NDArray[np.float64]  # `(n,)`
    moments: dict[str, float]  # `min`, `max`, `num`, `sum` and `sum_squares`.
    not_finite: int  # The number of NaN and infinite values, which are not counted.


def histogram(values: npt.NDArray[np.generic]) -> Histogram:
    """Count the values of an array of any shape and any real dtype.

    The width of a bucket is a power of two, and the inner edges are multiples of it. Scaling by a
    power of two is exact in floating point, so one multiplication finds the bucket of a value
    without a rounding error, and no value is compared with the edges.
    """
    finite = _as_float(values).reshape(-1)
    smallest, largest = _range(finite)
    # NaN and infinity show in the extremes, so finite data is not searched.
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        finite = finite[np.isfinite(finite)]
        smallest, largest = _range(finite)
    not_finite = values.size - finite.size
    moments = {"min": smallest, "max": largest, "num": finite.size, **_sums(finite)}
    if smallest == largest:
        edges, counts = np.array([smallest, largest]), np.array([float(finite.size)])
    else:
        edges, counts = _count(finite, smallest, largest)
    return Histogram(edges, counts, moments, not_finite)


def _as_float(values: npt.NDArray[np.generic]) -> npt.NDArray[np.floating]:
    # float32 holds bfloat16, float8, float16 and the small integers exactly.
    fits_float32 = values.dtype == np.float32 or values.dtype.itemsize <= 2
    return values.astype(np.float32 if fits_float32 else np.float64, copy=False)


def _range(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _sums(finite: npt.NDArray[np.floating]) -> dict[str, float]:
    total = squares = 0.0
    with np.errstate(over="ignore"):
        for start in range(0, finite.size, _DOT):
            chunk = finite[start : start + _DOT].astype(np.float64, copy=False)
            total += float(chunk.sum())
            squares += float(chunk @ chunk)
    return {"sum": total, "sum_squares": squares}


def _count(
    finite: npt.NDArray[np.floating], smallest: float, largest: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    # Halved first, since the difference of two finite numbers may overflow.
    _, exponent = math.frexp(largest / 2 - smallest / 2)
    exponent = max(exponent + 2 - _MAX_BUCKETS.bit_length(), _MIN_EXPONENT)
    first = _floor_scaled(smallest, exponent)
    buckets = _floor_scaled(largest, exponent) - first + 1
    may_underflow = finite.dtype == np.float64 and exponent > 0 and smallest < 0
    # Scaling up float32, which most arrays are, is exact: nothing underflows.
    exact = np.float32 if finite.dtype == np.float32 and exponent <= 0 else np.float64
    scratch = np.empty(min(finite.size, _CHUNK), exact)
    index = np.empty(0, np.uint8)
    by_pair = np.zeros(256 * buckets, np.int64)
    for start in range(0, finite.size, _CHUNK):
        chunk = finite[start : start + _CHUNK].astype(exact, copy=False)
        scaled = _scale(chunk, -exponent, scratch[: chunk.size])
        np.floor(scaled, out=scaled)
        if may_underflow:
            scaled[(chunk < 0) & (scaled == 0)] = -1
        scaled -= exact(first)
        index = scaled.astype(np.uint8)
        # Two neighbours form one 16-bit number, which halves the counting.
        pairs = index[: index.size // 2 * 2].view(np.uint16)
        by_pair += np.bincount(pairs, minlength=by_pair.size)
    by_pair = by_pair.reshape(buckets, 256)
    counts = by_pair.sum(axis=0)[:buckets] + by_pair.sum(axis=1)
    if finite.size % 2:
        counts[index[-1]] += 1
    inner = _scale((first + np.arange(1, buckets)).astype(np.float64), exponent)
    edges = np.concatenate([[smallest], inner, [largest]])
    if edges[-2] == largest:
        # The largest value is in a bucket of width 0, which the bucket before it absorbs.
        edges, counts = edges[:-1], np.append(counts[:-2], counts[-2] + counts[-1])
    return edges, counts.astype(np.float64)


def _floor_scaled(value: float, exponent: int) -> int:
    scaled = math.ldexp(value, -exponent)
    # A tiny negative number may come out as zero, though its floor is -1.
    return -1 if value < 0 and scaled == 0 else math.floor(scaled)


def _scale(
    values: npt.NDArray[np.floating], exponent: int, out: npt.NDArray[np.floating] | None = None
) -> npt.NDArray[np.floating]:
    """Multiply by a power of two; `ldexp` is slow, and used only for extreme ones."""
    if abs(exponent) < (126 if values.dtype == np.float32 else 1000):
        return np.multiply(values, values.dtype.type(math.ldexp(1.0, exponent)), out=out)
    return np.ldexp(values, exponent, out=out)
