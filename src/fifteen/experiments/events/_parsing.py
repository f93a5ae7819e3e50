"""Parsing one event: bytes of a protocol buffer to what is read back of it.

Field numbers are those of TensorFlow's `event.proto`, `summary.proto`, `tensor.proto` and
`histogram.proto`. What is not needed is skipped, and nothing in the bytes is trusted: a length
that leads out of its message ends the parse with `ValueError`.
"""

import dataclasses
import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_START = 1
_DTYPES: dict[int, str] = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?",
    14: "bfloat16", 17: "<u2", 19: "<f2", 22: "<u4", 23: "<u8",
}  # fmt: skip
"""NumPy's names for the numbers of TensorFlow's `DataType`."""

_TYPED_FIELDS: dict[int, str] = {5: "<f4", 6: "<f8"}
"""Fields of `TensorProto` that hold numbers of fixed width: `float_val`, `double_val`."""

Buckets = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclasses.dataclass(slots=True)
class Event:
    """What is read back of one event.

    Attributes:
        wall_time: seconds since the epoch.
        step: the step.
        scalars: tag and value of each scalar.
        histograms: tag, edges and counts of each histogram.
        is_session_start: whether it marks the start of a session.
        step_at: where the step's varint begins and ends.
        values_at: where each scalar's four bytes begin, if the event holds nothing else.
    """

    wall_time: float = 0.0
    step: int = 0
    scalars: list[tuple[str, float]] = dataclasses.field(default_factory=list[tuple[str, float]])
    histograms: list[tuple[str, Buckets]] = dataclasses.field(
        default_factory=list[tuple[str, Buckets]]
    )
    is_session_start: bool = False
    time_at: int = -1
    step_at: tuple[int, int] | None = None
    values_at: list[int] | None = None


def parse_event(data: bytes) -> Event:
    """Parse an `Event`.

    Raises:
        ValueError: the bytes are no event.
    """
    event = Event(values_at=[])
    for field, wire, start, end in _fields(data, 0, len(data)):
        if field == 1 and wire == 1:
            (event.wall_time,) = struct.unpack_from("<d", data, start)
            event.time_at = start
        elif field == 2 and wire == 0:
            event.step = _signed(_varint(data, start, end)[0])
            event.step_at = (start, end)
        elif field == 5 and wire == 2:
            _parse_summary(data, start, end, event)
        else:
            event.values_at = None
            if field == 7 and wire == 2:
                event.is_session_start = _is_start(data, start, end)
    return event


def _parse_summary(data: bytes, start: int, end: int, event: Event) -> None:
    for field, wire, value_start, value_end in _fields(data, start, end):
        if field == 1 and wire == 2:
            _parse_value(data, value_start, value_end, event)
        else:
            event.values_at = None


def _parse_value(data: bytes, start: int, end: int, event: Event) -> None:
    tag, plugin, number_at = "", "", -1
    tensor: tuple[int, int] | None = None
    histogram: tuple[int, int] | None = None
    for field, wire, at, after in _fields(data, start, end):
        if field == 1 and wire == 2:
            tag = data[at:after].decode("utf-8", "replace")
        elif field == 2 and wire == 5:
            number_at = at
        elif field == 5 and wire == 2:
            histogram = (at, after)
        elif field == 8 and wire == 2:
            tensor = (at, after)
        elif field == 9 and wire == 2:
            plugin = _plugin(data, at, after)
    if number_at >= 0:
        event.scalars.append((tag, struct.unpack_from("<f", data, number_at)[0]))
        if event.values_at is not None:
            event.values_at.append(number_at)
        return
    event.values_at = None
    if histogram is not None:
        event.histograms.append((tag, _buckets(data, *histogram)))
    elif tensor is not None and plugin in ("scalars", "histograms", ""):
        numbers = _tensor(data, *tensor)
        if numbers is None:
            return
        if plugin != "histograms" and numbers.size == 1:
            event.scalars.append((tag, float(numbers.reshape(-1)[0])))
        elif plugin == "histograms" and numbers.size % 3 == 0:
            event.histograms.append((tag, _buckets_of_tensor(numbers.reshape(-1, 3))))


def _plugin(data: bytes, start: int, end: int) -> str:
    for field, wire, at, after in _fields(data, start, end):
        if field == 1 and wire == 2:
            for inner, inner_wire, name_at, name_end in _fields(data, at, after):
                if inner == 1 and inner_wire == 2:
                    return data[name_at:name_end].decode("utf-8", "replace")
    return ""


def _tensor(data: bytes, start: int, end: int) -> npt.NDArray[np.float64] | None:
    """Return the numbers of a `TensorProto`, flat; None if it holds no numbers."""
    dtype, content = "", b""
    numbers: list[float] = []
    for field, wire, at, after in _fields(data, start, end):
        if field == 1 and wire == 0:
            dtype = _DTYPES.get(_varint(data, at, after)[0], "")
        elif field == 4 and wire == 2:
            content = data[at:after]
        elif field in _TYPED_FIELDS and wire in (1, 2, 5):
            numbers.extend(np.frombuffer(data[at:after], _TYPED_FIELDS[field]).tolist())
        elif field in (7, 10, 11, 13, 16, 17) and wire in (0, 2):
            # `int_val`, `int64_val`, `bool_val`, `half_val`, `uint32_val` and `uint64_val`.
            while at < after:
                number, at = _varint(data, at, after)
                numbers.append(_decode_half(number, dtype) if field == 13 else _signed(number))
    if not dtype:
        return None
    if content:
        return _of_dtype(content, dtype)
    return np.array(numbers, np.float64)


def _decode_half(bits: int, dtype: str) -> float:
    return float(_of_dtype(struct.pack("<H", bits & 0xFFFF), dtype)[0])


def _of_dtype(content: bytes, dtype: str) -> npt.NDArray[np.float64]:
    if dtype == "bfloat16":
        # A bfloat16 is the upper half of a float32.
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    return np.frombuffer(content, dtype).astype(np.float64)


def _buckets(data: bytes, start: int, end: int) -> Buckets:
    """Return the edges and counts of a `HistogramProto`, which states right edges only."""
    smallest = 0.0
    limits: list[float] = []
    counts: list[float] = []
    for field, wire, at, after in _fields(data, start, end):
        if field == 1 and wire == 1:
            (smallest,) = struct.unpack_from("<d", data, at)
        elif field in (6, 7) and wire in (1, 2):
            (limits if field == 6 else counts).extend(np.frombuffer(data[at:after], "<f8").tolist())
    if len(limits) != len(counts):
        raise ValueError("a histogram has edges and counts of different number")
    if len(counts) > 1 and counts[0] == 0:
        # The left edge of the first bucket stands as the right edge of an empty one.
        return np.array(limits), np.array(counts[1:])
    return np.array([min(smallest, *limits[:1]), *limits]), np.array(counts)


def _buckets_of_tensor(rows: npt.NDArray[np.float64]) -> Buckets:
    return np.append(rows[:, 0], rows[-1:, 1]), rows[:, 2].copy()


def _is_start(data: bytes, start: int, end: int) -> bool:
    return any(
        field == 1 and wire == 0 and _varint(data, at, after)[0] == _START
        for field, wire, at, after in _fields(data, start, end)
    )


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, and where the content begins and ends, of each field."""
    while at < end:
        key, at = _varint(data, at, end)
        wire = key & 7
        if wire == 0:
            _, after = _varint(data, at, end)
        elif wire == 1:
            after = at + 8
        elif wire == 5:
            after = at + 4
        elif wire == 2:
            length, at = _varint(data, at, end)
            after = at + length
        else:
            raise ValueError(f"unknown wire type {wire}")
        if after > end:
            raise ValueError("a field leads out of its message")
        yield key >> 3, wire, at, after
        at = after


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    number = 0
    for place in range(10):
        if at >= end:
            break
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at
    raise ValueError("a number does not end")


def _signed(number: int) -> int:
    number &= 0xFFFFFFFFFFFFFFFF
    return number - (1 << 64) if number >> 63 else number
