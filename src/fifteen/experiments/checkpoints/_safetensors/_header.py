"""The header of our files: what it says of a checkpoint, sealed with checksums.

The format is Hugging Face's (`safetensors/README.md`, "Format"): the length of the header as
`uint64`, the header in JSON with a dtype, a shape and offsets for each tensor, and the tensors'
bytes without gaps. Two entries of its metadata are ours:

- `fifteen.crc32c`, eight hexadecimal digits for the CRC-32C of the header itself, taken with
  zeros in place of all of the entry, and eight for that of each tensor's bytes, in the order
  of the leaves. It stands first and has a fixed length, so that it can be filled in last.
- `fifteen.checkpoint`, JSON again: the leaves in the order of the pytree, each with its name,
  whether it has a tensor, and what a tensor cannot say of it; and the pytree's shape.

A file with neither is another library's. Its tensors are the leaves, which stand in nested dicts by
the parts of their names between slashes, and have no checksums.
"""

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import google_crc32c

from ..._errors import CheckpointError
from ...storage import ReadableFile
from .._damage import damaged, printable, too_deep
from .._decoding import is_stored_dtype, stored_dtype, stored_info
from .._keys import Key, key_of, name_of, structure_of
from .._reader import LeafInfo

if TYPE_CHECKING:
    from .._host_copy import Snapshot
    from .._leaf import Leaf

_VERSION = 1
_CHECKSUMS = "fifteen.crc32c"
_CHECKPOINT = "fifteen.checkpoint"
_DIGITS = 8
_BEGINNING = f'{{"__metadata__":{{"{_CHECKSUMS}":"'
MAX_HEADER = 100_000_000
"""The format's own bound."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """A leaf as a header lists it.

    Attributes:
        info: its shape and dtype.
        tensor: how its tensor stands in the file; None where the description holds its value.
        description: see `Leaf`.
    """

    info: LeafInfo
    tensor: "Place | None"
    description: dict[str, Any] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor stands in the file, counted from the end of the header.

    A tensor of another library has no checksum.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int
    checksum: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What a header says.

    Attributes:
        leaves: in the order of the pytree.
        structure: the pytree's shape, as `_keys.unflatten` takes it.
        size: the bytes that it takes, after which the tensors begin.
    """

    leaves: Mapping[Key, Listed]
    structure: Any
    size: int


def compose(
    leaves: "Sequence[tuple[Key, Leaf]]", structure: str
) -> "tuple[bytes, list[Snapshot], list[int]]":
    """Compose a header with zeros in place of the checksums.

    Args:
        leaves: in the order of the pytree.
        structure: of the pytree; see `_tree.to_json`.

    Returns:
        The header, the tensors in the order of the file, and the number of each in the order of
        the leaves, which is that of the checksums.
    """
    tensors = [(leaf.data, leaf.dtype) for _, leaf in leaves if leaf.data is not None]
    # Large items first, so that every tensor is aligned for its own dtype.
    numbers = sorted(range(len(tensors)), key=lambda number: -_itemsize(tensors[number][1]))
    ordered = [tensors[number][0] for number in numbers]
    ends = list(itertools.accumulate((data.nbytes for data in ordered), initial=0))
    starts = dict(zip(numbers, ends, strict=False))
    listed: list[str] = []
    entries: list[str] = []
    for key, leaf in leaves:
        name = _quoted(key)
        described = "" if leaf.description is None else "," + _dump(leaf.description)
        listed.append(f"[{name},{'false' if leaf.data is None else 'true'}{described}]")
        if leaf.data is not None:
            start = starts[len(entries)]
            entries.append(
                f"{name}:{{{_layout(leaf.dtype, leaf.shape)},"
                f'"data_offsets":[{start},{start + leaf.data.nbytes}]}}'
            )
    described = f'{{"version":{_VERSION},"leaves":[{",".join(listed)}],"structure":{structure}}}'
    blank = "0" * _DIGITS * (1 + len(tensors))
    metadata = f'{_BEGINNING}{blank}","{_CHECKPOINT}":{json.dumps(described)}}}'
    text = f"{','.join([metadata, *entries])}}}".encode()
    if len(text) > MAX_HEADER:
        largest = max(leaves, key=lambda item: len(_dump(item[1].description or "")))
        raise CheckpointError(
            f"{name_of(largest[0])}: the description of all leaves would be {len(text):,} "
            f"bytes long, of which a file may have {MAX_HEADER:,}; save large texts and bytes as "
            "arrays of uint8, and many numbers as one array"
        )
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, ordered, numbers


def seal(header: bytes, checksums: Sequence[int]) -> bytes:
    """Fill a header's checksums in.

    Args:
        header: from `compose`.
        checksums: of the tensors, in the order of the leaves.
    """
    own = google_crc32c.value(header[8:])
    digits = "".join(f"{checksum:08x}" for checksum in (own, *checksums)).encode()
    at = 8 + len(_BEGINNING)
    # The tensors' checksums need none of their own: one that is damaged fits no bytes.
    return header[:at] + digits + header[at + len(digits) :]


def read(file: ReadableFile) -> Header:
    """Read a file's header.

    Raises:
        CheckpointDamagedError: it is damaged, or the file has not the size that it tells.
        CheckpointError: another library has saved a tensor of a dtype that NumPy does not have.
    """
    path, found = file.path, file.size
    length = int.from_bytes(file.read(0, 8), "little")
    if found < 8 or length > min(found - 8, MAX_HEADER):
        raise damaged(path, f"a file of {found} bytes that is cut off, or no safetensors file")
    text = file.read(8, 8 + length)
    digits = _digits(text)
    blank = text
    if digits is not None:
        blank = text.replace(digits, b"0" * len(digits), 1)
        if digits[:_DIGITS] != f"{google_crc32c.value(blank):08x}".encode():
            raise damaged(path, "its header's bytes are not those that were written")
    try:
        entries = json.loads(blank.decode())
        header = _parse_foreign(entries, 8 + length)
        if header is None:
            header = _parse(entries, digits or b"", 8 + length)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except RecursionError:
        raise too_deep(path) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"its header is damaged ({type(error).__name__}: {error})") from None
    places = [listed.tensor for listed in header.leaves.values() if listed.tensor is not None]
    expected = header.size
    for place in sorted(places, key=lambda place: (place.start, place.end)):
        if header.size + place.start != expected:
            raise damaged(path, "its header is damaged (tensors overlap, or leave a gap)")
        expected = header.size + place.end
    if found != expected:
        raise damaged(path, f"expected {expected} bytes, found {found}")
    return header


def is_ours(head: bytes) -> bool:
    """Whether a file's first 64 bytes are those of a file of ours."""
    return head[8:].startswith(_BEGINNING.encode())


def _parse(entries: Mapping[str, Any], digits: bytes, size: int) -> Header:
    described = json.loads(entries["__metadata__"][_CHECKPOINT])
    if described["version"] != _VERSION:
        raise ValueError(f"version {described['version']} of the format, expected {_VERSION}")
    leaves: dict[Key, Listed] = {}
    at = _DIGITS
    for name, has_tensor, *rest in described["leaves"]:
        place, description = None, rest[0] if rest else None
        if has_tensor:
            place = _place(entries[name], digits[at : at + _DIGITS])
            at += _DIGITS
        dtype, shape = (place.dtype, place.shape) if place is not None else ("", ())
        info = stored_info(dtype, shape, description)
        leaves[key_of(name)] = Listed(info, place, description)
    return Header(leaves, described["structure"], size)


def _parse_foreign(entries: Mapping[str, Any], size: int) -> Header | None:
    """Read what another library has written; None for what is ours."""
    if not {_CHECKSUMS, _CHECKPOINT}.isdisjoint(entries.get("__metadata__", {})):
        return None
    names = [name for name in entries if name != "__metadata__"]
    keys = [key_of(name) for name in names]
    numbers: dict[Key, Any] = {key: number for number, key in enumerate(keys)}
    try:
        structure = structure_of(numbers)
    except ValueError:
        structure = None
    if structure is None or len(numbers) < len(keys):
        # A name is the beginning of another, or they are one key.
        keys = [(name,) for name in names]
        structure = {name: number for number, name in enumerate(names)}
    leaves: dict[Key, Listed] = {}
    for name, key in zip(names, keys, strict=True):
        dtype = entries[name]["dtype"]
        if not is_stored_dtype(dtype):
            raise CheckpointError(
                f"{printable(name)}: another library has saved it as {dtype!r}, a dtype that NumPy "
                "and ml_dtypes do not have; read it with that library"
            )
        place = _place(entries[name], None)
        leaves[key] = Listed(stored_info(dtype, place.shape, None), place, None)
    return Header(leaves, structure, size)


def _place(entry: Mapping[str, Any], digits: bytes | None) -> Place:
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    start, end = entry["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (*shape, start, end)):
        raise ValueError("a tensor's shape and offsets are no whole numbers")
    if end - start != _itemsize(dtype) * math.prod(shape):
        raise ValueError("a tensor's shape and offsets do not agree")
    if digits is None:
        return Place(dtype, shape, start, end, None)
    checksum = int(digits, 16)
    if digits != f"{checksum:08x}".encode():
        raise ValueError("a checksum is not written as it should be")
    return Place(dtype, shape, start, end, checksum)


def _digits(text: bytes) -> bytes | None:
    """Return the checksums of a header, or None where it has none."""
    before, after = _BEGINNING.encode(), f'","{_CHECKPOINT}":'.encode()
    end = text.find(after)
    return text[len(before) : end] if text.startswith(before) and end > 0 else None


@functools.lru_cache(maxsize=1024)
def _layout(dtype: str, shape: tuple[int, ...]) -> str:
    return f'"dtype":"{dtype}","shape":[{",".join(map(str, shape))}]'


@functools.lru_cache(maxsize=16384)
def _quoted(key: Key) -> str:
    return json.dumps(name_of(key))


@functools.lru_cache(maxsize=64)
def _itemsize(dtype: str) -> int:
    return stored_dtype(dtype).itemsize


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
