"""Arrays in zarr format, as Orbax and flax write them, read by tensorstore.

Orbax itself reads with tensorstore. Used directly, it gives arrays in the dtype that is stored,
each process reads only what its own devices hold, and nothing is compiled or logged.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fifteen._text import printable

from ..._errors import CheckpointError, import_extra
from ...storage import Directory
from .._damage import damaged
from .._keys import Key, name_of
from .._reader import HostArray, LeafInfo, Shards, Wanted, assembled, boxes_to_read

MANIFEST = "manifest.ocdbt"
"""The file of an OCDBT store, which holds many arrays."""


ZARR = {"driver": "zarr", "fill_missing_data_reads": True}
"""The usual format, in which older versions of Orbax omit chunks of zeros."""


def check_path(path: pathlib.Path) -> None:
    """Raise `CheckpointError` if tensorstore cannot take a path."""
    if Directory(path).is_remote:
        raise CheckpointError(
            f"{path}: Orbax's directories can be read only on a disk; move {path.parent} to a disk"
        )
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(
            f"{printable(str(path))}: Orbax takes only paths that are valid UTF-8; choose "
            "another prefix, or another name for the directory"
        ) from None


def spec_of(directory: Directory, name: str, form: Mapping[str, Any] = ZARR) -> dict[str, Any]:
    store = {"driver": "file", "path": f"{directory / name}/"}
    if directory.kind_of(MANIFEST) is not None:
        base = {"driver": "file", "path": f"{directory}/"}
        store = {"driver": "ocdbt", "base": base, "path": f"{name}/" if name else ""}
    return {**form, "kvstore": store}


def open_arrays(path: pathlib.Path, specs: Mapping[Key, Any]) -> dict[Key, Any]:
    """Open arrays of a checkpoint in parallel; only shape and dtype are read."""
    if not specs:
        return {}
    check_path(path)
    tensorstore = import_extra("tensorstore", f"{path}: reading what Orbax has written", "orbax")
    # One cache for all arrays, which share the nodes of OCDBT's tree of names.
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 100_000_000}})
    futures = {
        key: tensorstore.open(spec, read=True, open=True, context=context, recheck_cached=False)
        for key, spec in specs.items()
    }
    return {key: _result(path, key, future) for key, future in futures.items()}


def info_of(array: Any) -> LeafInfo:
    return LeafInfo(tuple(array.shape), np.dtype(array.dtype.numpy_dtype).name)


def read(
    path: pathlib.Path, arrays: Mapping[Key, Any], shardings: Wanted
) -> dict[Key, HostArray | Shards]:
    """Read arrays in parallel: whole, or this process's shards if there is a sharding."""
    started = {
        key: {
            box: array[tuple(map(slice, box.begin, box.end))].read()
            for box in boxes_to_read(array.shape, shardings[key])
        }
        for key, array in arrays.items()
    }
    values: dict[Key, HostArray | Shards] = {}
    for key, array in arrays.items():
        parts = {
            box: np.asarray(_result(path, key, future)) for box, future in started.pop(key).items()
        }
        values[key] = assembled(array.shape, shardings[key], parts)
    return values


def _result(path: pathlib.Path, key: Key, future: Any) -> Any:
    """Wait for tensorstore.

    The future's error is queried and not caught, since a signal handler may raise during the wait.
    """
    error = future.exception()
    if error is not None:
        # Tensorstore appends the whole specification to its messages.
        problem = str(error).split(" [")[0][:500]
        raise damaged(path, f"{name_of(key)}: {problem}")
    return future.result()
