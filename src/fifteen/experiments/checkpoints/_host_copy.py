"""The bytes of an array, as the pieces that its devices hold, without a copy of the whole.

What a training loop may do next decides how a value is taken:

- An array on the CPU is looked at in place. JAX does not free or donate a buffer while somebody
  outside looks at it: a function that it is donated to works on a copy, and the array even stays
  usable (measured with JAX 0.10). So looking costs nothing, at any size. It is done through an
  array object of our own, since JAX remembers the look for as long as that object lives, and the
  caller's array could never be donated again.
- An array on an accelerator is copied on its device, where there is room: the copy is enqueued
  before whatever the caller does next, and the caller does not wait. Where memory is short, it is
  fetched to the host at once.
- A NumPy array can be changed in place, so it is copied: at once where the caller goes on, and else
  block by block, since another thread may change it while it is written, and its checksum has to
  be that of the bytes on the disk.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

HostArray = npt.NDArray[Any]
Index = tuple[slice, ...]

BLOCK_BYTES = 16 << 20
"""The most that is held in memory of an array that does not lie there in order."""


@dataclasses.dataclass(slots=True)
class Pieces:
    """An array in pieces that cover it once.

    Attributes:
        shape: of the whole.
        dtype: of the whole, in little-endian order.
        nbytes: of the whole.
        pieces: where each lies in the whole, or None for all of it; and its values, on the host
            or on one device. Or, read-only, the memory of the whole, where it lies in order on
            the host.
        is_shared: whether somebody else may change that memory while it is written, so that each
            block of it is copied first.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int
    pieces: list[tuple[Index | None, Any]] | memoryview
    is_shared: bool = False

    def prefetch(self) -> None:
        """Start to move what is on an accelerator to the host."""
        for _, values in () if isinstance(self.pieces, memoryview) else self.pieces:
            if isinstance(values, jax.Array):
                values.copy_to_host_async()

    def blocks(self) -> Iterable[memoryview]:
        """Return the bytes of the whole in C order, as buffers; can be done once.

        The pieces are let go of, so that neither the caller's memory nor what was fetched from
        a device is held for longer than it takes to write it.
        """
        pieces, self.pieces = self.pieces, []
        if not self.nbytes:
            return ()
        if isinstance(pieces, memoryview):
            cut = _cut(pieces)
            return map(_copied, cut) if self.is_shared else cut
        index, values = pieces[0]
        if index is None:
            host = np.asarray(values)
            if host.flags.c_contiguous and host.dtype == self.dtype:
                return _cut(_readable(host))
        return self._assembled(pieces)

    def _assembled(self, pieces: Sequence[tuple[Index | None, Any]]) -> Iterator[memoryview]:
        whole = _whole(self.shape)
        placed = [(index or whole, np.asarray(values)) for index, values in pieces]
        for region in _regions(self.shape, BLOCK_BYTES // self.dtype.itemsize):
            block = np.empty([part.stop - part.start for part in region], self.dtype)
            for index, values in placed:
                _copy_common(block, region, values, index)
            yield _readable(block)


def snapshot(value: jax.Array | HostArray, copy: bool) -> Pieces:
    """Take an array.

    Args:
        value: a NumPy array, or a `jax.Array` that is held whole by this process.
        copy: make it safe from whatever the caller does once this returns.
    """
    shape = value.shape
    if not isinstance(value, jax.Array):
        host = value.copy() if copy else value
        if host.flags.c_contiguous and host.dtype.byteorder != ">":
            return Pieces(shape, host.dtype, host.nbytes, _readable(host), is_shared=not copy)
        return Pieces(shape, host.dtype.newbyteorder("<"), host.nbytes, [(None, host)])
    kind = _kind_of(value.sharding)
    # Nearly every leaf is of this kind where JAX runs on the CPU, and there may be many small ones.
    if kind == _ON_ONE_CPU and _has_buffer(value.dtype):
        try:
            memory = memoryview(cast(Any, value))
        except BufferError:
            # A deleted array refuses, and says why when it is asked in another way.
            pass
        else:
            if memory.c_contiguous:
                return Pieces(shape, value.dtype, memory.nbytes, memory)
    data = value.addressable_data(0)
    held: list[tuple[Index | None, jax.Array]] = [(None, data)]
    if kind == _IN_PARTS:
        held = [
            (_filled(shard.index, shape), shard.data)
            for shard in value.addressable_shards
            if shard.replica_id == 0
        ]
    settled = [(index, _to_host(data, copy)) for index, data in held]
    return Pieces(shape, value.dtype, math.prod(shape) * value.dtype.itemsize, settled)


_ON_ONE_CPU, _WHOLE, _IN_PARTS = range(3)


@functools.lru_cache(maxsize=256)
def _kind_of(sharding: jax.sharding.Sharding) -> int:
    """Whether each device holds the whole, and whether that is the CPU."""
    if not sharding.is_fully_replicated:
        return _IN_PARTS
    platforms = [device.platform for device in sharding.device_set]
    return _ON_ONE_CPU if platforms == ["cpu"] else _WHOLE


def _to_host(data: jax.Array, copy: bool) -> Any:
    (device,) = data.devices()
    if device.platform == "cpu":
        return np.asarray(data)
    if not copy:
        # Fetched when its turn comes, so that the host need not hold all of the state.
        return data
    return jnp.copy(data) if _has_room(device, data.nbytes) else np.asarray(data)


@functools.lru_cache(maxsize=256)
def _has_buffer(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of a dtype show their memory; those of `ml_dtypes` do not, nor do dates."""
    # A long double's is shown by one of two dtypes that are equal, and so the same to this cache.
    return dtype.kind in "biufc" and dtype.isbuiltin == 1 and dtype.char not in "gG"


def _readable(host: HostArray) -> memoryview:
    """Return the memory of an array that lies in order, so that nobody can change it there."""
    if not _has_buffer(host.dtype):
        host = host.reshape(-1).view(np.uint8)
    return memoryview(cast(Any, host)).toreadonly()


def _copied(block: memoryview) -> memoryview:
    return _readable(np.array(block))


def _cut(memory: memoryview) -> Sequence[memoryview]:
    if memory.nbytes <= BLOCK_BYTES:
        return (memory,)
    flat = memory.cast("B")
    return [flat[start : start + BLOCK_BYTES] for start in range(0, flat.nbytes, BLOCK_BYTES)]


def _has_room(device: Any, size: int) -> bool:
    """Whether a device has room for a copy beside the most that training has used on it so far."""
    statistics = device.memory_stats() or {}
    limit = statistics.get("bytes_limit", 0)
    used = statistics.get("bytes_in_use", limit)
    # What the state takes may be copied once, and earlier copies are a part of what is in use.
    peak = max(statistics.get("peak_bytes_in_use", limit), used)
    return peak + size <= 0.9 * limit


def _whole(shape: Sequence[int]) -> Index:
    return tuple(slice(0, length) for length in shape)


def _filled(index: Sequence[slice], shape: Sequence[int]) -> Index:
    """Give every slice a start and a stop."""
    return tuple(
        slice(*part.indices(length)[:2]) for part, length in zip(index, shape, strict=True)
    )


def _regions(shape: Sequence[int], most: int) -> Iterator[Index]:
    """Cut an array into regions of at most `most` elements whose bytes follow one another."""
    # All axes after `axis` go whole, those before it one by one.
    axis, below = len(shape), 1
    while axis and below * shape[axis - 1] <= most:
        axis -= 1
        below *= shape[axis]
    whole = _whole(shape)
    if not axis:
        yield whole
        return
    axis -= 1
    stride = max(1, most // below)
    for outer in itertools.product(*map(range, shape[:axis])):
        leading = [slice(at, at + 1) for at in outer]
        for start in range(0, shape[axis], stride):
            cut = slice(start, min(start + stride, shape[axis]))
            yield (*leading, cut, *whole[axis + 1 :])


def _copy_common(block: HostArray, region: Index, values: HostArray, index: Index) -> None:
    """Copy what a region of the whole and one of its pieces have in common."""
    into: list[slice] = []
    out_of: list[slice] = []
    for wanted, held in zip(region, index, strict=True):
        start, stop = max(wanted.start, held.start), min(wanted.stop, held.stop)
        if start >= stop:
            return
        into.append(slice(start - wanted.start, stop - wanted.start))
        out_of.append(slice(start - held.start, stop - held.start))
    block[tuple(into)] = values[tuple(out_of)]
