"""The encoding of protocol buffers: the fields of a message, and the numbers in them.

Nothing is allocated by what a length claims before its bytes are seen to be there. The encoding
is described at https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class MalformedError(ValueError):
    """Bytes that are no message of the kind expected."""


def fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield, for each field of a message, its number, wire type, and where its content lies.

    Raises:
        MalformedError: the bytes are no message.
    """
    at = start
    while at < end:
        key, at = varint(data, at, end)
        wire = key & 7
        if wire == VARINT:
            _, stop = varint(data, at, end)
        elif wire == FIXED64:
            stop = at + 8
        elif wire == FIXED32:
            stop = at + 4
        elif wire == BYTES:
            length, at = varint(data, at, end)
            stop = at + length
        else:
            raise MalformedError(f"a field of the unknown wire type {wire} ends at byte {at}")
        if stop > end or key < 8:
            raise MalformedError(f"field {key >> 3} at byte {at} does not fit into its message")
        yield key >> 3, wire, at, stop
        at = stop


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return an unsigned number of 64 bits, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, at
    raise MalformedError(f"the number before byte {at} does not end")


def int64(data: bytes, at: int, end: int) -> int:
    """Return a signed number of 64 bits."""
    number, _ = varint(data, at, end)
    return number - (1 << 64) if number >> 63 else number


def int_field(data: bytes, start: int, end: int, field: int) -> int:
    """Return an integer field of a message; the last one counts, and none means zero."""
    result = 0
    for number, wire, at, stop in fields(data, start, end):
        if number == field and wire == VARINT:
            result = int64(data, at, stop)
    return result


def bytes_field(data: bytes, start: int, end: int, field: int) -> tuple[int, int] | None:
    """Return where the content of a string, bytes or message field lies."""
    found = None
    for number, wire, at, stop in fields(data, start, end):
        if number == field and wire == BYTES:
            found = at, stop
    return found


def text(data: bytes, start: int, end: int) -> str:
    """Return a string.

    Raises:
        MalformedError: it is not in UTF-8.
    """
    try:
        return data[start:end].decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"the text at byte {start} is not in UTF-8: {error}") from None


def fixed_numbers(
    data: bytes, start: int, end: int, field: int, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Return a repeated field of numbers of fixed width, packed or not."""
    parts = [
        data[at:stop]
        for number, wire, at, stop in fields(data, start, end)
        if number == field and wire != VARINT
    ]
    return as_numbers(parts, dtype)


def as_numbers(parts: list[bytes], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return the numbers of fixed width that stand in the parts of a repeated field."""
    joined = b"".join(parts)
    if len(joined) % np.dtype(dtype).itemsize:
        raise MalformedError("a repeated field ends in the middle of a number")
    return np.frombuffer(joined, dtype)


def varints(data: bytes, start: int, end: int, wanted: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """Return a repeated field of varints, packed or not, of whichever of the fields is there."""
    numbers: list[int] = []
    for field, _, at, stop in fields(data, start, end):
        while field in wanted and at < stop:
            number, at = varint(data, at, stop)
            numbers.append(number)
    return np.array(numbers, np.uint64)
