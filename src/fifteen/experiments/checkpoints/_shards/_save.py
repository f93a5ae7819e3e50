"""Save a state that several processes hold where no directory can be renamed.

Each process puts its parts into a safetensors file of its own. Once all of them are there, process
0 puts the manifest, which commits the checkpoint in one step. The files of a save have a token of
their own in their names, so a save that is killed harms no earlier one of the same step.
"""

import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ... import distributed
from ..._errors import CheckpointError
from ...storage import Directory
from .. import _leaf, _tree
from .._dtypes import info_of
from .._keys import name_of
from .._leaf import Leaf, encode_each, is_static
from .._orbax._save import DistributedSave, busy_channels, in_thread
from .._ownership import is_unfinished
from .._reader import SHARDS, SUFFIX
from .._safetensors._save import write
from ._manifest import Manifest, Part, SpreadLeaf


class ShardedSave(DistributedSave):
    """A save whose values have been taken; see `DistributedSave`."""

    def _encode(self, target: Any, copy: bool) -> dict[str, str]:
        flat = _tree.flatten(target, is_static=is_static)
        encoded = encode_each(flat, lambda value: _encode(value, copy))
        leaves = {key: leaf for key, (leaf, _) in encoded.items()}
        self._manifest = Manifest([], leaves, flat.structure)
        self._parts = [
            (part.key(key) if part else key, data)
            for key, (_, parts) in encoded.items()
            for part, data in parts
        ]
        return {name_of(key): str(leaf) if leaf.parts else "local" for key, leaf in leaves.items()}

    def _make_directory(self) -> tuple[str, int]:
        """Return the token of the files' names, and the number of a group that is free."""
        self._destination.check()
        channel = next(number for number in itertools.count() if number not in busy_channels)
        busy_channels.add(channel)
        return secrets.token_hex(4), channel

    def _start(self) -> BaseException | None:
        return None

    def _wait(self) -> None:
        inside = Directory(self._destination.path)
        inside.make()
        write(inside, self._file(distributed.index()), self._parts, "null")

    def _put_in_place(self) -> None:
        inside = Directory(self._destination.path)
        self._manifest.files.extend(map(self._file, range(distributed.count())))
        with inside.replace(SHARDS) as file:
            file.write(self._manifest.to_json().encode())
        for name in {*inside.names()} - {SHARDS, *self._manifest.files}:
            inside.remove(name)
        # Only now is it certain that no other program is at work here.
        directory = self._destination.directory
        for entry in directory.entries():
            if entry.kind == "directory" and is_unfinished(directory / entry.name):
                directory.remove(entry.name)
        self._destination.apply_retention()

    def _run(self, action: Callable[[], None]) -> None:
        error = in_thread(action)
        if error is not None:
            raise error

    def _close(self) -> None:
        self._parts = []
        busy_channels.discard(self._channel)

    def _file(self, process: int) -> str:
        return f"{self._temporary.path.name}.{process}{SUFFIX}"


def _encode(value: Any, copy: bool) -> tuple[SpreadLeaf, Sequence[tuple[Part | None, Leaf]]]:
    """Return a leaf, and those of its parts that this process saves."""
    info = info_of(value)
    if isinstance(value, jax.Array) and value.is_deleted():
        raise CheckpointError(
            "it has been deleted, as happens to an array that is donated to a jitted function; "
            "save it before that"
        )
    if not isinstance(value, jax.Array) or value.is_fully_addressable:
        # Encoded in all processes, so that all refuse what cannot be saved.
        leaf = _leaf.encode(value, copy)
        return SpreadLeaf(info), [(None, leaf)] if distributed.is_primary() else []
    implementation = None
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value, implementation = _leaf.key_data(value)
    parts: dict[str, Part] = {}
    for device, index in value.sharding.devices_indices_map(value.shape).items():
        ranges = [at.indices(length) for at, length in zip(index, value.shape, strict=True)]
        begin, end = (tuple(bounds[n] for bounds in ranges) for n in (0, 1))
        # Of devices that hold the same part, the first one's process saves it.
        parts.setdefault(str(index), Part(device.process_index, begin, end))
    local = {str(shard.index): shard.data for shard in value.addressable_shards}
    mine = [
        (part, _leaf.encode(local[index], copy))
        for index, part in parts.items()
        if part.file == distributed.index()
    ]
    return SpreadLeaf(info, implementation, tuple(parts.values())), mine
