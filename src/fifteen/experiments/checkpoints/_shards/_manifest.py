"""Manifest: which leaves there are, and which process's file holds each part of them.

A JSON object: the CRC-32C of everything after it, the names of the files by process, the pytree's
structure, and the leaves in its order. A leaf has its name, dtype and shape. If it is spread over
the processes, it also has the implementation of typed PRNG keys, which are stored as their data,
and its parts: for each the number of its file, and where it begins and ends on each axis.
"""

import dataclasses
import json
from typing import Any

import google_crc32c

from .._keys import Key, key_of, name_of
from .._reader import LeafInfo


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of an array."""

    file: int
    begin: tuple[int, ...]
    end: tuple[int, ...]

    def key(self, key: Key) -> Key:
        """Return the key of this part in its file. It is unique: no leaf is nested in another."""
        return (*key, ",".join(map(str, self.begin)))


@dataclasses.dataclass(frozen=True)
class SpreadLeaf:
    """A leaf; if it has no parts, it is in file 0."""

    info: LeafInfo
    implementation: str | None = None
    parts: tuple[Part, ...] = ()


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a checkpoint consists of."""

    files: list[str]
    leaves: dict[Key, SpreadLeaf]
    structure: Any

    def to_json(self) -> str:
        """Return the contents of the file."""
        leaves = [
            [name_of(key), leaf.info.dtype, leaf.info.shape, leaf.implementation]
            + [[part.file, part.begin, part.end] for part in leaf.parts]
            for key, leaf in self.leaves.items()
        ]
        described = {"files": self.files, "structure": self.structure, "leaves": leaves}
        rest = json.dumps(described, separators=(",", ":"))[1:]
        return _beginning(rest) + rest

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse a file's contents; if they are damaged, raise what parsing raises."""
        if not text.startswith(_beginning(text[len(_beginning("")) :])):
            raise ValueError("its bytes are not those that were written")
        described = json.loads(text)
        leaves = {
            key_of(name): SpreadLeaf(
                LeafInfo(tuple(shape), dtype),
                implementation,
                tuple(Part(file, tuple(begin), tuple(end)) for file, begin, end in parts),
            )
            for name, dtype, shape, implementation, *parts in described["leaves"]
        }
        return cls(described["files"], leaves, described["structure"])


def _beginning(rest: str) -> str:
    return f'{{"crc32c":"{google_crc32c.value(rest.encode()):08x}",'
