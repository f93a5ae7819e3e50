"""Write one checkpoint to one safetensors file; `_header` describes its contents."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import google_crc32c
import numpy as np

from ..._gc import gc_paused
from ...storage import NewFile
from .._background import Background
from .._host_copy import BLOCK_BYTES, Snapshot
from .._keys import Key
from .._leaf import Leaf
from . import _header

_SMALL_BYTES = 1 << 20
"""Writing this much takes less time than starting a thread for its checksums."""


def write(file: NewFile, leaves: Sequence[tuple[Key, Leaf]], structure: str) -> None:
    """Write a checkpoint to an empty file; see `_header.compose`.

    The kernel gets the arrays' own memory. The checksums of a block are computed while it is
    written, since writing leaves a processor idle. Values are released as they are written.
    """
    with gc_paused():
        header, tensors, numbers = _header.compose(leaves, structure)
        batches = _batches(tensors, numbers)
        batch: list[tuple[int, memoryview]] | None = next(batches, [])
    checksums = [0] * len(tensors)
    following = next(batches, None)
    if following is None and sum(block.nbytes for _, block in batch) < _SMALL_BYTES:
        _add_checksums(checksums, batch)
        file.write(_header.seal(header, checksums), *(block for _, block in batch))
        return
    file.skip(len(header))
    while batch is not None:
        background = Background(functools.partial(_add_checksums, checksums, batch))
        try:
            background.start()
            file.write(*(block for _, block in batch))
        finally:
            background.wait()
        # Release what has been written before more is taken.
        batch = following
        following = next(batches, None)
    file.write_at(0, _header.seal(header, checksums))


def _batches(
    tensors: Sequence[Snapshot], numbers: Sequence[int]
) -> Iterator[list[tuple[int, memoryview]]]:
    """Yield blocks in the order of the file: many small ones or a large one at a time."""
    batch: list[tuple[int, memoryview]] = []
    size = 0
    for at, (tensor, number) in enumerate(zip(tensors, numbers, strict=True)):
        if at + 1 < len(tensors):
            tensors[at + 1].prefetch()
        for block in tensor.blocks():
            if batch and size + block.nbytes > BLOCK_BYTES:
                yield batch
                batch, size = [], 0
            batch.append((number, block))
            size += block.nbytes
    if batch:
        yield batch


def _add_checksums(checksums: list[int], batch: Sequence[tuple[int, memoryview]]) -> None:
    for number, block in batch:
        # An array, since the function takes no memoryview.
        readable = cast(Any, np.frombuffer(block, np.uint8))
        checksums[number] = google_crc32c.extend(checksums[number], readable)
