"""Arrays in zarr format, as Orbax and flax write them, read by tensorstore.

Tensorstore is what Orbax itself reads with. Its arrays come in the dtype that is stored, each
process reads what its own devices hold, and nothing is compiled or logged on the way.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from .._errors import MissingExtraError
from . import _keys
from ._stored import Key, LeafInfo, damaged

Spec = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class OpenArray:
    """An array of which shape and dtype are known, and nothing else has been read."""

    info: LeafInfo
    store: Any


def plain(directory: pathlib.Path) -> Spec:
    """Describe an array that has a directory of its own."""
    return {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{directory}/"}}


def in_directory(directory: pathlib.Path, name: str, zarr3: bool) -> Spec:
    """Describe an array by its name in an Orbax directory."""
    driver = "zarr3" if zarr3 else "zarr"
    base = {"driver": "file", "path": f"{directory}/"}
    if (directory / "manifest.ocdbt").exists():
        return {
            "driver": driver,
            "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/" if name else ""},
        }
    return {**plain(directory / name), "driver": driver}


def open_all(path: pathlib.Path, specs: Mapping[Key, Spec]) -> dict[Key, OpenArray]:
    """Open arrays, all at once.

    Args:
        path: the checkpoint that they belong to, for messages.
        specs: by the leaves' keys.

    Raises:
        CheckpointDamagedError: an array is not there, or none that can be read.
    """
    tensorstore = _tensorstore(path)
    # The nodes of the tree in which OCDBT keeps names are shared by all arrays.
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 100_000_000}})
    futures = {
        key: tensorstore.open(spec, read=True, open=True, context=context, recheck_cached=False)
        for key, spec in specs.items()
    }
    opened: dict[Key, OpenArray] = {}
    for key, future in futures.items():
        try:
            store = future.result()
        except Exception as error:
            raise damaged(path, _problem(key, error)) from None
        info = LeafInfo(tuple(store.shape), np.dtype(store.dtype.numpy_dtype).name)
        opened[key] = OpenArray(info, store)
    return opened


def read(
    path: pathlib.Path, arrays: Mapping[Key, OpenArray], wanted: Mapping[Key, Any]
) -> dict[Key, Any]:
    """Read arrays, all at once.

    Args:
        path: the checkpoint that they belong to, for messages.
        arrays: what to read.
        wanted: the targets' leaves. For one that is spread over several processes, each process
            reads the parts that its own devices hold.

    Returns:
        For each key a NumPy array, or a `jax.Array` that is spread over several processes.

    Raises:
        CheckpointDamagedError: an array cannot be read.
    """
    started = {key: _start(array, wanted.get(key)) for key, array in arrays.items()}
    values: dict[Key, Any] = {}
    for key, reading in started.items():
        try:
            values[key] = reading.result()
        except Exception as error:
            raise damaged(path, _problem(key, error)) from None
    return values


def sharding_over_processes(leaf: Any, shape: tuple[int, ...]) -> jax.sharding.Sharding | None:
    """Return the sharding of a target's leaf if devices of other processes are part of it."""
    sharding = getattr(leaf, "sharding", None)
    if not isinstance(sharding, jax.sharding.Sharding) or sharding.is_fully_addressable:
        return None
    try:
        sharding.shard_shape(shape)
    except ValueError:
        # A shape that differs from the target's may not divide among its devices.
        mesh = getattr(sharding, "mesh", None)
        if mesh is None:
            return None
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return sharding


@dataclasses.dataclass(frozen=True)
class _Reading:
    """The parts of an array that are on their way, by what they are indexed with."""

    parts: dict[str, Any]
    shape: tuple[int, ...]
    sharding: jax.sharding.Sharding | None

    def result(self) -> Any:
        if self.sharding is None:
            return np.asarray(self.parts[""].result())
        read = {index: future.result() for index, future in self.parts.items()}
        return jax.make_array_from_callback(
            self.shape, self.sharding, lambda index: read[str(index)]
        )


def _start(array: OpenArray, leaf: Any) -> _Reading:
    shape = array.info.shape
    sharding = sharding_over_processes(leaf, shape)
    if sharding is None:
        return _Reading({"": array.store.read()}, shape, None)
    # Devices that hold the same part share one reading.
    indices = sharding.addressable_devices_indices_map(shape).values()
    parts = {str(index): index for index in indices}
    started = {name: array.store[index].read() for name, index in parts.items()}
    return _Reading(started, shape, sharding)


def _problem(key: Key, error: Exception) -> str:
    # Tensorstore's texts go on with the whole specification.
    return f"{_keys.name_of(key)}: {str(error).split(' [')[0][:500]}"


def _tensorstore(path: pathlib.Path) -> Any:
    try:
        import tensorstore
    except ImportError:
        raise MissingExtraError(
            f"{path}: reading what Orbax has written needs tensorstore; "
            "pip install 'fifteen[orbax]'"
        ) from None
    return tensorstore
