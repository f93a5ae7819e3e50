"""Encoding the scalars of many steps at once."""

import dataclasses
import functools

import google_crc32c
import numpy as np
import numpy.typing as npt

from . import _protobuf, _records


def encode(
    tags: tuple[str, ...],
    wall_times: npt.NDArray[np.float64],
    steps: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
) -> list[bytes]:
    """Encode the scalars of `n` steps, one event a step.

    Args:
        tags: `k` of them.
        wall_times: `(n,)` seconds since the epoch.
        steps: `(n,)`.
        values: `(n, k)`.

    Returns:
        A record for each step.
    """
    lengths = _varint_lengths(steps)
    # Steps of different length in bytes make records of different length.
    different = np.unique(lengths).tolist()
    if len(different) == 1:
        return _skeleton(tags, different[0]).fill(wall_times, steps, values)
    records = [b""] * len(steps)
    for length in different:
        rows = np.flatnonzero(lengths == length)
        encoded = _skeleton(tags, length).fill(wall_times[rows], steps[rows], values[rows])
        for row, record in zip(rows.tolist(), encoded, strict=True):
            records[row] = record
    return records


@dataclasses.dataclass(frozen=True)
class _Skeleton:
    """The bytes that records of the same tags share, around their numbers.

    Attributes:
        record: a record; its numbers are anything.
        step_bytes: how long the step's varint is.
        columns: where the bytes of all values are.
    """

    record: npt.NDArray[np.uint8]
    step_bytes: int
    columns: npt.NDArray[np.int64]

    def fill(
        self,
        wall_times: npt.NDArray[np.float64],
        steps: npt.NDArray[np.int64],
        values: npt.NDArray[np.float32],
    ) -> list[bytes]:
        """Return the records of steps whose varints are as long as this one's."""
        count, width = len(steps), len(self.record)
        block = np.tile(self.record, (count, 1))
        # An event begins with the key of its wall time, the time, and the key of its step.
        time_at = _records.HEADER_BYTES + 1
        step_at = time_at + 8 + 1
        block[:, time_at : time_at + 8] = _bytes_of(wall_times.astype("<f8"))
        block[:, step_at : step_at + self.step_bytes] = _varints(steps, self.step_bytes)
        block[:, self.columns] = _bytes_of(values.astype("<f4"))
        start, end = _records.HEADER_BYTES, width - _records.FOOTER_BYTES
        raw, checksum = block.tobytes(), google_crc32c.value
        checksums = np.array(
            [checksum(raw[at + start : at + end]) for at in range(0, len(raw), width)], np.uint32
        )
        block[:, end:] = _bytes_of(_records.mask_all(checksums).astype("<u4"))
        raw = block.tobytes()
        return [raw[at : at + width] for at in range(0, len(raw), width)]


@functools.lru_cache(maxsize=256)
def _skeleton(tags: tuple[str, ...], step_bytes: int) -> _Skeleton:
    values = [_protobuf.scalar_value(tag) for tag in tags]
    step = 1 << 7 * (step_bytes - 1) if step_bytes < 10 else -1
    event = _protobuf.event(0.0, step, _protobuf.summary(values))
    record = _records.header(len(event)) + event + bytes(_records.FOOTER_BYTES)
    # A value's number is its last four bytes; found from the end of the event backwards.
    ends, end = [], len(record) - _records.FOOTER_BYTES
    for value in reversed(values):
        ends.append(end)
        end -= len(value) + 1 + len(_protobuf.varint(len(value)))
    columns = (np.array(ends[::-1])[:, None] + np.arange(-4, 0)).reshape(-1)
    return _Skeleton(np.frombuffer(record, np.uint8), step_bytes, columns)


def _bytes_of(numbers: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(len(numbers), -1)


def _varint_lengths(steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    bounds = np.array([1 << 7 * n for n in range(1, 9)], np.int64)
    lengths = np.searchsorted(bounds, steps, side="right") + 1
    return np.where(steps < 0, 10, lengths)


def _varints(steps: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.uint8]:
    """Encode steps whose varints are `length` bytes long, as `(n, length)`."""
    groups = np.empty((len(steps), length), np.uint8)
    unsigned = steps.astype(np.uint64)
    for place in range(length):
        group = (unsigned >> np.uint64(7 * place)) & np.uint64(0x7F)
        groups[:, place] = group | np.uint64(0 if place == length - 1 else 0x80)
    return groups
