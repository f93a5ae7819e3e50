"""Encoding the scalars of many steps at once."""

import itertools
from collections.abc import Sequence

import google_crc32c
import numpy as np
import numpy.typing as npt

from . import _protobuf, _records


def encode(
    tags: Sequence[str],
    wall_times: npt.NDArray[np.float64],
    steps: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
) -> bytes:
    """Encode the scalars of `n` steps, one event a step, as records.

    Args:
        tags: `k` of them.
        wall_times: `(n,)` seconds since the epoch.
        steps: `(n,)`.
        values: `(n, k)`.
    """
    lengths = _varint_lengths(steps)
    if not steps.size or (lengths == lengths[0]).all():
        return _encode_alike(tags, wall_times, steps, values)
    # Steps of different length in bytes make records of different length. Runs keep the order.
    starts = np.flatnonzero(np.diff(lengths)) + 1
    bounds = [0, *starts.tolist(), len(steps)]
    return b"".join(
        _encode_alike(tags, wall_times[i:j], steps[i:j], values[i:j])
        for i, j in itertools.pairwise(bounds)
    )


def _encode_alike(
    tags: Sequence[str],
    wall_times: npt.NDArray[np.float64],
    steps: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
) -> bytes:
    """Encode steps whose varints are equally long: the same bytes around other numbers."""
    if not steps.size:
        return b""
    encoded = [_protobuf.scalar_value(tag) for tag in tags]
    template = _protobuf.event(0.0, int(steps[0]), _protobuf.summary(encoded))
    skeleton = np.frombuffer(
        _records.header(len(template)) + template + bytes(_records.FOOTER_BYTES), np.uint8
    )
    block = np.tile(skeleton, (len(steps), 1))
    # An event begins with the key of its wall time, the time, and the key of its step.
    time_at = _records.HEADER_BYTES + 1
    step_at = time_at + 8 + 1
    block[:, time_at : time_at + 8] = wall_times.astype("<f8").view(np.uint8).reshape(-1, 8)
    step_bytes = _varint_lengths(steps[:1])[0]
    block[:, step_at : step_at + step_bytes] = _varints(steps, int(step_bytes))
    # The values' numbers are their last four bytes; found from the end of the template backwards.
    ends, end = [], len(skeleton) - _records.FOOTER_BYTES
    for value in reversed(encoded):
        ends.append(end)
        end -= len(value) + 1 + len(_protobuf.varint(len(value)))
    columns = (np.array(ends[::-1])[:, None] + np.arange(-4, 0)).reshape(-1)
    block[:, columns] = values.astype("<f4").view(np.uint8).reshape(len(steps), -1)
    return _with_checksums(block)


def _with_checksums(block: npt.NDArray[np.uint8]) -> bytes:
    start, end = _records.HEADER_BYTES, block.shape[1] - _records.FOOTER_BYTES
    raw = block.tobytes()
    width = block.shape[1]
    checksums = np.fromiter(
        (google_crc32c.value(raw[at + start : at + end]) for at in range(0, len(raw), width)),
        np.uint32,
        len(block),
    )
    block[:, end:] = _records.mask_all(checksums).astype("<u4").view(np.uint8).reshape(-1, 4)
    return block.tobytes()


def _varint_lengths(steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    bounds = np.array([1 << 7 * n for n in range(1, 9)], np.int64)
    lengths = np.searchsorted(bounds, steps, side="right") + 1
    return np.where(steps < 0, 10, lengths)


def _varints(steps: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.uint8]:
    """Encode steps whose varints are `length` bytes long, as `(n, length)`."""
    unsigned = steps.astype(np.uint64)
    groups = np.empty((len(steps), length), np.uint8)
    for place in range(length):
        group = (unsigned >> np.uint64(7 * place)) & np.uint64(0x7F)
        groups[:, place] = group | np.uint64(0 if place == length - 1 else 0x80)
    return groups
