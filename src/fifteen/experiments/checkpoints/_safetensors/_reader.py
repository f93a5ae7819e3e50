"""Read a checkpoint from a safetensors file; `_header` describes the format."""

import functools
import pathlib
from collections.abc import Generator, Iterable, Mapping
from typing import Any, TypeAlias

import google_crc32c
import numpy as np

from ...storage import Directory
from .._background import prefetched
from .._damage import damaged, decoding
from .._decoding import decode
from .._keys import Key, name_of
from .._reader import Wanted
from . import _header
from ._header import StoredLeaf

MAX_GROUP_BYTES = 8 << 20
"""Bytes of small tensors that are read at once."""

_ALIGNMENT = 64
"""On the CPU, JAX copies arrays unless they begin at a multiple of so many bytes."""
_SMALL_BYTES = 1 << 16
"""Smaller arrays are aligned. Larger ones are copied: so each has memory of its own."""

_Group: TypeAlias = list[tuple[int, Key, StoredLeaf]]
"""Leaves whose tensors are adjacent in the file, each with the offset of its tensor."""


class SafetensorsCheckpoint:
    """A safetensors file of ours or of another library; only its header is read at first.

    The file stays open as long as the object lives, so that it can be read even if another process
    replaces or removes it meanwhile.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._file = Directory(path.parent).open(path.name)
        self.close = self._file.close
        self._header = _header.read(self._file)
        self.leaves = {key: leaf.info for key, leaf in self._header.leaves.items()}
        self.structure = self._header.structure

    def read(self, wanted: Wanted) -> Generator[Mapping[Key, Any]]:
        groups = _grouped((key, self._header.leaves[key]) for key in wanted)
        # The next group is read and verified while the caller moves this one to its devices.
        yield from prefetched(
            [functools.partial(self._read_group, group) for group in groups],
            [group[-1][2].end - group[0][0] for group in groups],
            self._file.parallel_bytes,
        )

    def _read_group(self, group: _Group) -> dict[Key, Any]:
        begin, size = group[0][0], group[-1][2].end - group[0][0]
        memory = np.empty(size + _ALIGNMENT, np.uint8)
        shift = -memory.ctypes.data % _ALIGNMENT if size < len(group) * _SMALL_BYTES else 0
        buffer = memory[shift : shift + size]
        if self._file.read_into(buffer, self._header.size + begin) < len(buffer):
            raise damaged(self.path, "the file ends before its data does")
        # The checksum's function takes only what cannot be changed.
        readonly: Any = buffer.view()
        readonly.flags.writeable = False
        values: dict[Key, Any] = {}
        key: Key = ()
        try:
            for start, key, leaf in group:
                if leaf.dtype is None:
                    values[key] = decode(None, leaf.description)
                    continue
                part = readonly[start - begin : leaf.end - begin]
                if leaf.checksum is not None and google_crc32c.value(part) != leaf.checksum:
                    raise ValueError("its bytes are not those that were written")
                array = np.ndarray(leaf.shape, leaf.dtype, buffer, start - begin)
                # Other libraries need not align their tensors.
                aligned = array if array.flags.aligned else array.copy()
                values[key] = decode(aligned, leaf.description)
        except Exception:
            with decoding(self.path, name_of(key)):
                raise
        return values


def _grouped(leaves: Iterable[tuple[Key, StoredLeaf]]) -> list[_Group]:
    """Group small tensors that are adjacent in the file, to read each group at once.

    Leaves without a tensor come first.
    """
    groups: list[_Group] = []
    group_start = group_end = -1
    for start, end, key, leaf in sorted(
        [(leaf.start, leaf.end, key, leaf) for key, leaf in leaves]
    ):
        if start != group_end or end - group_start > MAX_GROUP_BYTES:
            groups.append([])
            group_start = start
        groups[-1].append((start, key, leaf))
        group_end = end
    return groups
