"""Read a checkpoint that several processes have saved, each in a file of its own.

A manifest says which leaves there are, and which process's file holds each part of them. It is a
JSON object: the CRC-32C of everything after it, the names of the files by process, the pytree's
structure, and the leaves in its order. A leaf has its name, dtype and shape. If it is spread over
the processes, it also has the implementation of typed PRNG keys, which are stored as their data,
and its parts: for each the number of its file, and where it begins and ends on each axis.
"""

import contextlib
import dataclasses
import itertools
import json
import math
import pathlib
from collections import defaultdict
from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ...storage import Directory
from .._damage import UNPARSABLE, check_seal, damaged, decoding, sealed
from .._dtypes import dtype_named, is_key
from .._keys import Key, key_of, name_of
from .._ownership import SHARD
from .._reader import SHARDS, Box, HostArray, KeyData, LeafInfo, Wanted, assembled, boxes_to_read
from .._safetensors._reader import SafetensorsCheckpoint


class Part(NamedTuple):
    """A part of an array, in the file of a process."""

    file: int
    box: Box

    def key(self, key: Key) -> Key:
        """Return the key of this part in its file. It is unique: no leaf is nested in another."""
        return (*key, ",".join(map(str, self.box.begin)))


@dataclasses.dataclass(frozen=True)
class SpreadLeaf:
    """A leaf; if it has no parts, it is in file 0."""

    info: LeafInfo
    implementation: str | None = None
    parts: tuple[Part, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what is stored; the data of typed PRNG keys has one more axis."""
        return tuple(map(max, zip(*[part.box.end for part in self.parts], strict=True)))

    @property
    def stored_dtype(self) -> str:
        return self.info.dtype if self.implementation is None else "uint32"

    def is_covered_once(self) -> bool:
        """Whether the parts form a grid that covers the leaf."""
        shape, boxes = self.shape, [part.box for part in self.parts]
        axes = len(self.info.shape) + (self.implementation is not None)
        if shape[: len(self.info.shape)] != self.info.shape or len(shape) != axes:
            return False
        begins = [sorted({0, *[box.begin[axis] for box in boxes]}) for axis in range(axes)]
        ends = [[*begin[1:], length] for begin, length in zip(begins, shape, strict=True)]
        cells = zip(itertools.product(*begins), itertools.product(*ends), strict=True)
        return math.prod(map(len, begins)) == len(boxes) and sorted(boxes) == list(cells)


@dataclasses.dataclass(frozen=True)
class Manifest:
    files: list[str]
    leaves: dict[Key, SpreadLeaf]
    structure: Any

    def to_json(self) -> str:
        leaves = [
            [name_of(key), leaf.info.dtype, leaf.info.shape, leaf.implementation]
            + [[part.file, *part.box] for part in leaf.parts]
            for key, leaf in self.leaves.items()
        ]
        described = {"files": self.files, "structure": self.structure, "leaves": leaves}
        return sealed(json.dumps(described, separators=(",", ":"))[1:])

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        check_seal(text)
        described = json.loads(text)
        files = described["files"]
        for name in files:
            if not SHARD.fullmatch(name):
                raise ValueError(f"expected the name of a file of a process, found {name!r}")
        leaves: dict[Key, SpreadLeaf] = {}
        for name, *row in described["leaves"]:
            try:
                if (key := key_of(name)) in leaves:
                    raise ValueError("there are two of it")
                leaves[key] = _leaf_of(row, len(files))
            except UNPARSABLE as error:
                raise ValueError(f"{name}: {error}") from None
        return cls(files, leaves, described["structure"])


def _leaf_of(row: Sequence[Any], files: int) -> SpreadLeaf:
    dtype, shape, implementation, *parts = row
    leaf = SpreadLeaf(
        LeafInfo(tuple(shape), dtype),
        implementation,
        tuple([Part(file, Box(tuple(begin), tuple(end))) for file, begin, end in parts]),
    )
    bounds = [bound for part in leaf.parts for bound in (part.file, *part.box.begin, *part.box.end)]
    if not {*map(type, [*shape, *bounds])} <= {int} or min([*shape, *bounds], default=0) < 0:
        raise ValueError("expected a shape and parts in whole numbers")
    if implementation is not None and not isinstance(implementation, str):
        raise ValueError("expected the implementation of PRNG keys")
    if (bool(parts) and is_key(dtype)) != (implementation is not None):
        raise ValueError(f"its dtype, {dtype}, does not fit what is stored")
    if max([part.file for part in leaf.parts], default=0) >= files:
        raise ValueError(f"it is in a file that is not among the {files} of the checkpoint")
    if parts and not leaf.is_covered_once():
        raise ValueError("its parts leave a gap, overlap, or have another shape")
    return leaf


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
