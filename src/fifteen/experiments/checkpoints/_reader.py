"""The interface of the readers of all formats, and the host values that they return."""

import dataclasses
import operator
import pathlib
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy.typing as npt

from ._keys import Key

if TYPE_CHECKING:
    import jax

HostArray: TypeAlias = npt.NDArray[Any]

Wanted: TypeAlias = "Mapping[Key, jax.sharding.Sharding | None]"
"""The leaves to read, each with the sharding over several processes that it will have, or None."""

DESCRIPTION = "fifteen.json"
"""The file that we write beside Orbax's."""

SHARDS = "fifteen-shards.json"
"""The file that commits what several processes have saved in an object store."""

SUFFIX = ".safetensors"
"""The end of our own files' names, after the step."""


@dataclasses.dataclass(frozen=True)
class LeafInfo:
    """Describe a leaf of a checkpoint.

    Attributes:
        shape: its shape; `()` for what is no array.
        dtype: its dtype's name, `key<impl>` for a typed PRNG key, or the name of a Python type.

    Examples:
        >>> str(LeafInfo(shape=(3, 4), dtype="float32"))
        'float32[3,4]'
    """

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


class Box(NamedTuple):
    """A part of an array: where it begins and ends on each axis."""

    begin: tuple[int, ...]
    end: tuple[int, ...]

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> "Box":
        return cls((0,) * len(shape), shape)

    @classmethod
    def at(cls, index: Sequence[slice], shape: Sequence[int]) -> "Box":
        bounds = [at.indices(length) for at, length in zip(index, shape, strict=True)]
        return cls(tuple([begin for begin, _, _ in bounds]), tuple([end for _, end, _ in bounds]))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(operator.sub, self.end, self.begin))

    def overlap(self, other: "Box") -> "Box | None":
        begin = tuple(map(max, self.begin, other.begin))
        end = tuple(map(min, self.end, other.end))
        return Box(begin, end) if all(map(operator.lt, begin, end)) else None

    def index_in(self, other: "Box") -> tuple[slice, ...]:
        """Return its index in a part that contains it."""
        begin = map(operator.sub, self.begin, other.begin)
        return tuple(map(slice, begin, map(operator.sub, self.end, other.begin)))


@dataclasses.dataclass(frozen=True)
class Shards:
    """This process's shards of an array that is distributed over several processes."""

    shape: tuple[int, ...]  # Of the whole array, as is the sharding.
    sharding: "jax.sharding.Sharding"
    # A process that has none of the devices has one part without elements, which has the dtype.
    parts: Mapping[Box, HostArray]

    def map(self, function: Callable[[HostArray], HostArray]) -> "Shards":
        parts = {box: function(part) for box, part in self.parts.items()}
        return dataclasses.replace(self, parts=parts)


def boxes_to_read(
    shape: tuple[int, ...], sharding: "jax.sharding.Sharding | None"
) -> Collection[Box]:
    """Return what to read of an array: all of it, or the parts of this process, as in `Shards`."""
    if sharding is None:
        return [Box.whole(shape)]
    if not sharding.addressable_devices:
        # Only the dtype is needed, which an empty part has too.
        return [Box.whole((0,) * len(shape))]
    indices = sharding.addressable_devices_indices_map(shape).values()
    # Devices that hold the same part share one.
    return {Box.at(index, shape) for index in indices if index is not None}


def assembled(
    shape: tuple[int, ...],
    sharding: "jax.sharding.Sharding | None",
    parts: Mapping[Box, HostArray],
) -> HostArray | Shards:
    """Return the array of what has been read of its `boxes_to_read`."""
    if sharding is not None:
        return Shards(shape, sharding, parts)
    (whole,) = parts.values()
    return whole


@dataclasses.dataclass(frozen=True)
class KeyData:
    """Typed PRNG keys, as the data from which JAX makes them."""

    # Has one axis more than the keys. Of an empty array of keys that axis may be empty.
    data: HostArray | Shards
    implementation: str  # JAX's name for how the keys are split.

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the keys."""
        return self.data.shape[:-1]


class CheckpointReader(Protocol):
    """A checkpoint on disk, of which only the description has been read."""

    @property
    def path(self) -> pathlib.Path: ...

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        """Every leaf, in the order of the pytree."""
        ...

    @property
    def structure(self) -> Any:
        """The pytree's structure; see `_keys.unflatten`. A damaged one is found when it is used."""
        ...

    def read(self, wanted: Wanted) -> Generator[Mapping[Key, Any]]:
        """Yield values by key, in batches and in the order that suits the format.

        A value is a `HostArray`, `Shards`, `KeyData`, a number of Python, a str or bytes. The
        sharding of typed PRNG keys is that of their data. A format that can read parts of an array
        reads those of this process. Raises `CheckpointDamagedError` if the bytes are not those that
        were written.
        """
        ...
