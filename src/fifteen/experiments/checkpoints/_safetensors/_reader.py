"""Read a checkpoint from a safetensors file; `_header` describes the format."""

import functools
import pathlib
from collections.abc import Callable, Generator, Mapping
from typing import Any

import google_crc32c
import numpy as np

from ..._gc import gc_paused
from ...storage import Directory
from .._background import prefetched
from .._damage import damaged, decoding
from .._decoding import decode
from .._keys import Key, name_of
from . import _header
from ._header import StoredLeaf

MAX_GROUP_BYTES = 8 << 20
"""Bytes of small tensors that are read at once."""


class SafetensorsCheckpoint:
    """A safetensors file of ours or of another library; only its header is read at first.

    The file stays open as long as the object lives, so that it can be read even if another process
    replaces or removes it meanwhile.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._file = Directory(path.parent).open(path.name)
        self.close = self._file.close
        with gc_paused():
            self._header = _header.read(self._file)
            self.leaves = {key: leaf.info for key, leaf in self._header.leaves.items()}
        self.structure = self._header.structure

    def read(self, wanted: Mapping[Key, Any]) -> Generator[Mapping[Key, Any]]:
        """Read some leaves, and verify them; see `CheckpointReader.read`."""
        stored = {key: self._header.leaves[key] for key in wanted}
        described = {key: leaf for key, leaf in stored.items() if leaf.dtype is None}
        yield self._decoded(described, lambda leaf: decode(None, leaf.description))
        # The next group is read and verified while the caller moves this one to its devices.
        groups = _grouped(stored)
        yield from prefetched(
            [functools.partial(self._read_group, group) for group in groups],
            [sum(leaf.end - leaf.start for leaf in group.values()) for group in groups],
            self._file.parallel_bytes,
        )

    def _read_group(self, group: Mapping[Key, StoredLeaf]) -> dict[Key, Any]:
        begin = min(leaf.start for leaf in group.values())
        end = max(leaf.end for leaf in group.values())
        buffer = np.empty(end - begin, np.uint8)
        if self._file.read_into(buffer, self._header.size + begin) < len(buffer):
            raise damaged(self.path, "the file ends before its data does")
        # The checksum's function takes only what cannot be changed.
        readonly: Any = buffer.view()
        readonly.flags.writeable = False

        def value(leaf: StoredLeaf) -> Any:
            start, end = leaf.start - begin, leaf.end - begin
            is_checked = leaf.checksum is not None
            if is_checked and google_crc32c.value(readonly[start:end]) != leaf.checksum:
                raise ValueError("its bytes are not those that were written")
            array = np.ndarray(leaf.shape, leaf.dtype, buffer, start)
            # Other libraries need not align their tensors.
            return decode(array if array.flags.aligned else array.copy(), leaf.description)

        return self._decoded(group, value)

    def _decoded(
        self, leaves: Mapping[Key, StoredLeaf], value: Callable[[StoredLeaf], Any]
    ) -> dict[Key, Any]:
        values: dict[Key, Any] = {}
        for key, leaf in leaves.items():
            try:
                values[key] = value(leaf)
            except Exception:
                # Entered for errors only, since there may be thousands of leaves.
                with decoding(self.path, name_of(key)):
                    raise
        return values


def _grouped(leaves: Mapping[Key, StoredLeaf]) -> list[dict[Key, StoredLeaf]]:
    """Group small tensors that are adjacent in the file, to read each group at once."""
    tensors = [
        (leaf.start, leaf.end, key) for key, leaf in leaves.items() if leaf.dtype is not None
    ]
    groups: list[dict[Key, StoredLeaf]] = []
    group_start = group_end = -1
    for start, end, key in sorted(tensors):
        if start != group_end or end - group_start > MAX_GROUP_BYTES:
            groups.append({})
            group_start = start
        groups[-1][key] = leaves[key]
        group_end = end
    return groups
