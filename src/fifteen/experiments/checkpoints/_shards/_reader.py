"""Read a checkpoint that several processes have saved, each in a file of its own."""

import contextlib
import pathlib
from collections import defaultdict
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...storage import Directory
from .._damage import damaged
from .._dtypes import dtype_named
from .._keys import Key, name_of
from .._reader import SHARDS, HostArray, KeyData, LeafInfo, Shards
from .._safetensors._reader import SafetensorsCheckpoint
from ._manifest import Manifest, Part, SpreadLeaf

if TYPE_CHECKING:
    import jax

_Regions = dict[str, tuple[slice, ...]]


class ShardedCheckpoint:
    """The files of several processes, of which `read` opens those that it needs."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        try:
            self._manifest = Manifest.from_json(Directory(path).read(SHARDS).decode())
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(path, f"{SHARDS} is damaged ({error})") from None
        self.leaves: Mapping[Key, LeafInfo] = {
            key: leaf.info for key, leaf in self._manifest.leaves.items()
        }
        self.structure = self._manifest.structure

    def read(
        self, wanted: "Mapping[Key, jax.sharding.Sharding | None]"
    ) -> Generator[Mapping[Key, Any]]:
        """Read some leaves; see `CheckpointReader.read`."""
        leaves = {key: self._manifest.leaves[key] for key in wanted}
        spread = {key: leaf for key, leaf in leaves.items() if leaf.parts}
        shapes = {key: _shape(leaf) for key, leaf in spread.items()}
        regions = {key: _regions(shapes[key], wanted[key]) for key in spread}
        values: dict[Key, dict[str, HostArray]] = {
            key: {
                name: np.empty(_lengths(at, shapes[key]), _dtype(leaf))
                for name, at in regions[key].items()
            }
            for key, leaf in spread.items()
        }
        files: dict[int, dict[Key, tuple[Key, Part | None]]] = defaultdict(dict)
        for key, leaf in leaves.items():
            if not leaf.parts:
                files[0][key] = key, None
            for part in leaf.parts:
                if any(_common(part, at, shapes[key]) for at in regions[key].values()):
                    files[part.file][part.key(key)] = key, part
        for number, inside in sorted(files.items()):
            path = self.path / self._manifest.files[number]
            try:
                reader = SafetensorsCheckpoint(path)
            except FileNotFoundError:
                raise damaged(self.path, f"{path.name} is missing") from None
            with contextlib.closing(reader):
                absent = [key for key in inside if key not in reader.leaves]
                if absent:
                    raise damaged(self.path, f"{path.name} does not contain {name_of(absent[0])}")
                for batch in reader.read(dict.fromkeys(inside)):
                    yield {key: value for key, value in batch.items() if inside[key][1] is None}
                    for stored, value in batch.items():
                        key, part = inside[stored]
                        if part is not None:
                            _copy(value, part, values[key], regions[key], shapes[key])
        yield {
            key: _assembled(leaf, shapes[key], wanted[key], values.pop(key))
            for key, leaf in spread.items()
        }

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _shape(leaf: SpreadLeaf) -> tuple[int, ...]:
    """Return the shape of what is stored; the data of typed PRNG keys has one more axis."""
    return tuple(map(max, zip(*(part.end for part in leaf.parts), strict=True)))


def _dtype(leaf: SpreadLeaf) -> Any:
    return np.dtype(np.uint32) if leaf.implementation else dtype_named(leaf.info.dtype)


def _regions(shape: tuple[int, ...], sharding: "jax.sharding.Sharding | None") -> _Regions:
    """Return what to read of an array, by the `str` of its index."""
    if sharding is None:
        return {"": tuple(slice(0, length) for length in shape)}
    if not sharding.addressable_devices:
        # Only the dtype is needed.
        return {"": tuple(slice(0, 0) for _ in shape)}
    indices = sharding.addressable_devices_indices_map(shape).values()
    return {str(index): index for index in indices if index is not None}


def _lengths(region: tuple[slice, ...], shape: tuple[int, ...]) -> list[int]:
    return [len(range(*at.indices(length))) for at, length in zip(region, shape, strict=True)]


def _common(
    part: Part, region: tuple[slice, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Return the overlap of a part and a region, as an index into each; None if there is none."""
    there: list[slice] = []
    here: list[slice] = []
    for begin, end, at, length in zip(part.begin, part.end, region, shape, strict=True):
        first, last, _ = at.indices(length)
        low, high = max(begin, first), min(end, last)
        if low >= high:
            return None
        there.append(slice(low - begin, high - begin))
        here.append(slice(low - first, high - first))
    return tuple(there), tuple(here)


def _copy(
    value: HostArray,
    part: Part,
    values: dict[str, HostArray],
    regions: _Regions,
    shape: tuple[int, ...],
) -> None:
    for name, region in regions.items():
        common = _common(part, region, shape)
        if common is None:
            continue
        if values[name].shape == value.shape == _extent(common[1]):
            values[name] = value
        else:
            values[name][common[1]] = value[common[0]]


def _extent(slices: tuple[slice, ...]) -> tuple[int, ...]:
    return tuple(at.stop - at.start for at in slices)


def _assembled(
    leaf: SpreadLeaf,
    shape: tuple[int, ...],
    sharding: "jax.sharding.Sharding | None",
    values: dict[str, HostArray],
) -> Any:
    found = values[""] if sharding is None else Shards(shape, sharding, values)
    return found if leaf.implementation is None else KeyData(found, leaf.implementation)
