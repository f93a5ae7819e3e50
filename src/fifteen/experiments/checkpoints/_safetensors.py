"""One checkpoint in one safetensors file.

The format is Hugging Face's (`safetensors/README.md`, "Format"): the length of a header as
`uint64`, the header in JSON with a dtype, a shape and offsets for each tensor, and the tensors'
bytes without gaps. In the header's metadata we put, under `fifteen.checkpoint`, the order of the
leaves with what a tensor cannot say of them and the CRC-32C of its bytes, and the pytree's shape;
and under `fifteen.crc32c` the checksum of the header itself, taken with eight zeros in its place.
"""

import dataclasses
import io
import json
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

import google_crc32c
import numpy as np

from . import _keys, _leaves
from ._leaves import HostArray, Leaf, Tensor
from ._stored import Key, LeafInfo, damaged

_VERSION = 1
_CHECKSUM_KEY = "fifteen.crc32c"
_CHECKPOINT_KEY = "fifteen.checkpoint"
_NO_CHECKSUM = "00000000"
_LARGEST_HEADER = 100_000_000
"""The format's own bound."""

_READ_TOGETHER = 8 << 20
"""Bytes of small tensors that are read at once."""

_WRITE_AT_ONCE = 512
"""Buffers handed to the kernel in one call; it takes 1024 at most."""

_INLINE_BYTES = 4 << 20
"""Below this, a thread for the checksums costs more than it saves."""


def write(file: io.FileIO, leaves: Sequence[tuple[Key, Leaf]], structure: str) -> None:
    """Write a checkpoint.

    Args:
        file: an empty file.
        leaves: in the order of the pytree.
        structure: the pytree's shape; see `_keys.structure`.
    """
    tensors = [leaf.tensor for _, leaf in leaves if leaf.tensor is not None]
    # Large items first, so that every tensor is aligned for its own dtype.
    ordered = sorted(tensors, key=lambda tensor: -tensor.data.itemsize)
    starts: dict[int, int] = {}
    end = 0
    for tensor in ordered:
        starts[id(tensor)] = end
        end += tensor.data.nbytes
    buffers = [_bytes_of(tensor.data) for tensor in ordered]

    def header(checksums: Mapping[int, int]) -> bytes:
        return _header(leaves, structure, starts, checksums)

    blank = header(dict.fromkeys(starts, 0))
    computed = _Checksums([id(tensor) for tensor in ordered], buffers, end)
    _write_all(file, [memoryview(bytes(len(blank))), *map(memoryview, buffers)])
    finished = header(computed.result())
    os.pwrite(file.fileno(), finished, 0)


class _Checksums:
    """Compute checksums beside the writing, which leaves a processor idle."""

    def __init__(self, names: list[int], buffers: list[Any], size: int) -> None:
        self._names, self._buffers = names, buffers
        self._computed: dict[int, int] = {}
        self._thread = threading.Thread(target=self._compute) if size > _INLINE_BYTES else None
        if self._thread is None:
            self._compute()
        else:
            self._thread.start()

    def _compute(self) -> None:
        for name, buffer in zip(self._names, self._buffers, strict=True):
            self._computed[name] = google_crc32c.value(buffer)

    def result(self) -> Mapping[int, int]:
        if self._thread is not None:
            self._thread.join()
        return self._computed


def _bytes_of(array: HostArray) -> Any:
    """Return an array's bytes without copying them, read-only as the checksum wants them.

    A buffer, which the type checker knows arrays to be from Python 3.12 on only.
    """
    flat = array.reshape(-1).view(np.uint8)
    flat.flags.writeable = False
    return flat


def _header(
    leaves: Sequence[tuple[Key, Leaf]],
    structure: str,
    starts: Mapping[int, int],
    checksums: Mapping[int, int],
) -> bytes:
    entries: dict[str, Any] = {}
    listed: list[Any] = []
    for key, leaf in leaves:
        name = _keys.name_of(key)
        checksum = None
        if leaf.tensor is not None:
            start = starts[id(leaf.tensor)]
            entries[name] = {
                "dtype": leaf.tensor.dtype,
                "shape": leaf.tensor.shape,
                "data_offsets": (start, start + leaf.tensor.data.nbytes),
            }
            checksum = f"{checksums[id(leaf.tensor)]:08x}"
        listed.append([name, checksum, leaf.description])
    described = {"version": _VERSION, "leaves": listed, "structure": structure}
    metadata = {_CHECKSUM_KEY: _NO_CHECKSUM, _CHECKPOINT_KEY: _dump(described)}
    text = _dump({"__metadata__": metadata, **entries}).encode()
    text += b" " * (-len(text) % 8)
    checksum = f"{google_crc32c.value(text):08x}".encode()
    return len(text).to_bytes(8, "little") + text.replace(_NO_CHECKSUM.encode(), checksum, 1)


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _write_all(file: io.FileIO, buffers: list[memoryview]) -> None:
    waiting = [buffer for buffer in buffers if buffer.nbytes]
    first = 0
    while first < len(waiting):
        written = os.writev(file.fileno(), waiting[first : first + _WRITE_AT_ONCE])
        while first < len(waiting) and written >= waiting[first].nbytes:
            written -= waiting[first].nbytes
            first += 1
        if written:
            waiting[first] = waiting[first][written:]


class SafetensorsFile:
    """A checkpoint that `write` has written; only its header is read at first."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        header, self._data_start = _read_header(path)
        try:
            described = json.loads(header["__metadata__"][_CHECKPOINT_KEY])
            if described["version"] != _VERSION:
                raise damaged(path, f"written in version {described['version']} of the format")
            self._structure = json.loads(described["structure"])
            self._listed = {
                _keys.key_of(name): _Listed.of(header.get(name), checksum, description)
                for name, checksum, description in described["leaves"]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(
                path, f"the header describes no checkpoint ({type(error).__name__}: {error})"
            ) from None
        self._check_size()

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        """Every leaf, in the order of the pytree."""
        return {key: listed.info for key, listed in self._listed.items()}

    def read(self, wanted: Mapping[Key, Any]) -> dict[Key, Any]:
        """Read some leaves, and verify them; see `StoredCheckpoint.read`."""
        listed = {key: self._listed[key] for key in wanted}
        tensors = sorted(
            ((key, leaf) for key, leaf in listed.items() if leaf.size is not None),
            key=lambda pair: pair[1].start,
        )
        data: dict[Key, HostArray] = {}
        with open(self.path, "rb", buffering=0) as file:
            for group in _grouped(tensors):
                data.update(self._read_group(file, group))
        return {key: self._value(key, leaf, data.get(key)) for key, leaf in listed.items()}

    def nested(self, leaves: Mapping[Key, Any]) -> Any:
        """Put leaves that were read into nested dicts and lists, as they were saved."""
        return _keys.nest(self._structure, [leaves[key] for key in self._listed])

    def _read_group(
        self, file: io.FileIO, group: "list[tuple[Key, _Listed]]"
    ) -> dict[Key, HostArray]:
        begin, end = group[0][1].start, group[-1][1].end
        buffer = np.empty(end - begin, np.uint8)
        file.seek(self._data_start + begin)
        view, at = memoryview(cast(Any, buffer)), 0
        while at < len(buffer):
            count = file.readinto(view[at:])
            if not count:
                raise damaged(self.path, "the file ends before its data does")
            at += count
        return {key: buffer[leaf.start - begin : leaf.end - begin] for key, leaf in group}

    def _value(self, key: Key, leaf: "_Listed", data: HostArray | None) -> Any:
        tensor = None
        if data is not None:
            readonly = data.view()
            readonly.flags.writeable = False
            if google_crc32c.value(readonly) != leaf.checksum:
                raise damaged(
                    self.path, f"{_keys.name_of(key)}: its bytes are not those that were written"
                )
            array = data.view(_leaves.stored_dtype(leaf.dtype)).reshape(leaf.shape)
            tensor = Tensor(leaf.dtype, leaf.shape, array)
        try:
            return _leaves.give(tensor, leaf.description)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self.path, f"{_keys.name_of(key)}: {error}") from None

    def _check_size(self) -> None:
        expected = self._data_start + max((leaf.end for leaf in self._listed.values()), default=0)
        found = self.path.stat().st_size
        if found != expected:
            raise damaged(self.path, f"expected {expected} bytes, found {found}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Listed:
    """A leaf as the header lists it; without a size where the description holds its value."""

    info: LeafInfo
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int | None
    checksum: int
    description: dict[str, Any] | None

    @property
    def end(self) -> int:
        return self.start + (self.size or 0)

    @classmethod
    def of(cls, entry: Any, checksum: str | None, description: Any) -> "_Listed":
        """Check what the header says of a leaf; raise KeyError, TypeError or ValueError."""
        if checksum is None:
            return cls(_leaves.info_of("", (), description), "", (), 0, None, 0, description)
        shape = tuple(int(length) for length in entry["shape"])
        start, end = entry["data_offsets"]
        itemsize = _leaves.stored_dtype(entry["dtype"]).itemsize
        if end - start != itemsize * int(np.prod(shape, dtype=object)) or start < 0:
            raise ValueError("a tensor's shape and offsets do not agree")
        info = _leaves.info_of(entry["dtype"], shape, description)
        return cls(info, entry["dtype"], shape, start, end - start, int(checksum, 16), description)


def _grouped(tensors: "list[tuple[Key, _Listed]]") -> "list[list[tuple[Key, _Listed]]]":
    """Put tensors that stand side by side together, so that small ones are read at once."""
    groups: list[list[tuple[Key, _Listed]]] = []
    for pair in tensors:
        last = groups[-1] if groups else None
        follows = last is not None and last[-1][1].end == pair[1].start
        if last is not None and follows and pair[1].end - last[0][1].start <= _READ_TOGETHER:
            last.append(pair)
        else:
            groups.append([pair])
    return groups


def _read_header(path: pathlib.Path) -> tuple[dict[str, Any], int]:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = os.fstat(file.fileno()).st_size
        if size < 8 or length > min(size - 8, _LARGEST_HEADER):
            raise damaged(path, f"a file of {size} bytes without a whole header")
        text = file.read(length)
    if not _is_intact(text):
        known = _CHECKPOINT_KEY.encode() in text
        raise damaged(
            path,
            "the header is damaged"
            if known
            else "a safetensors file that is no checkpoint of ours",
        )
    return json.loads(text), 8 + length


def _is_intact(text: bytes) -> bool:
    before = f'{{"__metadata__":{{"{_CHECKSUM_KEY}":"'.encode()
    if not text.startswith(before):
        return False
    at = len(before)
    stated = text[at : at + 8]
    blank = text[:at] + _NO_CHECKSUM.encode() + text[at + 8 :]
    return stated == f"{google_crc32c.value(blank):08x}".encode()
