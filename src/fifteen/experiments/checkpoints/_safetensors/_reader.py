"""One checkpoint in one safetensors file; `_header` says what stands in it."""

import contextlib
import errno
import functools
import io
import os
import pathlib
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, cast

import google_crc32c
import numpy as np

from ..._collecting import paused_collection
from .. import _leaf, _tree
from .._ahead import one_ahead
from .._background import Background
from .._host_copy import BLOCK_BYTES
from .._leaf import HostArray, Leaf, Tensor
from .._reader import Key, LeafInfo, damaged, making, too_deep
from . import _header
from ._header import Listed, Place

_READ_TOGETHER = 8 << 20
"""Bytes of small tensors that are read at once."""

_SMALL_BYTES = 1 << 20
"""What is written faster than a thread for its checksums has started."""

_WRITE_AT_ONCE = 512
"""Buffers handed to the kernel in one call; it takes 1024 at most."""


def write(file: io.FileIO, leaves: Sequence[tuple[Key, Leaf]], structure: str) -> None:
    """Write a checkpoint.

    The arrays' own memory is handed to the kernel. The checksums of a block are computed while
    it is written, which leaves a processor idle.

    Args:
        file: an empty file.
        leaves: in the order of the pytree. Their values are let go of on the way.
        structure: the pytree's shape; see `_tree.structure`.
    """
    with paused_collection():
        header, tensors, numbers = _header.compose(leaves, structure)
        batches = _batches(tensors, numbers)
        batch: list[tuple[int, memoryview]] | None = next(batches, [])
    checksums = [0] * len(tensors)
    following = next(batches, None)
    if following is None and sum(block.nbytes for _, block in batch) < _SMALL_BYTES:
        _add_checksums(checksums, batch)
        _write_all(file, 0, [_header.seal(header, checksums), *(block for _, block in batch)])
        return
    at = len(header)
    beside = Background()
    while batch is not None:
        beside.start(functools.partial(_add_checksums, checksums, batch))
        try:
            at = _write_all(file, at, [block for _, block in batch])
        finally:
            beside.wait()
        # What has been written is let go of before more is taken.
        batch = following
        following = next(batches, None)
    _write_all(file, 0, [_header.seal(header, checksums)])


def _batches(
    tensors: Sequence[Tensor], numbers: Sequence[int]
) -> Iterator[list[tuple[int, memoryview]]]:
    """Yield blocks of bytes in the order of the file, many small ones or a large one at once."""
    batch: list[tuple[int, memoryview]] = []
    size = 0
    for at, (tensor, number) in enumerate(zip(tensors, numbers, strict=True)):
        if at + 1 < len(tensors):
            tensors[at + 1].data.prefetch()
        for block in tensor.data.blocks():
            if batch and size + block.nbytes > BLOCK_BYTES:
                yield batch
                batch, size = [], 0
            batch.append((number, block))
            size += block.nbytes
    if batch:
        yield batch


def _add_checksums(checksums: list[int], batch: Sequence[tuple[int, memoryview]]) -> None:
    for number, block in batch:
        # As an array, since the checksum takes no memoryview.
        readable = cast(Any, np.frombuffer(block, np.uint8))
        checksums[number] = google_crc32c.extend(checksums[number], readable)


def _write_all(file: io.FileIO, at: int, buffers: Sequence[Any]) -> int:
    """Write buffers from an offset on, and return the offset of their end.

    The kernel may write less than it is given, as on a disk that fills; the next call says why.
    """
    for first in range(0, len(buffers), _WRITE_AT_ONCE):
        waiting = buffers[first : first + _WRITE_AT_ONCE]
        end = at + sum(memoryview(buffer).nbytes for buffer in waiting)
        while at < end:
            written = os.pwritev(file.fileno(), waiting, at)
            if not written:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            at += written
            if at < end:
                waiting = _unwritten(waiting, written)
    return at


def _unwritten(buffers: Sequence[Any], written: int) -> list[Any]:
    """Return what is left of some buffers of which the first `written` bytes are done."""
    for number, buffer in enumerate(buffers):
        size = memoryview(buffer).nbytes
        if written < size:
            return [memoryview(buffer).cast("B")[written:], *buffers[number + 1 :]]
        written -= size
    return []


class SafetensorsFile:
    """A checkpoint that `write` or another library has written; only its header is read at first.

    The file stays open for as long as the object lives, so that what its header tells is found in
    it also when another process replaces or removes it meanwhile.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.close = weakref.finalize(self, os.close, self._descriptor)
        with paused_collection():
            self._header = _header.read(self._descriptor, path)
        self._leaves = {key: listed.info for key, listed in self._header.leaves.items()}

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        """Every leaf, in the order of the pytree."""
        return self._leaves

    def read(self, wanted: Mapping[Key, Any]) -> dict[Key, Any]:
        """Read some leaves, and verify them; see `StoredCheckpoint.read`."""
        values: dict[Key, Any] = {}
        with contextlib.closing(self.stream(wanted)) as batches:
            for batch in batches:
                values.update(batch)
        return {key: values[key] for key in wanted}

    def stream(self, wanted: Mapping[Key, Any]) -> Generator[Mapping[Key, Any]]:
        """Read some leaves, and verify them; see `StreamedCheckpoint.stream`."""
        listed = {key: self._header.leaves[key] for key in wanted}
        yield {key: self._value(key, leaf, None) for key, leaf in listed.items() if not leaf.tensor}
        groups = _grouped(listed)
        # The next group is read and verified while the caller puts this one to its devices.
        yield from one_ahead(
            [functools.partial(self._read_group, wanted, group) for group in groups]
        )

    def nested(self, leaves: Mapping[Key, Any]) -> Any:
        """Put leaves that were read into nested dicts and lists, as they were saved."""
        try:
            return _tree.nest(self._header.structure, [leaves[key] for key in self._header.leaves])
        except RecursionError:
            raise too_deep(self.path) from None
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise damaged(self.path, f"its structure makes no sense: {error}") from None

    def _read_group(
        self, wanted: Mapping[Key, Any], group: "Sequence[tuple[Key, Listed, Place]]"
    ) -> dict[Key, Any]:
        begin, end = group[0][2].start, group[-1][2].end
        buffer = np.empty(end - begin, np.uint8)
        view, at = memoryview(cast(Any, buffer)), 0
        while at < len(buffer):
            count = os.preadv(self._descriptor, [view[at:]], self._header.size + begin + at)
            if not count:
                raise damaged(self.path, "the file ends before its data does")
            at += count
        return {
            key: self._value(
                key, listed, buffer[place.start - begin : place.end - begin], wanted[key]
            )
            for key, listed, place in group
        }

    def _value(self, key: Key, listed: Listed, data: HostArray | None, target: Any = None) -> Any:
        array = None
        if data is not None and listed.tensor is not None:
            readonly = data.view()
            readonly.flags.writeable = False
            checksum = listed.tensor.checksum
            if checksum is not None and google_crc32c.value(cast(Any, readonly)) != checksum:
                raise damaged(
                    self.path, f"{_tree.name_of(key)}: its bytes are not those that were written"
                )
        with making(self.path, _tree.name_of(key)):
            if data is not None and listed.tensor is not None:
                dtype = _leaf.stored_dtype(listed.tensor.dtype)
                array = data.view(dtype).reshape(listed.tensor.shape)
                # Other libraries need not align what they write.
                array = np.require(array, requirements="A")
            return _leaf.give(array, listed.description, target)


def _grouped(listed: Mapping[Key, Listed]) -> list[list[tuple[Key, Listed, Place]]]:
    """Put tensors that stand side by side together, so that small ones are read at once."""
    tensors = [(key, leaf, leaf.tensor) for key, leaf in listed.items() if leaf.tensor is not None]
    groups: list[list[tuple[Key, Listed, Place]]] = []
    for tensor in sorted(tensors, key=lambda tensor: (tensor[2].start, tensor[2].end)):
        last = groups[-1] if groups else None
        follows = last is not None and last[-1][2].end == tensor[2].start
        if last is not None and follows and tensor[2].end - last[0][2].start <= _READ_TOGETHER:
            last.append(tensor)
        else:
            groups.append([tensor])
    return groups
