"""TFRecord framing: how event files hold one record after another.

A record is `length: uint64`, `masked CRC-32C of the length: uint32`, the data, and
`masked CRC-32C of the data: uint32`, all little-endian. The format and the mask are
TensorFlow's (`tensorflow/core/lib/io/record_writer.h` and `tensorflow/core/lib/hash/crc32c.h`).
"""

import struct

import google_crc32c
import numpy as np
import numpy.typing as npt

HEADER_BYTES = 12
FOOTER_BYTES = 4
OVERHEAD_BYTES = HEADER_BYTES + FOOTER_BYTES

_MASK_DELTA = 0xA282EAD8
_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")


def masked_checksum(data: bytes) -> int:
    """Return the masked CRC-32C of some bytes."""
    return mask(google_crc32c.value(data))


def mask(checksum: int) -> int:
    """Mask a CRC-32C, since a CRC of data that holds CRCs is a weak one."""
    return (((checksum >> 15) | (checksum << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def mask_all(checksums: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Mask many CRC-32Cs; the additions wrap around as they should."""
    rotated = (checksums >> np.uint32(15)) | (checksums << np.uint32(17))
    return rotated + np.uint32(_MASK_DELTA)


def frame(data: bytes) -> bytes:
    """Return the record that holds `data`."""
    return header(len(data)) + data + _CHECKSUM.pack(masked_checksum(data))


def header(length: int) -> bytes:
    """Return what stands before data of that length."""
    packed = _LENGTH.pack(length)
    return packed + _CHECKSUM.pack(masked_checksum(packed))


def length_at(buffer: bytes | memoryview, offset: int) -> int | None:
    """Return the length that a record's header states, or None if it is no whole header."""
    packed = bytes(buffer[offset : offset + HEADER_BYTES])
    if len(packed) < HEADER_BYTES:
        return None
    (checksum,) = _CHECKSUM.unpack_from(packed, 8)
    if checksum != masked_checksum(packed[:8]):
        return None
    return int(_LENGTH.unpack_from(packed)[0])


def is_intact(buffer: bytes | memoryview, offset: int, length: int) -> bool:
    """Tell whether the data of a record is as its checksum says."""
    start = offset + HEADER_BYTES
    (checksum,) = _CHECKSUM.unpack_from(buffer, start + length)
    return checksum == masked_checksum(bytes(buffer[start : start + length]))
