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
_WINDOW = 1 << 22
_STEPS = 256
_SHORT_RECORD = 1 << 10
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
    found: list[Integers] = []
    while True:
        begin = at
        starts, at = _walk_steps(buffer, at)
        found.append(starts)
        if len(starts) < _STEPS:
            return np.concatenate(found), at, _records.length_at(buffer, at)
        if at - begin < _STEPS * _SHORT_RECORD:
            # Looking for headers at every byte takes less time than following many short records.
            places, ends = _headers(buffer, at, min(at + _WINDOW, len(buffer)), len(buffer))
            if places.size and places[0] == at:
                broken = np.flatnonzero(ends[:-1] != places[1:])
                count = int(broken[0]) + 1 if broken.size else len(places)
                found.append(places[:count])
                at = int(ends[count - 1])


def _walk_steps(buffer: bytes, at: int) -> tuple[Integers, int]:
    """Follow some records; return where the headers of the whole ones lie, and the next one."""
    found: list[int] = []
    unpack, last = _LENGTH.unpack_from, len(buffer) - _records.OVERHEAD_BYTES
    place = at
    while place <= last and len(found) < _STEPS:
        found.append(place)
        place += unpack(buffer, place)[0] + _records.OVERHEAD_BYTES
    if place > len(buffer):
        # The last one found is not whole.
        place = found.pop()
    starts = np.array(found, np.int64)
    # All checksums are compared at once, so that a wrong one ends the walk afterwards.
    wrong = np.flatnonzero(~_are_headers(buffer, starts))
    return (starts[: wrong[0]], int(starts[wrong[0]])) if wrong.size else (starts, place)


def _find_header(buffer: bytes, at: int, remaining: int) -> int | None:
    """Return where the next header lies whose checksum is right and whose record may be whole."""
    width = _FIRST_WINDOW
    while at < len(buffer):
        end = min(at + width, len(buffer))
        places, _ = _headers(buffer, at, end, remaining)
        if places.size:
            return int(places[0])
        at, width = end, min(4 * width, _WINDOW)
    return None


def _headers(buffer: bytes, at: int, end: int, limit: int) -> tuple[Integers, Integers]:
    """Return where all headers begin between two places whose records end by a limit, and where.

    Whatever has the right checksum counts as a header: chance makes one in 2**64 bytes.
    """
    end = min(end, len(buffer) - _records.HEADER_BYTES + 1)
    if end <= at:
        return _NONE, _NONE
    # No record has 4 GiB, so that only four zeros can be the upper half of a length. Where its
    # lower half is zero too, there is no record but at most an empty one, and in a region of
    # zeros, which a crash may leave, no checksum has to be computed.
    is_zero = np.frombuffer(buffer, np.uint8, end - at + 7, at) == 0
    is_pair = is_zero[:-1] & is_zero[1:]
    is_half = is_pair[:-2] & is_pair[2:]
    places = np.flatnonzero(is_half[4:] & ~is_half[:-4]) + at
    places = places[_are_headers(buffer, places)]
    ends = places + _numbers(buffer, places, "<u8").astype(np.int64) + _records.OVERHEAD_BYTES
    return places[ends <= limit], ends[ends <= limit]


def _are_headers(buffer: bytes, places: Integers) -> npt.NDArray[np.bool_]:
    """Tell where the checksum of a header is right."""
    lengths = _numbers(buffer, places, "<u8")
    return _numbers(buffer, places + 8, "<u4") == checksums.of_lengths(lengths)


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
