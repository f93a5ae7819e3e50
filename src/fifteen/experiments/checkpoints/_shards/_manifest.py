"""Manifest: which leaves there are, and which process's file holds each part of them.

A JSON object: the CRC-32C of everything after it, the names of the files by process, the pytree's
structure, and the leaves in its order. A leaf has its name, dtype and shape. If it is spread over
the processes, it also has the implementation of typed PRNG keys, which are stored as their data,
and its parts: for each the number of its file, and where it begins and ends on each axis.
"""

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from .._damage import UNPARSABLE, check_seal, sealed
from .._dtypes import is_key
from .._keys import Key, key_of, name_of
from .._reader import SUFFIX, Box, LeafInfo

FILE = re.compile(rf"[0-9a-f]{{8}}\.[0-9]+{re.escape(SUFFIX)}")
"""The name of a process's file: a token of the save, and the number of the process."""


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
    """What a checkpoint consists of."""

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
            if not FILE.fullmatch(name):
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
