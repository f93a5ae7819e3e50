"""Frames: where the records of an event file lie, also past damage."""

import dataclasses
import struct

import numpy as np
import numpy.typing as npt

from . import _reading_checksums as checksums
from . import _records

Integers = npt.NDArray[np.int64]

_LENGTH = struct.Struct("<Q")
_FIRST_WINDOW = 1 << 16
_MOST_SEARCHES = 1_000
"""Of one buffer. Each may take as long as the buffer is, and no honest file needs more."""


@dataclasses.dataclass(slots=True)
class Frames:
    """The records in a buffer.

    Attributes:
        starts: `(n,)` where the data of each record begins.
        ends: `(n,)` where it ends, and its checksum begins.
        gaps: where bytes begin and end that are no record, and that a record follows.
        end: how far all that is understood. What follows is the beginning of a record that goes
            on behind the buffer, or what `is_lost` says.
        wanted: how many bytes from `end` on are needed to go on.
        is_lost: what follows `end` begins no record, and the buffer holds none after it.
        is_torn: it begins a record that the file does not hold whole.
    """

    starts: Integers
    ends: Integers
    gaps: list[tuple[int, int]]
    end: int
    wanted: int = _records.HEADER_BYTES
    is_lost: bool = False
    is_torn: bool = False


def find_frames(buffer: bytes, remaining: int, is_within_gap: bool = False) -> Frames:
    """Find the records in a buffer.

    Args:
        buffer: a part of a file.
        remaining: how many bytes the file has from the beginning of the buffer on.
        is_within_gap: the buffer goes on with what the last one lost.
    """
    frames = Frames(_NONE, _NONE, [], 0)
    found: list[Integers] = [_NONE]
    if is_within_gap:
        _skip(buffer, 0, 0, remaining, frames)
    for _ in range(_MOST_SEARCHES):
        if frames.is_lost:
            break
        starts, at, length = _walk(buffer, frames.end)
        frames.end = at
        needed = _records.HEADER_BYTES if length is None else length + _records.OVERHEAD_BYTES
        if needed > len(buffer) - at and needed <= remaining - at:
            frames.wanted = needed
            found.append(starts)
            break
        frames.is_torn = needed > remaining - at
        if starts.size and length is None and not _is_intact(buffer, starts):
            # That the record is damaged and that nothing begins where it should end means that
            # its end was never written. What was written next lies within it.
            frames.end, starts = int(starts[-1]), starts[:-1]
            frames.is_torn = False
        found.append(starts)
        _skip(buffer, frames.end, frames.end + 1, remaining, frames)
    else:
        frames.is_lost = True
    headers = np.concatenate(found)
    frames.starts = headers + _records.HEADER_BYTES
    frames.ends = frames.starts + _numbers(buffer, headers, "<u8").astype(np.int64)
    return frames


_NONE: Integers = np.zeros(0, np.int64)


def _skip(buffer: bytes, gap: int, at: int, remaining: int, frames: Frames) -> None:
    """Go on at the next record behind `at`, and note the gap before it."""
    place = _find_header(buffer, at, remaining)
    if place is None:
        frames.end, frames.is_lost = gap, True
    else:
        frames.gaps.append((gap, place))
        frames.end = place


def _walk(buffer: bytes, at: int) -> tuple[Integers, int, int | None]:
    """Follow the lengths of records from one to the next.

    Returns:
        Where the headers of the records lie that are whole; where the next one would; and the
        length that it states, or None where there is no whole header.
    """
    found: list[int] = []
    unpack, last = _LENGTH.unpack_from, len(buffer) - _records.OVERHEAD_BYTES
    place = at
    while place <= last:
        found.append(place)
        place += unpack(buffer, place)[0] + _records.OVERHEAD_BYTES
    if place > len(buffer):
        # The last one found is not whole.
        place = found.pop()
    starts = np.array(found, np.int64)
    # All checksums are compared at once, so that a wrong one ends the walk afterwards.
    lengths = _numbers(buffer, starts, "<u8")
    is_right = _numbers(buffer, starts + 8, "<u4") == checksums.of_lengths(lengths)
    if not is_right.all():
        wrong = int(np.argmin(is_right))
        return starts[:wrong], int(starts[wrong]), None
    return starts, place, _records.length_at(buffer, place)


def _find_header(buffer: bytes, at: int, remaining: int) -> int | None:
    """Return where the next header lies whose checksum is right and whose record may be whole."""
    width = _FIRST_WINDOW
    last = len(buffer) - _records.HEADER_BYTES
    while at <= last:
        count = min(width, last + 1 - at)
        # No record has 4 GiB, so that only four zeros can be the upper half of a length.
        upper_halves = np.ndarray(count, "<u4", buffer, at + 4, (1,))
        places = np.flatnonzero(upper_halves == 0) + at
        lengths = _numbers(buffer, places, "<u8")
        is_right = _numbers(buffer, places + 8, "<u4") == checksums.of_lengths(lengths)
        ends = places + lengths.astype(np.int64) + _records.OVERHEAD_BYTES
        fitting = places[is_right & (ends <= remaining)]
        if fitting.size:
            return int(fitting[0])
        at, width = at + count, 4 * width
    return None


def _numbers(buffer: bytes, places: Integers, dtype: str) -> npt.NDArray[np.uint64]:
    """Return the numbers at some places of a buffer."""
    size = np.dtype(dtype).itemsize
    if not places.size:
        return np.zeros(0, np.uint64)
    windows = np.ndarray(len(buffer) - size + 1, dtype, buffer, 0, (1,))
    return windows[places].astype(np.uint64)


def _is_intact(buffer: bytes, headers: Integers) -> bool:
    at = int(headers[-1])
    length = _records.length_at(buffer, at)
    return length is not None and _records.is_intact(buffer, at, length)
