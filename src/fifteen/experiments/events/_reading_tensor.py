"""Tensors and histograms in an event, as NumPy arrays.

Field numbers are those of TensorFlow's `tensor.proto`, `tensor_shape.proto`, `types.proto` and
`histogram.proto`.
"""

import math
import struct
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from . import _reading_wire as wire
from ._reading_wire import MalformedError

Buckets = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Edges `(n + 1,)` and counts `(n,)`; both empty for a histogram of nothing."""

_DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    4: np.dtype("u1"),
    5: np.dtype("<i2"),
    6: np.dtype("i1"),
    9: np.dtype("<i8"),
    10: np.dtype("?"),
    14: np.dtype(ml_dtypes.bfloat16),
    17: np.dtype("<u2"),
    19: np.dtype("<f2"),
    22: np.dtype("<u4"),
    23: np.dtype("<u8"),
    24: np.dtype(ml_dtypes.float8_e5m2),
    25: np.dtype(ml_dtypes.float8_e4m3fn),
}
_DOUBLE = struct.Struct("<d")
_HALVES = (14, 19)
"""The types whose elements may stand as integers that hold their bits."""

_FLOAT_FIELD, _DOUBLE_FIELD = 5, 6
_VARINT_FIELDS = (7, 10, 11, 13, 16, 17)
_FIXED_WIDTH = np.dtype("<f4"), np.dtype("<f8"), np.dtype("<i4"), np.dtype("<i8")

_MOST_DIMENSIONS = 32
_MOST_ELEMENTS_IMPLIED = 1 << 20
"""Of a tensor whose last element stands for all that follow, which takes no bytes in the file."""


def tensor(
    data: bytes, start: int, end: int
) -> tuple[npt.NDArray[Any] | None, tuple[int, np.dtype[Any]] | None]:
    """Decode a `TensorProto`.

    Returns:
        The array, or None where it does not hold numbers; and, for the only element of a tensor
        that has fixed width, where it stands and of which type it is.

    Raises:
        MalformedError: the bytes are no tensor.
    """
    kind = wire.int_field(data, start, end, 1)
    dtype = _DTYPES.get(kind)
    if dtype is None:
        return None, None
    shape = _shape(data, *(wire.bytes_field(data, start, end, 2) or (0, 0)))
    size = math.prod(shape)
    content = wire.bytes_field(data, start, end, 4)
    place: tuple[int, np.dtype[Any]] | None = None
    if content is not None and content[1] > content[0]:
        if (content[1] - content[0]) % dtype.itemsize:
            raise MalformedError("a tensor's content ends in the middle of an element")
        elements = np.frombuffer(data[slice(*content)], dtype)
        if dtype in _FIXED_WIDTH:
            place = content[0], dtype
    else:
        elements, place = _typed_elements(data, start, end, kind, dtype)
    if 0 < elements.size < size <= _MOST_ELEMENTS_IMPLIED:
        elements = np.concatenate([elements, np.repeat(elements[-1:], size - elements.size)])
        place = None
    if elements.size != size:
        raise MalformedError(f"a tensor of shape {shape} has {elements.size} elements")
    return elements.reshape(shape), place


def _typed_elements(
    data: bytes, start: int, end: int, kind: int, dtype: np.dtype[Any]
) -> tuple[npt.NDArray[Any], tuple[int, np.dtype[Any]] | None]:
    """Decode the elements that stand in the field of their type."""
    for field, stored in ((_FLOAT_FIELD, np.dtype("<f4")), (_DOUBLE_FIELD, np.dtype("<f8"))):
        if dtype == stored:
            elements = wire.fixed_numbers(data, start, end, field, stored)
            packed = wire.bytes_field(data, start, end, field)
            is_alone = packed is not None and elements.size == 1
            return elements, (packed[0], stored) if packed is not None and is_alone else None
    numbers = wire.varints(data, start, end, _VARINT_FIELDS)
    if kind in _HALVES:
        return numbers.astype("<u2").view(dtype), None
    return (numbers if dtype.kind == "u" else numbers.view(np.int64)).astype(dtype), None


def _shape(data: bytes, start: int, end: int) -> tuple[int, ...]:
    lengths = tuple(
        wire.int_field(data, at, stop, 1)
        for field, kind, at, stop in wire.fields(data, start, end)
        if field == 2 and kind == wire.BYTES
    )
    if len(lengths) > _MOST_DIMENSIONS or min(lengths, default=0) < 0:
        raise MalformedError(f"no tensor has the shape {lengths[: _MOST_DIMENSIONS + 1]}")
    return lengths


def buckets_of_tensor(array: npt.NDArray[Any]) -> Buckets | None:
    """Return the buckets of TensorFlow 2, whose rows are left edge, right edge and count."""
    if array.ndim != 2 or array.shape[1] != 3:
        return None
    lefts, rights, counts = array.astype(np.float64).T
    return np.append(lefts, rights[-1:]), counts.copy()


def buckets_of_histogram(data: bytes, start: int, end: int) -> Buckets:
    """Decode a `HistogramProto`, which has right edges only.

    As in TensorBoard (`data_compat.py`), empty buckets at both ends are left out, and the
    smallest and the largest value stand for the outermost edges, which may be the largest finite
    numbers in the file.

    Raises:
        MalformedError: the bytes are no histogram.
    """
    extremes = {1: 0.0, 2: 0.0}
    parts: dict[int, list[bytes]] = {6: [], 7: []}
    for field, kind, at, stop in wire.fields(data, start, end):
        if field in parts and kind != wire.VARINT:
            parts[field].append(data[at:stop])
        elif field in extremes and kind == wire.FIXED64:
            (extremes[field],) = _DOUBLE.unpack_from(data, at)
    limits, counts = (wire.as_numbers(each, "<f8") for each in parts.values())
    if len(limits) != len(counts):
        raise MalformedError(f"a histogram has {len(limits)} edges and {len(counts)} counts")
    filled = np.flatnonzero(counts > 0)
    if not filled.size:
        return np.zeros(0), np.zeros(0)
    first, last = int(filled[0]), int(filled[-1])
    edges = np.concatenate([[extremes[1]], limits[first:last], [extremes[2]]])
    return edges, counts[first : last + 1].astype(np.float64)
