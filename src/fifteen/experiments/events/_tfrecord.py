"""TFRecord framing of the records in an event file.

A record is `length: uint64`, `masked CRC-32C of the length: uint32`, the payload, and
`masked CRC-32C of the payload: uint32`, all little-endian. The format and the mask are
TensorFlow's (`tensorflow/core/lib/io/record_writer.h` and `tensorflow/core/lib/hash/crc32c.h`).
"""

import struct
from collections.abc import Callable
from typing import Any

import google_crc32c

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
OVERHEAD = HEADER.size + FOOTER.size

crc32c: Callable[[bytes], int] = google_crc32c.value


def frame(payload: bytes) -> bytes:
    """Return the record of a payload."""
    length = len(payload).to_bytes(8, "little")
    header = length + FOOTER.pack(masked(crc32c(length)))
    return b"".join([header, payload, FOOTER.pack(masked(crc32c(payload)))])


def payload_length(header: bytes) -> int | None:
    """Return the length that a record's header states; None if it is damaged or incomplete."""
    if len(header) < HEADER.size:
        return None
    length, crc = HEADER.unpack(header)
    return length if crc == masked(crc32c(header[:8])) else None


def masked(crc: Any) -> Any:
    """Mask a CRC-32C, or an array of them: a CRC of data that contains CRCs is weak."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
