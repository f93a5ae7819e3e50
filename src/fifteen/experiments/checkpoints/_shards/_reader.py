"""Read a checkpoint that several processes have saved, each in a file of its own."""

import contextlib
import pathlib
from collections import defaultdict
from collections.abc import Collection, Generator, Mapping
from typing import Any, TypeAlias

import numpy as np

from ...storage import Directory
from .._damage import UNPARSABLE, damaged, decoding
from .._dtypes import dtype_named
from .._keys import Key, name_of
from .._reader import SHARDS, Box, HostArray, KeyData, LeafInfo, Wanted, assembled, boxes_to_read
from .._safetensors._reader import SafetensorsCheckpoint
from ._manifest import Manifest

_Inside: TypeAlias = dict[Key, tuple[Key, Box | None]]
"""What to read of a file: for each key in it, the leaf's key, and which part of the leaf it is."""


class ShardedCheckpoint:
    """The files of several processes, of which `read` opens those that it needs."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        try:
            self._manifest = Manifest.from_json(Directory(path).read(SHARDS).decode())
        except (*UNPARSABLE, RecursionError) as error:
            raise damaged(path, f"{SHARDS} is damaged ({error})") from None
        self.leaves: Mapping[Key, LeafInfo] = {
            key: leaf.info for key, leaf in self._manifest.leaves.items()
        }
        self.structure = self._manifest.structure

    def read(self, wanted: Wanted) -> Generator[Mapping[Key, Any]]:
        boxes: dict[Key, Collection[Box]] = {}
        files: dict[int, _Inside] = defaultdict(dict)
        for key, sharding in wanted.items():
            leaf = self._manifest.leaves[key]
            if not leaf.parts:
                files[0][key] = key, None
                continue
            boxes[key] = boxes_to_read(leaf.shape, sharding)
            for part in leaf.parts:
                if any(map(part.box.overlap, boxes[key])):
                    files[part.file][part.key(key)] = key, part.box
        with contextlib.ExitStack() as opened:
            # All of them before memory is allocated: the manifest may state any shape.
            readers = {file: self._open(file, files[file], opened) for file in sorted(files)}
            values = {key: self._allocated(key, of_key) for key, of_key in boxes.items()}
            for file, reader in readers.items():
                for batch in reader.read(dict.fromkeys(files[file])):
                    local: dict[Key, Any] = {}
                    for stored, value in batch.items():
                        key, box = files[file][stored]
                        if box is None:
                            local[key] = value
                        else:
                            _copy(value, box, values[key])
                    yield local
        for key in boxes:
            leaf = self._manifest.leaves[key]
            array = assembled(leaf.shape, wanted[key], values.pop(key))
            kind = leaf.implementation
            yield {key: array if kind is None else KeyData(array, kind)}

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _open(
        self, file: int, inside: _Inside, opened: contextlib.ExitStack
    ) -> SafetensorsCheckpoint:
        """Open a file, and check that it contains what the manifest says."""
        name = self._manifest.files[file]
        try:
            reader = SafetensorsCheckpoint(self.path / name)
        except FileNotFoundError:
            raise damaged(self.path, f"{name} is missing") from None
        opened.callback(reader.close)
        for stored, (key, box) in inside.items():
            leaf, found = self._manifest.leaves[key], reader.leaves.get(stored)
            expected = leaf.info if box is None else LeafInfo(box.shape, leaf.stored_dtype)
            if found != expected:
                problem = f"{name_of(key)}: expected {expected}, found {found or 'nothing'}"
                raise damaged(self.path, f"{name}: {problem}")
        return reader

    def _allocated(self, key: Key, boxes: Collection[Box]) -> dict[Box, HostArray]:
        with decoding(self.path, name_of(key)):
            dtype = dtype_named(self._manifest.leaves[key].stored_dtype)
            return {box: np.empty(box.shape, dtype) for box in boxes}


def _copy(value: HostArray, box: Box, values: dict[Box, HostArray]) -> None:
    if box in values:
        values[box] = value
        return
    for other, array in values.items():
        if (common := box.overlap(other)) is not None:
            array[common.index_in(other)] = value[common.index_in(box)]
