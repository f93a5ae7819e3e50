"""The interface of the readers of all formats."""

import dataclasses
import pathlib
from collections.abc import Generator, Mapping
from typing import Any, Protocol

from ._keys import Key


@dataclasses.dataclass(frozen=True)
class LeafInfo:
    """Describe a leaf of a checkpoint.

    Attributes:
        shape: its shape; `()` for what is no array.
        dtype: its dtype's name, `key<impl>` for a typed PRNG key, or the name of a Python type.
    """

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


class CheckpointReader(Protocol):
    """A checkpoint on disk of which only the description has been read."""

    @property
    def path(self) -> pathlib.Path:
        """The file or directory."""
        ...

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        """Every leaf, in the order of the pytree."""
        ...

    def read(self, wanted: Mapping[Key, Any]) -> Generator[Mapping[Key, Any]]:
        """Read some leaves, in batches and in the order that suits the format.

        Args:
            wanted: for each key the leaf of the target, or None. A format that can load an array
                straight onto the devices takes the sharding from it.

        Yields:
            For each key a NumPy array on the host, a `jax.Array` (a typed PRNG key always), or a
            Python int, float, complex, bool, str or bytes.

        Raises:
            CheckpointDamagedError: a leaf's bytes are not those that were written.
        """
        ...

    def unflatten(self, leaves: Mapping[Key, Any]) -> Any:
        """Put leaves that were read into nested dicts and lists, as they were saved."""
        ...

    def close(self) -> None:
        """Close the file, rather than leave that to a finalizer.

        What a signal handler raises in a finalizer is lost.
        """
        ...


DESCRIPTION = "fifteen.json"
"""What we write beside Orbax's files."""

SUFFIX = ".safetensors"
"""What our own files' names end with, after the step."""
