"""Moving what was packed on a device to the host, many steps at a time."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

_TOGETHER = 64
"""Vectors that are joined on the device and moved at once; moving each costs more."""


def fetch(vectors: "Sequence[jax.Array | bytes]") -> npt.NDArray[np.uint32]:
    """Return vectors of the same length, shape `(k,)`, as rows of an array of shape `(n, k)`.

    Args:
        vectors: uint32, on a device or, as `bytes`, here already.
    """
    here = [vector for vector in vectors if isinstance(vector, bytes)]
    there = [vector for vector in vectors if not isinstance(vector, bytes)]
    if not there:
        return _read(here)
    if not here:
        return _move(there)
    is_here = np.array([isinstance(vector, bytes) for vector in vectors])
    moved = _move(there)
    rows = np.empty((len(vectors), moved.shape[1]), np.uint32)
    rows[is_here], rows[~is_here] = _read(here), moved
    return rows


def _read(vectors: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    return np.frombuffer(b"".join(vectors), np.uint32).reshape(len(vectors), -1)


def _move(vectors: "Sequence[jax.Array]") -> npt.NDArray[np.uint32]:
    if len(vectors) < _TOGETHER:
        return _fetch_each(vectors)
    whole = len(vectors) - len(vectors) % _TOGETHER
    joined = [_join(vectors[at : at + _TOGETHER]) for at in range(0, whole, _TOGETHER)]
    parts = [np.asarray(block) for block in joined]
    if whole < len(vectors):
        parts.append(_fetch_each(vectors[whole:]))
    return np.concatenate(parts)


def _fetch_each(vectors: "Sequence[jax.Array]") -> npt.NDArray[np.uint32]:
    for vector in vectors:
        vector.copy_to_host_async()
    return np.stack([np.asarray(vector) for vector in vectors])


@jax.jit
def _join(vectors: "Sequence[jax.Array]") -> jax.Array:
    return jnp.stack(vectors)
