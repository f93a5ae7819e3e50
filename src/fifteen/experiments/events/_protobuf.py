"""The few protocol buffer messages of an event file, as bytes.

Field numbers are those of TensorFlow's `event.proto`, `summary.proto` and `histogram.proto`. They
are written by hand because a scalar event is always the same bytes around its numbers, which is
what lets many be written at once.
"""

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

SESSION_START = 1
"""`SessionLog.START`: TensorBoard hides what came before and lies at or after the event's step."""


def varint(number: int) -> bytes:
    """Encode an int64; a negative one takes ten bytes, as the format has it."""
    number &= 0xFFFFFFFFFFFFFFFF
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def event(wall_time: float, step: int, content: bytes) -> bytes:
    """Encode an `Event` whose `what` is already encoded as a field."""
    return (
        _key(1, _FIXED64) + struct.pack("<d", wall_time) + _key(2, _VARINT) + varint(step) + content
    )


def file_version() -> bytes:
    """Encode the field with which an event file begins."""
    return _nested(3, b"brain.Event:2")


def summary(values: Sequence[bytes]) -> bytes:
    """Encode the field that holds a `Summary` of encoded values."""
    return _nested(5, b"".join(_nested(1, value) for value in values))


def session_start() -> bytes:
    """Encode the field that marks the start of a session."""
    return _nested(7, _key(1, _VARINT) + varint(SESSION_START))


def scalar_value(tag: str, number: float = 0.0) -> bytes:
    """Encode a `Summary.Value`; its last four bytes are the number as float32."""
    return _nested(1, tag.encode()) + _key(2, _FIXED32) + struct.pack("<f", number)


def histogram_value(
    tag: str, edges: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], moments: "Moments"
) -> bytes:
    """Encode a `Summary.Value` with a `HistogramProto`.

    Args:
        tag: its tag.
        edges: `(n + 1,)` ascending bucket edges.
        counts: `(n,)` how many values lie in each bucket.
        moments: smallest, largest, number, sum and sum of squares of the values.
    """
    # The format states the right edge of each bucket; the first one given has no left edge, so
    # that the left edge of ours stands as the right edge of an empty bucket.
    limits = edges.astype("<f8").tobytes()
    buckets = np.concatenate([[0.0], counts]).astype("<f8").tobytes()
    numbers = b"".join(
        _key(field, _FIXED64) + struct.pack("<d", number)
        for field, number in enumerate(moments, start=1)
    )
    encoded = numbers + _nested(6, limits) + _nested(7, buckets)
    return _nested(1, tag.encode()) + _nested(5, encoded)


Moments = tuple[float, float, float, float, float]
"""`min`, `max`, `num`, `sum` and `sum_squares`, in the order of their fields."""


def _nested(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + varint(len(content)) + content


def _key(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)
