"""Arrays in zarr format, as Orbax and flax write them, read by tensorstore.

Tensorstore is what Orbax itself reads with. Its arrays come in the dtype that is stored, each
process reads what its own devices hold, and nothing is compiled or logged on the way.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ..._errors import CheckpointError, MissingExtraError
from .._casting import CastError, CastErrors, canonicalize
from .._damage import damaged, decoding, printable
from .._dtypes import HostArray
from .._keys import Key, name_of
from .._reader import LeafInfo

Spec = dict[str, Any]

_NOWHERE = "on no device of this process"


@dataclasses.dataclass(frozen=True)
class OpenArray:
    """An array of which shape and dtype are known, and nothing else has been read."""

    info: LeafInfo
    store: Any


def refuse_undecodable(path: pathlib.Path) -> None:
    """Refuse a path whose bytes are no UTF-8, of which tensorstore cannot be told.

    Raises:
        CheckpointError: it is such a path.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(
            f"{printable(str(path))}: Orbax writes and reads only what UTF-8 can name; choose "
            "another prefix, or another name for the directory"
        ) from None


def plain(directory: pathlib.Path) -> Spec:
    """Describe an array that has a directory of its own."""
    return {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{directory}/"}}


def in_directory(directory: pathlib.Path, name: str, zarr3: bool, has_all_chunks: bool) -> Spec:
    """Describe an array by its name in an Orbax directory.

    Args:
        directory: holds the arrays.
        name: what Orbax calls this one.
        zarr3: whether that is the version of the format.
        has_all_chunks: whether a chunk that is not there is lost; Orbax used to leave out those
            in which all is zero.
    """
    spec = {
        **plain(directory / name),
        "driver": "zarr3" if zarr3 else "zarr",
        "fill_missing_data_reads": not has_all_chunks,
    }
    if (directory / "manifest.ocdbt").exists():
        base = {"driver": "file", "path": f"{directory}/"}
        path = f"{name}/" if name else ""
        return {**spec, "kvstore": {"driver": "ocdbt", "base": base, "path": path}}
    return spec


def open_all(path: pathlib.Path, specs: Mapping[Key, Spec]) -> dict[Key, OpenArray]:
    """Open arrays, all at once.

    Args:
        path: the checkpoint that they belong to, for messages.
        specs: by the leaves' keys.

    Raises:
        CheckpointDamagedError: an array is not there, or none that can be read.
        CheckpointError: the path's bytes are no UTF-8.
    """
    refuse_undecodable(path)
    tensorstore = _tensorstore(path)
    # The nodes of the tree in which OCDBT keeps names are shared by all arrays.
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 100_000_000}})
    futures = {
        key: tensorstore.open(spec, read=True, open=True, context=context, recheck_cached=False)
        for key, spec in specs.items()
    }
    opened: dict[Key, OpenArray] = {}
    for key, future in futures.items():
        store = _result(path, key, future)
        info = LeafInfo(tuple(store.shape), np.dtype(store.dtype.numpy_dtype).name)
        opened[key] = OpenArray(info, store)
    return opened


@dataclasses.dataclass(frozen=True)
class Request:
    """What to read of an array.

    Attributes:
        array: the array.
        sharding: None for all of it, as a NumPy array; or what devices of several processes are
            to hold, of which each process reads its own devices' parts.
        decode: makes what was saved out of what is stored, for all of it or for a part.
    """

    array: OpenArray
    sharding: jax.sharding.Sharding | None = None
    decode: Callable[[HostArray], Any] = lambda part: part


def read(path: pathlib.Path, requests: Mapping[Key, Request]) -> dict[Key, Any]:
    """Read arrays, all at once.

    Args:
        path: the checkpoint that they belong to, for messages.
        requests: by the leaves' keys.

    Returns:
        For each key a NumPy array, or a `jax.Array` where a sharding was given.

    Raises:
        CheckpointDamagedError: an array cannot be read.
        CastErrors: what would go to devices has numbers that JAX cannot hold there.
    """
    problems: dict[Key, str] = {}
    started = {key: _start(request) for key, request in requests.items()}
    values: dict[Key, Any] = {}
    for key, request in requests.items():
        read_parts = {name: _result(path, key, future) for name, future in started.pop(key).items()}
        with decoding(path, name_of(key)):
            parts = {name: request.decode(np.asarray(part)) for name, part in read_parts.items()}
        del read_parts
        if request.sharding is None:
            values[key] = parts[""]
            continue
        try:
            held = {name: canonicalize(part) for name, part in parts.items()}
        except CastError as error:
            problems[key] = str(error)
        else:
            values[key] = _assembled(tuple(request.array.store.shape), request.sharding, held)
    if problems:
        raise CastErrors(problems)
    return values


def _start(request: Request) -> dict[str, Any]:
    """Start reading the parts of an array, by what they are indexed with."""
    store, sharding = request.array.store, request.sharding
    if sharding is None:
        return {"": store.read()}
    if not sharding.addressable_devices:
        # Only the dtype is needed, which a part without elements has as well.
        return {_NOWHERE: store[(slice(0, 0),) * len(store.shape)].read()}
    # Devices that hold the same part share one reading.
    indices = sharding.addressable_devices_indices_map(tuple(store.shape)).values()
    return {name: store[index].read() for name, index in {str(i): i for i in indices}.items()}


def _assembled(
    shape: tuple[int, ...], sharding: jax.sharding.Sharding, parts: Mapping[str, Any]
) -> jax.Array:
    if not sharding.addressable_devices:
        dtype = parts[_NOWHERE].dtype
        return jax.make_array_from_single_device_arrays(shape, sharding, [], dtype=dtype)
    return jax.make_array_from_callback(shape, sharding, lambda index: parts[str(index)])


def _result(path: pathlib.Path, key: Key, future: Any) -> Any:
    """Wait for tensorstore.

    Its errors are asked for and not caught, since what a signal handler raises meanwhile is none of
    them.
    """
    error = future.exception()
    if error is not None:
        # Tensorstore's texts go on with the whole specification.
        problem = str(error).split(" [")[0][:500]
        raise damaged(path, f"{name_of(key)}: {problem}")
    return future.result()


def _tensorstore(path: pathlib.Path) -> Any:
    try:
        import tensorstore
    except ImportError:
        raise MissingExtraError(
            f"{path}: reading what Orbax has written needs tensorstore; "
            "pip install 'fifteen[orbax]'"
        ) from None
    return tensorstore
