"""Save the state of several processes in an object store, which cannot rename a directory.

Each process puts its parts into a safetensors file of its own. Once all of them are there, process
0 puts the manifest, which commits the checkpoint in one step. Each save has a token of its own in
the names of its files, so a save that is killed harms no earlier one of the same step.
"""

import secrets
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ... import distributed
from ..._errors import CheckpointError
from ...storage import Directory
from .. import _leaf
from .._distributed_save import DELETED, DistributedSave
from .._dtypes import info_of
from .._keys import name_of
from .._leaf import Leaf, encode_tree
from .._ownership import is_unfinished
from .._reader import SHARDS, SUFFIX, Box
from .._safetensors._save import write
from ._reader import Manifest, Part, SpreadLeaf


class ShardedSave(DistributedSave):
    def _encode(self, target: Any) -> dict[str, str]:
        flat, encoded = encode_tree(target, lambda value: _encode(value, self._in_background))
        leaves = {key: leaf for key, (leaf, _) in encoded.items()}
        self._manifest = Manifest([], leaves, flat.structure)
        self._parts = [
            (part.key(key) if part else key, data)
            for key, (_, parts) in encoded.items()
            for part, data in parts
        ]
        return {name_of(key): str(leaf) if leaf.parts else "local" for key, leaf in leaves.items()}

    def _prepare(self) -> str:
        return secrets.token_hex(4)

    def _write(self) -> None:
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
        # Not before the commit, since another program may have been saving here until then.
        directory = self._destination.directory
        for entry in directory.entries():
            if entry.kind == "directory" and is_unfinished(directory / entry.name):
                directory.remove(entry.name)
        self._destination.apply_retention()

    def _file(self, process: int) -> str:
        return f"{self._token}.{process}{SUFFIX}"


def _encode(value: Any, copy: bool) -> tuple[SpreadLeaf, Sequence[tuple[Part | None, Leaf]]]:
    """Return a leaf, and those of its parts that this process saves."""
    info = info_of(value)
    if isinstance(value, jax.Array) and value.is_deleted():
        raise CheckpointError(DELETED)
    if not isinstance(value, jax.Array) or value.is_fully_addressable:
        # Encoded in all processes, so that all refuse what cannot be saved.
        leaf = _leaf.encode(value, copy)
        return SpreadLeaf(info), [(None, leaf)] if distributed.is_primary() else []
    implementation = None
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value, implementation = _leaf.key_data(value)
    parts: dict[Box, Part] = {}
    for device, index in value.sharding.devices_indices_map(value.shape).items():
        # Of devices that hold the same part, the first one's process saves it.
        box = Box.at(index, value.shape)
        parts.setdefault(box, Part(device.process_index, box))
    local = {Box.at(shard.index, value.shape): shard.data for shard in value.addressable_shards}
    mine = [
        (part, _leaf.encode(local[box], copy))
        for box, part in parts.items()
        if part.file == distributed.index()
    ]
    return SpreadLeaf(info, implementation, tuple(parts.values())), mine
