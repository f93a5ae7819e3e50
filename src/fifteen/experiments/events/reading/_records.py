"""Scan bytes for records, and skip damage."""

import dataclasses
import functools
import re

import numpy as np

from .._tfrecord import FOOTER, HEADER, OVERHEAD, crc32c, masked, payload_length

_NONZERO = re.compile(rb"[^\0]")

_MAX_CHECKSUM_PASSES = 16
"""A hostile file may hold overlapping records. This bounds the work for each of its bytes."""

_length_of = functools.lru_cache(4096)(payload_length)
"""Many records have one length, and so one header."""

_MIN_BATCH, _MAX_BATCH = 8, 4096
"""How many records are checked at once: few after damage, since all after a bad one are in vain."""


Damage = tuple[int, int, str]
"""Start and end of bytes of a file that are skipped, and why."""


@dataclasses.dataclass(slots=True)
class Gap:
    """Bytes after which no record has been found yet."""

    start: int  # An offset in the file.
    reason: str  # Why no record can be read there.
    is_torn: bool  # They begin with a record whose end is beyond the file.
    is_zero: bool = True  # All of them are zero, as after a crash of the machine.


@dataclasses.dataclass(slots=True)
class Scan:
    """The records in a part of a file. All offsets are relative to the file."""

    end: int  # The start of the next part.
    gap: Gap | None  # Damage up to the end of the part.
    offsets: list[int] = dataclasses.field(default_factory=list[int])
    payloads: list[bytes] = dataclasses.field(default_factory=list[bytes])
    damages: list[Damage] = dataclasses.field(default_factory=list[Damage])
    needed: int = HEADER.size  # The minimum size of the next part.


def scan(buffer: bytes, base: int, file_end: int, gap: Gap | None = None) -> Scan:
    """Scan the part of a file at the offset `base`; `gap` is the end of the previous part."""
    found = Scan(base, gap)
    budget = _MAX_CHECKSUM_PASSES * len(buffer)
    at = search_from = 0
    batch = _MAX_BATCH
    while True:
        if found.gap is not None:
            start = _find_header(buffer, search_from, file_end - base) if budget > 0 else None
            if start is None:
                rest = max(0, found.gap.start - base)
                found.gap.is_zero = found.gap.is_zero and not _NONZERO.search(buffer, rest)
                found.end = base + len(buffer)
                if found.end < file_end:
                    # A header may span this buffer and the next.
                    found.end = max(base + 1, found.end - HEADER.size + 1)
                return found
            found.damages.append((found.gap.start, base + start, found.gap.reason))
            found.gap, at, batch = None, start, _MIN_BATCH
        offsets, payloads, at = _complete_records(buffer, at, batch)
        count = _count_intact(buffer, offsets, payloads)
        found.offsets += [base + offset for offset in offsets[:count]]
        found.payloads += payloads[:count]
        if count < len(offsets):
            at = offsets[count]
            budget -= sum(map(len, payloads[count:]))
            found.gap = Gap(base + at, "the checksum does not match the data", is_torn=False)
        elif count == batch:
            batch = min(2 * batch, _MAX_BATCH)
        else:
            length = _length_of(buffer[at : at + HEADER.size])
            size = HEADER.size if length is None else length + OVERHEAD
            is_torn = base + at + size > file_end
            if base + at == file_end or (at + size > len(buffer) and not is_torn):
                found.end, found.needed = base + at, size
                return found
            found.gap = Gap(base + at, "no intact record there", is_torn)
        search_from = at + 1


def _complete_records(buffer: bytes, at: int, limit: int) -> tuple[list[int], list[bytes], int]:
    """Return offsets and payloads of the records from `at` on, and the end of the last one."""
    offsets: list[int] = []
    payloads: list[bytes] = []
    for _ in range(limit):
        start = at + HEADER.size
        length = _length_of(buffer[at:start])
        if length is None or at + length + OVERHEAD > len(buffer):
            break
        offsets.append(at)
        payloads.append(buffer[start : start + length])
        at += length + OVERHEAD
    return offsets, payloads, at


def _count_intact(buffer: bytes, offsets: list[int], payloads: list[bytes]) -> int:
    """Return the number of records before the first wrong checksum."""
    if len(payloads) < _MIN_BATCH:
        for count, (offset, payload) in enumerate(zip(offsets, payloads, strict=True)):
            (stored,) = FOOTER.unpack_from(buffer, offset + HEADER.size + len(payload))
            if stored != masked(crc32c(payload)):
                return count
        return len(offsets)
    crcs = np.fromiter(map(crc32c, payloads), np.uint32, len(payloads))
    sizes = np.fromiter(map(len, payloads), np.int64, len(payloads))
    footers = np.array(offsets, np.int64) + HEADER.size + sizes
    stored = np.frombuffer(buffer, np.uint8)[footers[:, np.newaxis] + np.arange(FOOTER.size)]
    is_wrong = stored.view("<u4")[:, 0] != masked(crcs)
    return int(is_wrong.argmax()) if is_wrong.any() else len(offsets)


def _find_header(buffer: bytes, at: int, end: int) -> int | None:
    """Return the offset of the next intact header whose record ends before `end`."""
    # No record has 4 GiB, so the upper half of its length is zero.
    while (zeros := buffer.find(bytes(4), at + 4)) >= 0:
        at = zeros - 4
        length = payload_length(buffer[at : at + HEADER.size])
        if length is not None and at + length + OVERHEAD <= end:
            return at
        # A region of zeros has no header, so its bytes are not tried one by one.
        nonzero = _NONZERO.search(buffer, at)
        if nonzero is None:
            return None
        at = max(at + 1, nonzero.start() - HEADER.size + 1)
    return None
