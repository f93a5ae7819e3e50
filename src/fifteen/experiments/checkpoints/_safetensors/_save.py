"""Save a state that this process holds whole to one safetensors file; see `_header`."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import google_crc32c
import numpy as np

from ..._gc import gc_paused
from ...storage import Directory, NewFile
from .. import _leaf, _tree
from .._background import Background
from .._host_copy import BLOCK_BYTES, Snapshot
from .._keys import Key
from .._leaf import Leaf, encode_each, is_static
from .._retention import Destination
from . import _header

_SMALL_BYTES = 1 << 20
"""Writing less takes less time than starting a thread for its checksums."""
_PIECE_BYTES = 1 << 18
"""What is copied at once to be sent: little enough to be in the processor's cache."""


class LocalSave:
    """A save that has taken its values. Either `commit` or `abandon` is called, once.

    With `copy`, the caller may change the values before `commit` writes them.
    """

    def __init__(
        self, destination: Destination, target: Any, copy: bool, before_commit: Callable[[], None]
    ) -> None:
        destination.check()
        self._destination = destination
        self._before_commit = before_commit
        with gc_paused():
            flat = _tree.flatten(target, is_static=is_static)
            encoded = encode_each(flat, lambda value: _leaf.encode(value, copy))
            self._leaves = list(encoded.items())
            self._structure = _tree.to_json(flat.structure)

    def commit(self) -> None:
        """Write the values and give the checkpoint its name; may be called in another thread.

        Raises `OSError` if they could not be written. Earlier checkpoints stay intact.
        """
        self._before_commit()
        directory = self._destination.directory
        directory.make()
        directory.remove_leftovers()
        # The disk may have room for the checkpoints that are kept and only one more.
        directory.wait_for_removals()
        write(directory, self._destination.path.name, self._leaves, self._structure)
        self._destination.apply_retention()

    def abandon(self, error: BaseException) -> None:
        """Do nothing: there is no other process."""


def write(
    directory: Directory, name: str, leaves: Sequence[tuple[Key, Leaf]], structure: str
) -> None:
    """Write a checkpoint to a file, in one step; see `_header.compose`."""
    with gc_paused():
        content = _Content(*_header.compose(leaves, structure))
    if directory.is_remote:
        _send(directory, name, content)
    else:
        with directory.replace(name) as file:
            _write(file, content)


class _Content(NamedTuple):
    """What `_header.compose` returns."""

    header: bytes
    tensors: Sequence[Snapshot]
    numbers: Sequence[int]


def _write(file: NewFile, content: _Content) -> None:
    """Write a file, and its header last.

    The kernel gets the arrays' own memory. The checksums of a block are computed while it is
    written, since writing leaves a processor idle. Values are released as they are written.
    """
    header, tensors, numbers = content
    with gc_paused():
        batches = _batches(_blocks(tensors, numbers))
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


class _ChangedError(Exception):
    """Another thread has changed an array between its checksum and its copy."""


def _send(directory: Directory, name: str, content: _Content) -> None:
    """Send a file, and its header first.

    So the checksums are computed before. What another thread may change is copied in pieces when it
    is sent, which takes little memory, and must have the same checksum then. Else it is sent again,
    copied as a whole.
    """
    header, tensors, numbers = content
    checksums = [0] * len(tensors)
    _add_checksums(checksums, _blocks([tensor.duplicate() for tensor in tensors], numbers))
    size = len(header) + sum(tensor.nbytes for tensor in tensors)
    try:
        with directory.replace(name) as file:
            file.write_each(_pieces(content, checksums), size)
    except _ChangedError:
        for tensor in tensors:
            tensor.settle()
        _send(directory, name, content)


def _pieces(content: _Content, checksums: Sequence[int]) -> Iterator[Any]:
    """Yield what a file consists of."""
    header, tensors, numbers = content
    yield _header.seal(header, checksums)
    shared = {n for n, tensor in zip(numbers, tensors, strict=True) if tensor.is_shared}
    sent = dict.fromkeys(shared, 0)
    for number, block in _blocks([tensor.duplicate() for tensor in tensors], numbers):
        if number not in shared:
            yield block
            continue
        flat = block.cast("B")
        for start in range(0, len(flat), _PIECE_BYTES):
            piece = bytes(flat[start : start + _PIECE_BYTES])
            sent[number] = google_crc32c.extend(sent[number], piece)
            yield piece
    if any(checksums[number] != checksum for number, checksum in sent.items()):
        raise _ChangedError


def _blocks(
    tensors: Sequence[Snapshot], numbers: Sequence[int]
) -> Iterator[tuple[int, memoryview]]:
    """Yield blocks in the order of the file, each with the number of its tensor."""
    for at, (tensor, number) in enumerate(zip(tensors, numbers, strict=True)):
        if at + 1 < len(tensors):
            tensors[at + 1].prefetch()
        for block in tensor.blocks():
            yield number, block


def _batches(blocks: Iterator[tuple[int, memoryview]]) -> Iterator[list[tuple[int, memoryview]]]:
    """Yield many small blocks or a large one at a time."""
    batch: list[tuple[int, memoryview]] = []
    size = 0
    for number, block in blocks:
        if batch and size + block.nbytes > BLOCK_BYTES:
            yield batch
            batch, size = [], 0
        batch.append((number, block))
        size += block.nbytes
    if batch:
        yield batch


def _add_checksums(checksums: list[int], batch: Iterable[tuple[int, memoryview]]) -> None:
    for number, block in batch:
        # An array, since the function takes no memoryview.
        readable = cast(Any, np.frombuffer(block, np.uint8))
        checksums[number] = google_crc32c.extend(checksums[number], readable)
