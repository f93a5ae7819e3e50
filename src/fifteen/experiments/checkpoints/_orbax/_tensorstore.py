"""Arrays in zarr format, as Orbax and flax write them, read by tensorstore.

Orbax itself reads with tensorstore. Used directly, it gives arrays in the dtype that is stored,
each process reads only what its own devices hold, and nothing is compiled or logged.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fifteen._text import printable

from ..._errors import CheckpointError
from ..._extras import import_extra
from ...storage import Directory
from .._damage import damaged
from .._keys import Key, name_of
from .._reader import HostArray, LeafInfo, Shards, Wanted, assembled, boxes_to_read

MANIFEST = "manifest.ocdbt"
"""The file of an OCDBT store, which holds many arrays."""


@dataclasses.dataclass(frozen=True)
class OpenArray:
    """An array of which only shape and dtype have been read."""

    info: LeafInfo
    store: Any


def check_path(path: pathlib.Path) -> None:
    """Raise `CheckpointError` if tensorstore cannot take a path."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(
            f"{printable(str(path))}: Orbax takes only paths that are valid UTF-8; choose "
            "another prefix, or another name for the directory"
        ) from None


def spec_of(
    directory: Directory, name: str, is_zarr3: bool = False, has_all_chunks: bool = False
) -> dict[str, Any]:
    """Return tensorstore's specification of an array in a directory.

    With `has_all_chunks`, a missing chunk is damage. Older versions of Orbax omit chunks of zeros.
    """
    store = {"driver": "file", "path": f"{directory / name}/"}
    if directory.kind_of(MANIFEST) is not None:
        base = {"driver": "file", "path": f"{directory}/"}
        store = {"driver": "ocdbt", "base": base, "path": f"{name}/" if name else ""}
    return {
        "driver": "zarr3" if is_zarr3 else "zarr",
        "kvstore": store,
        "fill_missing_data_reads": not has_all_chunks,
    }


def open_arrays(path: pathlib.Path, specs: Mapping[Key, Any]) -> dict[Key, OpenArray]:
    """Open arrays of a checkpoint in parallel, by the leaves' keys."""
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
    opened: dict[Key, OpenArray] = {}
    for key, future in futures.items():
        store = _result(path, key, future)
        info = LeafInfo(tuple(store.shape), np.dtype(store.dtype.numpy_dtype).name)
        opened[key] = OpenArray(info, store)
    return opened


def read(
    path: pathlib.Path, arrays: Mapping[Key, OpenArray], shardings: Wanted
) -> dict[Key, HostArray | Shards]:
    """Read arrays in parallel: whole, or this process's shards if there is a sharding."""
    started = {
        key: {
            box: array.store[tuple(map(slice, box.begin, box.end))].read()
            for box in boxes_to_read(array.info.shape, shardings[key])
        }
        for key, array in arrays.items()
    }
    values: dict[Key, HostArray | Shards] = {}
    for key, array in arrays.items():
        parts = {
            box: np.asarray(_result(path, key, future)) for box, future in started.pop(key).items()
        }
        values[key] = assembled(array.info.shape, shardings[key], parts)
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
