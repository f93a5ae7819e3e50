"""Snapshots: the bytes of an array, safe from what a training loop does next.

- An array on the CPU is used in place. JAX neither frees nor donates a buffer while there is a view
  of it: a function that it is donated to works on a copy. JAX keeps a NumPy view as long as the
  array object that it was taken from. So that object is our own, or the caller's array could never
  be donated again.
- An array on an accelerator is copied there if there is room: the copy is enqueued before whatever
  the caller does next, and the caller does not wait. If memory is short, it is fetched at once.
- A NumPy array can be changed in place, so it is copied: at once if the caller continues during the
  write, else block by block. Another thread may change it during the write, and its checksum must
  be that of the bytes on disk.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from ._reader import Box, HostArray

BLOCK_BYTES = 16 << 20
"""Bytes to write at a time, and to copy at a time if they cannot be written in place."""
_PIECE_BYTES = 1 << 18
"""Bytes to copy at a time if they are sent: little enough to be in the processor's cache."""


@dataclasses.dataclass(slots=True)
class Snapshot:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]  # Little-endian.
    nbytes: int
    # The array's memory, read-only; or arrays that cover it exactly once, each of them on the host
    # or on one device.
    parts: list[tuple[Box, Any]] | memoryview
    # If another thread may change that memory while it is written: how much to copy at a time.
    copied_bytes: int = 0
    checksum: int = 0  # CRC-32C of the blocks so far; kept by who writes them.

    def duplicate(self) -> "Snapshot":
        """Return a second snapshot of the same memory, to read while this one keeps it."""
        parts = self.parts
        if not isinstance(parts, memoryview):
            # JAX caches fetched values in the array object, so fetch from another one.
            parts = [
                (box, values.addressable_data(0) if isinstance(values, jax.Array) else values)
                for box, values in parts
            ]
        copied_bytes = _PIECE_BYTES if self.copied_bytes else 0
        return dataclasses.replace(self, parts=parts, copied_bytes=copied_bytes, checksum=0)

    def settle(self) -> None:
        if self.copied_bytes and isinstance(self.parts, memoryview):
            self.parts, self.copied_bytes = _copied(self.parts), 0

    def prefetch(self) -> None:
        for _, values in () if isinstance(self.parts, memoryview) else self.parts:
            if isinstance(values, jax.Array):
                values.copy_to_host_async()

    def blocks(self) -> Iterable[memoryview]:
        """Return the bytes in C order; to be called once.

        The parts are released, so that memory is held only until it is written.
        """
        parts, self.parts = self.parts, []
        if not self.nbytes:
            return ()
        if isinstance(parts, memoryview):
            cut = _cut(parts, self.copied_bytes or BLOCK_BYTES)
            return map(_copied, cut) if self.copied_bytes else cut
        arrays = [(box, np.asarray(values)) for box, values in parts]
        whole = arrays[0][1]
        if len(arrays) == 1 and whole.flags.c_contiguous and whole.dtype == self.dtype:
            return _cut(_readable(whole), BLOCK_BYTES)
        return self._assembled(arrays)

    def _assembled(self, parts: list[tuple[Box, HostArray]]) -> Iterator[memoryview]:
        """Yield rows of the array, as many at a time as a block holds."""
        length, *rest = self.shape
        step = max(1, BLOCK_BYTES * length // self.nbytes)
        for start in range(0, length, step):
            rows = Box((start, *[0] * len(rest)), (min(start + step, length), *rest))
            block = np.empty(rows.shape, self.dtype)
            for box, values in parts:
                if (common := box.overlap(rows)) is not None:
                    block[common.index_in(rows)] = values[common.index_in(box)]
            yield _readable(block)


def snapshot(value: jax.Array | HostArray, copy: bool) -> Snapshot:
    """Take the values of an array whose shards are all in this process.

    With `copy`, they are safe from whatever the caller does after this returns.
    """
    shape = value.shape
    if not isinstance(value, jax.Array):
        little = value.dtype.newbyteorder("<") if value.dtype.byteorder == ">" else value.dtype
        host = value.astype(little, order="C") if copy or not shape else value
        if host.flags.c_contiguous and host.dtype == little:
            copied_bytes = 0 if copy else BLOCK_BYTES
            return Snapshot(shape, little, host.nbytes, _readable(host), copied_bytes)
        return Snapshot(shape, little, host.nbytes, [(Box.whole(shape), host)])
    # Nearly every leaf is of this kind if JAX runs on the CPU, and there may be many small ones.
    if _is_on_one_cpu(value.sharding) and _has_buffer(value.dtype):
        try:
            memory = memoryview(cast(Any, value))
        except BufferError:
            # The array is deleted; the code below raises an error that says so.
            pass
        else:
            if memory.c_contiguous:
                return Snapshot(shape, value.dtype, memory.nbytes, memory)
    parts = [(Box.whole(shape), value.addressable_data(0))]
    if not value.is_fully_replicated:
        shards = [shard for shard in value.addressable_shards if shard.replica_id == 0]
        parts = [(Box.at(shard.index, shape), shard.data) for shard in shards]
    taken = [(box, _take(data, copy)) for box, data in parts]
    return Snapshot(shape, value.dtype, math.prod(shape) * value.dtype.itemsize, taken)


@functools.lru_cache(maxsize=256)
def _is_on_one_cpu(sharding: jax.sharding.Sharding) -> bool:
    return [device.platform for device in sharding.device_set] == ["cpu"]


def _take(data: jax.Array, copy: bool) -> Any:
    (device,) = data.devices()
    if device.platform == "cpu":
        return np.asarray(data)
    if not copy:
        # Fetched just before it is written, so that the host need not hold the whole state.
        return data
    return jnp.copy(data) if _has_room(device, data.nbytes) else np.asarray(data)


@functools.lru_cache(maxsize=256)
def _has_buffer(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype supports the buffer protocol; those of `ml_dtypes` and dates do not."""
    # Two dtypes of a long double are equal, so one key of this cache, but only one supports it.
    return dtype.kind in "biufc" and dtype.isbuiltin == 1 and dtype.char not in "gG"


def _readable(host: HostArray) -> memoryview:
    if not _has_buffer(host.dtype):
        host = host.reshape(-1).view(np.uint8)
    return memoryview(cast(Any, host)).toreadonly()


def _copied(block: memoryview) -> memoryview:
    return _readable(np.array(block))


def _cut(memory: memoryview, size: int) -> Iterable[memoryview]:
    if memory.nbytes <= size:
        return (memory,)
    flat = memory.cast("B")
    return [flat[start : start + size] for start in range(0, flat.nbytes, size)]


def _has_room(device: Any, size: int) -> bool:
    """Whether a device has room for a copy beside the most that it has had in use so far."""
    statistics = device.memory_stats() or {}
    limit = statistics.get("bytes_limit", 0)
    used = statistics.get("bytes_in_use", limit)
    peak = max(statistics.get("peak_bytes_in_use", limit), used)
    return peak + size <= 0.9 * limit
