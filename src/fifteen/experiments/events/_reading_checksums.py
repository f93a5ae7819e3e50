"""CRC-32Cs of many records at once.

A CRC is linear: of two messages of one length that differ in some bytes, the CRCs differ by what
those differences contribute, each by itself, depending on how many bytes follow. So for many
records that are alike but for a few numbers, some look-ups a record give all checksums, several
times faster than a call for each of them.
"""

import functools

import google_crc32c
import numpy as np
import numpy.typing as npt

from . import _records


@functools.lru_cache(1 << 12)
def contributions(following: int) -> npt.NDArray[np.uint32]:
    """Return what each difference in a byte changes in a CRC, with so many bytes behind it."""
    zeros = bytes(following)
    base = google_crc32c.value(b"\0" + zeros)
    bits = [google_crc32c.value(bytes([1 << bit]) + zeros) ^ base for bit in range(8)]
    table = np.zeros(256, np.uint32)
    numbers = np.arange(256)
    for bit, change in enumerate(bits):
        table[numbers & (1 << bit) != 0] ^= np.uint32(change)
    return table


def changes(
    differences: npt.NDArray[np.uint8], columns: list[int], length: int
) -> npt.NDArray[np.uint32]:
    """Return by what the CRCs of records differ from the CRC of one of them.

    Args:
        differences: `(n, width)` the bytes of each record, XORed with those of that one.
        columns: which bytes may differ.
        length: how many bytes of a row belong to the record.
    """
    total = np.zeros(len(differences), np.uint32)
    for column in columns:
        total ^= contributions(length - 1 - column)[differences[:, column]]
    return total


def of_lengths(lengths: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """Return the masked CRC-32C that frames each length, all below 4 GiB."""
    low = lengths.astype("<u4").view(np.uint8).reshape(-1, 4)
    base = np.uint32(google_crc32c.value(bytes(8)))
    return _records.mask_all(base ^ changes(low, [0, 1, 2, 3], 8))
