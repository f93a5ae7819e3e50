"""The header of a safetensors file: the description of a checkpoint, with checksums.

The format is Hugging Face's (`safetensors/README.md`, "Format"): the length of the header as
`uint64`, the header in JSON with a dtype, a shape and offsets for each tensor, and the tensors'
bytes without gaps. We add two entries to its metadata:

- `fifteen.crc32c`: eight hexadecimal digits for the CRC-32C of the header itself, computed with
  zeros in place of this entry, and eight for that of each tensor, in the order of the leaves. It is
  the first entry and its length is fixed, so that it can be filled in last.
- `fifteen.checkpoint`, JSON again: the leaves in the order of the pytree, each with its name,
  whether it has a tensor, and what the tensor does not say; and the pytree's structure.

A file with neither is another library's. Its tensors are the leaves, without checksums, in nested
dicts by the parts of their names between slashes.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import google_crc32c
import numpy as np

from fifteen._text import printable

from ..._errors import CheckpointDamagedError, CheckpointError
from ...storage import ReadableFile
from .._damage import UNPARSABLE, damaged, too_deep
from .._decoding import STORED, stored_info
from .._dtypes import dtype_named
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
"""The format's limit."""


@dataclasses.dataclass(slots=True)
class StoredLeaf:
    """A leaf as a header describes it."""

    info: LeafInfo
    description: dict[str, Any] | None  # See `Leaf`.
    dtype: np.dtype[Any] | None = None  # The tensor's; None if the description has the value.
    shape: tuple[int, ...] = ()  # The tensor's.
    start: int = 0  # The offset of the tensor's bytes, from the end of the header.
    end: int = 0  # The offset of their end.
    checksum: int | None = None  # Of these bytes; other libraries have none.


class Header(NamedTuple):
    leaves: Mapping[Key, StoredLeaf]  # In the order of the pytree.
    structure: Any  # Of the pytree; see `_keys.unflatten`.
    size: int  # Its bytes, after which the tensors begin.


class Content(NamedTuple):
    """What a file will consist of."""

    header: bytes  # With zeros in place of the checksums.
    by_leaf: "list[Snapshot]"  # The tensors in the order of the leaves.
    tensors: "list[Snapshot]"  # The same ones in the order of the file.


def compose(leaves: "Sequence[tuple[Key, Leaf]]", structure: str) -> Content:
    """Compose a header; for the structure see `_tree.to_json`."""
    tensors = [
        (_numpy_dtype(leaf.dtype).itemsize, leaf.data)
        for _, leaf in leaves
        if leaf.data is not None
    ]
    # Large items first, so that every tensor is aligned for its own dtype.
    ordered = [data for _, data in sorted(tensors, key=lambda tensor: -tensor[0])]
    ends = itertools.accumulate((data.nbytes for data in ordered), initial=0)
    starts = dict(zip(map(id, ordered), ends, strict=False))
    listed: list[str] = []
    entries: list[str] = []
    for key, leaf in leaves:
        name = _quoted(key)
        described = "" if leaf.description is None else "," + _dump(leaf.description)
        listed.append(f"[{name},{'false' if leaf.data is None else 'true'}{described}]")
        if leaf.data is not None:
            start = starts[id(leaf.data)]
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
    by_leaf = [data for _, data in tensors]
    return Content(len(text).to_bytes(8, "little") + text, by_leaf, ordered)


def seal(content: Content) -> bytes:
    """Return the header with its own checksum and those of the tensors."""
    header = content.header
    own = google_crc32c.value(header[8:])
    checksums = [own, *[tensor.checksum for tensor in content.by_leaf]]
    digits = "".join(f"{checksum:08x}" for checksum in checksums).encode()
    at = 8 + len(_BEGINNING)
    # The header's checksum does not cover these digits: if one is damaged, its tensor fails.
    return header[:at] + digits + header[at + len(digits) :]


def is_ours(head: bytes) -> bool:
    """Whether a file's first 64 bytes are those of a file of ours."""
    return head[8:].startswith(_BEGINNING.encode())


def read(file: ReadableFile) -> Header:
    try:
        return _read(file)
    except CheckpointDamagedError:
        raise
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from None
    except RecursionError:
        raise too_deep(file.path) from None
    except UNPARSABLE as error:
        problem = f"its header is damaged ({type(error).__name__}: {error})"
        raise damaged(file.path, problem) from None


def _read(file: ReadableFile) -> Header:
    length = int.from_bytes(file.read(0, 8), "little")
    size = 8 + length
    if file.size < 8 or size > file.size or length > MAX_HEADER:
        problem = f"a file of {file.size} bytes that is truncated or no safetensors file"
        raise damaged(file.path, problem)
    text = file.read(8, size)
    checksums = ""
    if text.startswith(_BEGINNING.encode()):
        at = len(_BEGINNING)
        checksums = text[at : text.index(b'"', at)].decode()
        text = text.replace(checksums.encode(), b"0" * len(checksums), 1)
        if checksums[:_DIGITS] != f"{google_crc32c.value(text):08x}":
            raise damaged(file.path, "its header's bytes are not those that were written")
    entries = json.loads(text.decode())
    metadata = entries.pop("__metadata__", {})
    if {_CHECKSUMS, _CHECKPOINT}.isdisjoint(metadata):
        keys, rows, structure = _foreign(entries)
        of_tensors: Iterator[int | None] = itertools.repeat(None)
    else:
        described = json.loads(metadata[_CHECKPOINT])
        if described["version"] != _VERSION:
            raise ValueError(f"version {described['version']} of the format, expected {_VERSION}")
        rows, structure = described["leaves"], described["structure"]
        keys = [key_of(row[0]) for row in rows]
        of_tensors = _parsed(checksums)
    lists = [entry[name] for name in ("shape", "data_offsets") for entry in entries.values()]
    numbers = [*itertools.chain.from_iterable(lists)]
    if not {*map(type, numbers)} <= {int} or min(numbers, default=0) < 0:
        raise ValueError("a tensor's shape and offsets are not whole numbers")
    leaves: dict[Key, StoredLeaf] = {}
    spans: list[list[int]] = []
    for key, row in zip(keys, rows, strict=True):
        description = row[2] if len(row) > 2 else None
        if not row[1]:
            leaves[key] = StoredLeaf(stored_info(None, (), description), description)
            continue
        entry = entries[row[0]]
        shape, span = tuple(entry["shape"]), entry["data_offsets"]
        dtype, nbytes, info = _tensor(entry["dtype"], shape)
        start, end = span
        if end - start != nbytes:
            raise ValueError("a tensor's shape and offsets do not agree")
        if description is not None:
            info = stored_info(dtype, shape, description)
        leaves[key] = StoredLeaf(info, description, dtype, shape, start, end, next(of_tensors))
        spans.append(span)
    spans.sort()
    ends = [0, *[end for _, end in spans]]
    if [start for start, _ in spans] != ends[:-1]:
        raise ValueError("tensors overlap or leave a gap")
    if file.size != size + ends[-1]:
        raise damaged(file.path, f"expected {size + ends[-1]} bytes, found {file.size}")
    return Header(leaves, structure, size)


def _foreign(entries: Mapping[str, Any]) -> tuple[list[Key], list[Any], Any]:
    """Return the keys of another library's tensors, entries as ours for them, and a structure."""
    for name, entry in entries.items():
        if entry["dtype"] not in STORED:
            raise CheckpointError(
                f"{printable(name)}: another library has saved it as {entry['dtype']!r}, a dtype "
                "that NumPy and ml_dtypes do not have; read it with that library"
            )
    keys = [key_of(name) for name in entries]
    structure = None
    with contextlib.suppress(ValueError):
        structure = structure_of(keys)
    if structure is None or len(set(keys)) < len(keys):
        # A name is the beginning of another, or they are one key.
        keys = [(name,) for name in entries]
        structure = {name: number for number, name in enumerate(entries)}
    return keys, [(name, True) for name in entries], structure


def _parsed(checksums: str) -> Iterator[int]:
    """Yield the checksums of the tensors, which follow that of the header."""
    numbers = bytes.fromhex(checksums)
    # It takes capitals and spaces as well, which are not what was written.
    if numbers.hex() != checksums:
        raise ValueError("a checksum is not written as it should be")
    yield from np.frombuffer(numbers, ">u4")[1:].tolist()
    raise ValueError("more tensors than checksums")


@functools.lru_cache(maxsize=1024)
def _layout(dtype: str, shape: tuple[int, ...]) -> str:
    return f'"dtype":"{dtype}","shape":[{",".join(map(str, shape))}]'


@functools.lru_cache(maxsize=16384)
def _quoted(key: Key) -> str:
    return json.dumps(name_of(key))


@functools.lru_cache(maxsize=4096)
def _tensor(dtype: str, shape: tuple[int, ...]) -> tuple[np.dtype[Any], int, LeafInfo]:
    """Return a tensor's dtype, its size in bytes, and its description without a word of ours."""
    of_numpy = _numpy_dtype(dtype)
    return of_numpy, of_numpy.itemsize * math.prod(shape), stored_info(of_numpy, shape, None)


@functools.lru_cache(maxsize=64)
def _numpy_dtype(dtype: str) -> np.dtype[Any]:
    return dtype_named(STORED[dtype])


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
