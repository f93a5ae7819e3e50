"""TensorFlow's tensors and histograms as NumPy arrays."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Buckets = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Edges `(n + 1,)` and counts `(n,)`."""

_DTYPES: dict[int, tuple[str, npt.DTypeLike]] = {
    1: ("float_val", "<f4"),
    2: ("double_val", "<f8"),
    3: ("int_val", "<i4"),
    4: ("int_val", "u1"),
    5: ("int_val", "<i2"),
    6: ("int_val", "i1"),
    9: ("int64_val", "<i8"),
    10: ("bool_val", "?"),
    14: ("half_val", ml_dtypes.bfloat16),
    17: ("int_val", "<u2"),
    19: ("half_val", "<f2"),
    22: ("", "<u4"),
    23: ("", "<u8"),
    24: ("", ml_dtypes.float8_e5m2),
    25: ("", ml_dtypes.float8_e4m3fn),
}
"""TensorFlow's number of a dtype (`types.proto`): the field of its elements, and NumPy's dtype.

An empty name is a field that tensorboardX's messages lack.
"""

_MAX_IMPLIED_ELEMENTS = 1 << 20


def to_numpy(tensor: Any) -> npt.NDArray[Any] | None:
    """Return a `TensorProto` as an array; None if its elements are not numbers.

    Raises `ValueError` or `OverflowError` if its elements do not fill its shape or dtype.
    """
    if tensor.dtype not in _DTYPES:
        return None
    field, dtype = _DTYPES[tensor.dtype]
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if min(shape, default=0) < 0:
        raise ValueError(f"a tensor has the shape {shape}")
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    stored = getattr(tensor, field) if field else ()
    elements = np.array(stored, "<u2" if field == "half_val" else dtype).view(dtype)
    missing = math.prod(shape) - elements.size
    if elements.size and 0 < missing <= _MAX_IMPLIED_ELEMENTS:
        # The last element is repeated up to the end.
        elements = np.append(elements, np.repeat(elements[-1:], missing))
    return elements.reshape(shape)


def buckets_of_tensor(tensor: Any) -> Buckets | None:
    """Return the buckets of TensorFlow 2, whose rows are left edge, right edge and count."""
    array = to_numpy(tensor)
    if array is None or array.ndim != 2 or array.shape[1] != 3:
        return None
    lefts, rights, counts = array.astype(np.float64).T
    return np.append(lefts, rights[-1:]) if len(array) else np.zeros(1), counts.copy()


def buckets_of_histogram(histogram: Any) -> Buckets:
    """Return the buckets of a `HistogramProto`, which states right edges only.

    As in TensorBoard (`data_compat.py`), empty buckets at both ends are dropped. The outermost
    edges are the smallest and the largest value, since the file may have the largest finite
    numbers there. Raises `ValueError` if the numbers of edges and counts differ.
    """
    limits, counts = np.array(histogram.bucket_limit), np.array(histogram.bucket)
    if len(limits) != len(counts):
        raise ValueError(f"a histogram has {len(limits)} edges and {len(counts)} counts")
    filled = np.flatnonzero(counts > 0)
    if not filled.size:
        return np.array([histogram.min]), np.zeros(0)
    first, last = int(filled[0]), int(filled[-1])
    edges = np.concatenate([[histogram.min], limits[first:last], [histogram.max]])
    return edges, counts[first : last + 1]
