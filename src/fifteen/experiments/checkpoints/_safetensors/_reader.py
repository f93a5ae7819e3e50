"""One checkpoint in one safetensors file; `_header` says what stands in it."""

import functools
import pathlib
from collections.abc import Generator, Mapping, Sequence
from typing import Any, cast

import google_crc32c
import numpy as np

from ..._gc import gc_paused
from ...storage import ReadableFile
from .. import _decoding
from .._damage import damaged, decoding
from .._keys import Key, name_of
from .._prefetch import prefetched
from .._reader import HostArray, LeafInfo
from . import _header
from ._header import Listed, Place

_READ_TOGETHER = 8 << 20
"""Bytes of small tensors that are read at once."""


class SafetensorsCheckpoint:
    """A checkpoint that `_writer` or another library has written; only its header is read at first.

    The file stays open for as long as the object lives, so that what its header tells is found in
    it also when another process replaces or removes it meanwhile.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._file = ReadableFile(path)
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
        listed = {key: self._header.leaves[key] for key in wanted}
        yield {key: self._value(key, leaf, None) for key, leaf in listed.items() if not leaf.tensor}
        groups = _grouped(listed)
        # The next group is read and verified while the caller puts this one to its devices.
        yield from prefetched([functools.partial(self._read_group, group) for group in groups])

    @property
    def structure(self) -> Any:
        """The pytree's structure; see `unflatten`."""
        return self._header.structure

    def _read_group(self, group: Sequence[tuple[Key, Listed, Place]]) -> dict[Key, Any]:
        begin, end = group[0][2].start, group[-1][2].end
        buffer = np.empty(end - begin, np.uint8)
        if self._file.read_into(buffer, self._header.size + begin) < len(buffer):
            raise damaged(self.path, "the file ends before its data does")
        return {
            key: self._value(key, listed, buffer[place.start - begin : place.end - begin])
            for key, listed, place in group
        }

    def _value(self, key: Key, listed: Listed, data: HostArray | None) -> Any:
        array = None
        if data is not None and listed.tensor is not None:
            readonly = data.view()
            readonly.flags.writeable = False
            checksum = listed.tensor.checksum
            if checksum is not None and google_crc32c.value(cast(Any, readonly)) != checksum:
                raise damaged(
                    self.path, f"{name_of(key)}: its bytes are not those that were written"
                )
        with decoding(self.path, name_of(key)):
            if data is not None and listed.tensor is not None:
                dtype = _decoding.stored_dtype(listed.tensor.dtype)
                array = data.view(dtype).reshape(listed.tensor.shape)
                # Other libraries need not align what they write.
                array = np.require(array, requirements="A")
            return _decoding.decode(array, listed.description)


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
