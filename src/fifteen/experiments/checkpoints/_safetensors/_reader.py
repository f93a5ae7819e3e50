"""Read a checkpoint from a safetensors file; `_header` describes the format."""

import functools
import pathlib
from collections.abc import Generator, Mapping
from typing import Any, cast

import google_crc32c
import numpy as np

from ..._gc import gc_paused
from ...storage import Directory
from .. import _decoding
from .._background import prefetched
from .._damage import damaged, decoding
from .._keys import Key, name_of
from .._reader import HostArray, LeafInfo
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
        self._leaves = {key: listed.info for key, listed in self._header.leaves.items()}

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        """Every leaf, in the order of the pytree."""
        return self._leaves

    def read(self, wanted: Mapping[Key, Any]) -> Generator[Mapping[Key, Any]]:
        """Read some leaves, and verify them; see `CheckpointReader.read`."""
        stored = {key: self._header.leaves[key] for key in wanted}
        yield {key: self._value(key, leaf) for key, leaf in stored.items() if not leaf.dtype}
        # The next group is read and verified while the caller moves this one to its devices.
        yield from prefetched(
            [functools.partial(self._read_group, group) for group in _grouped(stored)]
        )

    @property
    def structure(self) -> Any:
        """The pytree's structure; see `unflatten`."""
        return self._header.structure

    def _read_group(self, group: Mapping[Key, StoredLeaf]) -> dict[Key, Any]:
        begin = min(leaf.start for leaf in group.values())
        end = max(leaf.end for leaf in group.values())
        buffer = np.empty(end - begin, np.uint8)
        if self._file.read_into(buffer, self._header.size + begin) < len(buffer):
            raise damaged(self.path, "the file ends before its data does")
        return {
            key: self._value(key, leaf, buffer[leaf.start - begin : leaf.end - begin])
            for key, leaf in group.items()
        }

    def _value(self, key: Key, leaf: StoredLeaf, data: HostArray | None = None) -> Any:
        with decoding(self.path, name_of(key)):
            if data is None:
                return _decoding.decode(None, leaf.description)
            readonly = data.view()
            readonly.flags.writeable = False
            expected = leaf.checksum
            if expected is not None and google_crc32c.value(cast(Any, readonly)) != expected:
                raise ValueError("its bytes are not those that were written")
            array = data.view(_decoding.stored_dtype(leaf.dtype)).reshape(leaf.shape)
            # Other libraries need not align their tensors.
            return _decoding.decode(np.require(array, requirements="A"), leaf.description)


def _grouped(leaves: Mapping[Key, StoredLeaf]) -> list[dict[Key, StoredLeaf]]:
    """Group small tensors that are adjacent in the file, to read each group at once."""
    tensors = [(leaf.start, leaf.end, key) for key, leaf in leaves.items() if leaf.dtype]
    groups: list[dict[Key, StoredLeaf]] = []
    group_start = group_end = -1
    for start, end, key in sorted(tensors):
        if start != group_end or end - group_start > MAX_GROUP_BYTES:
            groups.append({})
            group_start = start
        groups[-1][key] = leaves[key]
        group_end = end
    return groups
