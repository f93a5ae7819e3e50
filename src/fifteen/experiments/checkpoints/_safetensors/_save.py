"""Save a state that this process holds whole to one safetensors file; see `_header`."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import google_crc32c
import numpy as np

from fifteen._gc import gc_paused

from ...storage import Directory, NewFile
from .._background import Background
from .._host_copy import BLOCK_BYTES, Snapshot
from .._keys import Key
from .._leaf import Leaf, encode, encode_tree
from .._retention import Destination
from .._tree import to_json
from ._header import Content, compose, seal

_SMALL_BYTES = 1 << 20
"""Writing less takes less time than starting a thread for its checksums."""


class LocalSave:
    """A save that has taken its values. Either `commit` or `abandon` is called, once.

    With `copy`, the caller may change the values before `commit` writes them.
    """

    def __init__(self, destination: Destination, target: Any, copy: bool) -> None:
        destination.check()
        self._destination = destination
        with gc_paused():
            flat, encoded = encode_tree(target, lambda value: encode(value, copy))
            self._leaves = list(encoded.items())
            self._structure = to_json(flat.structure)

    def commit(self, before: Callable[[], None]) -> None:
        """Call `before`, and write the checkpoint; may be called in another thread.

        Raises `OSError` if they could not be written. Earlier checkpoints stay intact.
        """
        before()
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
    """Write a checkpoint to a file, in one step."""
    with gc_paused():
        content = compose(leaves, structure)
    if directory.is_remote:
        _send(directory, name, content)
    else:
        with directory.replace(name) as file:
            _write(file, content)


def _write(file: NewFile, content: Content) -> None:
    """Write a file, and its header last.

    The kernel gets the arrays' own memory. The checksums of a block are computed while it is
    written, since writing leaves a processor idle. Values are released as they are written.
    """
    with gc_paused():
        batches = _batches(_blocks(content.tensors))
        batch: list[tuple[Snapshot, memoryview]] | None = next(batches, [])
    following = next(batches, None)
    if following is None and sum(block.nbytes for _, block in batch) < _SMALL_BYTES:
        _add_checksums(batch)
        file.write(seal(content), *(block for _, block in batch))
        return
    file.skip(len(content.header))
    while batch is not None:
        background = Background(functools.partial(_add_checksums, batch))
        try:
            background.start()
            file.write(*(block for _, block in batch))
        finally:
            background.wait()
        # Release what has been written before more is taken.
        batch = following
        following = next(batches, None)
    file.write_at(0, seal(content))


class _ChangedError(Exception):
    """Another thread has changed an array between its checksum and its copy."""


def _send(directory: Directory, name: str, content: Content) -> None:
    """Send a file, and its header first.

    So the checksums are computed before. What another thread may change is copied in pieces when it
    is sent, which takes little memory, and must have the same checksum then. Else it is sent again,
    copied as a whole.
    """
    tensors = content.tensors
    copies = [tensor.duplicate() for tensor in tensors]
    _add_checksums(_blocks(copies))
    for tensor, copy in zip(tensors, copies, strict=True):
        tensor.checksum = copy.checksum
    size = len(content.header) + sum(tensor.nbytes for tensor in tensors)
    try:
        with directory.replace(name) as file:
            file.write_each(_pieces(content), size)
    except _ChangedError:
        for tensor in tensors:
            tensor.settle()
        _send(directory, name, content)


def _pieces(content: Content) -> Iterator[Any]:
    yield seal(content)
    copies = [tensor.duplicate() for tensor in content.tensors]
    for copy, block in _blocks(copies):
        if copy.copied_bytes:
            _add_checksums([(copy, block)])
        yield block
    for tensor, copy in zip(content.tensors, copies, strict=True):
        if copy.copied_bytes and copy.checksum != tensor.checksum:
            raise _ChangedError


def _blocks(tensors: Sequence[Snapshot]) -> Iterator[tuple[Snapshot, memoryview]]:
    """Yield blocks in the order of the file, each with its tensor."""
    for tensor, following in itertools.zip_longest(tensors, tensors[1:]):
        if following is not None:
            following.prefetch()
        for block in tensor.blocks():
            yield tensor, block


def _batches(
    blocks: Iterator[tuple[Snapshot, memoryview]],
) -> Iterator[list[tuple[Snapshot, memoryview]]]:
    """Yield many small blocks or a large one at a time."""
    batch: list[tuple[Snapshot, memoryview]] = []
    size = 0
    for tensor, block in blocks:
        if batch and size + block.nbytes > BLOCK_BYTES:
            yield batch
            batch, size = [], 0
        batch.append((tensor, block))
        size += block.nbytes
    if batch:
        yield batch


def _add_checksums(batch: Iterable[tuple[Snapshot, memoryview]]) -> None:
    for tensor, block in batch:
        # An array, since the function takes no memoryview.
        readable = cast(Any, np.frombuffer(block, np.uint8))
        tensor.checksum = google_crc32c.extend(tensor.checksum, readable)
