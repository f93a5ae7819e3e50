"""What a checkpoint on disk is to the rest of the room, whatever its format.

A leaf is named by its key: a tuple with one text for each level of the pytree above it. A dict's
key, an attribute's and a namedtuple's field name, and the index in a list, tuple or custom node
stand as their `str`. Flax's state dicts, Orbax's key paths and our files all come down to that,
so that a state saved by one is found by the names of the other. A dataclass without key paths has
its fields' names in ours and in flax's, and numbers in Orbax's. A pytree that is a single leaf
has the empty key.
"""

import contextlib
import dataclasses
import pathlib
import stat
import struct
from collections.abc import Callable, Generator, Mapping
from typing import Any, Protocol, runtime_checkable

from .._errors import CheckpointDamagedError, CheckpointError
from ..storage import _local

Key = tuple[str, ...]


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


class StoredCheckpoint(Protocol):
    """A checkpoint on disk, of which so far only the description has been read."""

    @property
    def path(self) -> pathlib.Path:
        """The file or directory."""
        ...

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        """Every leaf, in the order of the pytree."""
        ...

    def read(self, wanted: Mapping[Key, Any]) -> dict[Key, Any]:
        """Read some leaves.

        Args:
            wanted: for each key the target's leaf, or None. A format that can load an array
                straight onto the devices takes the sharding from it.

        Returns:
            For each key a NumPy array on the host, a `jax.Array` (a typed PRNG key always), or a
            Python int, float, complex, bool, str or bytes.

        Raises:
            CheckpointDamagedError: a leaf's bytes are not those that were written.
        """
        ...

    def nested(self, leaves: Mapping[Key, Any]) -> Any:
        """Put leaves that were read into nested dicts and lists, as they were saved."""
        ...


@runtime_checkable
class StreamedCheckpoint(StoredCheckpoint, Protocol):
    """A checkpoint that need not be held in memory twice while its leaves find their places."""

    def stream(self, wanted: Mapping[Key, Any]) -> Generator[Mapping[Key, Any]]:
        """Read some leaves, a few at a time, in the order that suits the file; see `read`."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def open_stored(path: pathlib.Path) -> StoredCheckpoint:
    """Open what lies at a path: our file, an Orbax directory, or an old msgpack file.

    Raises:
        CheckpointDamagedError: it is none of these, or its description is damaged.
        MissingExtraError: reading it needs a package that is not installed.
    """
    return _opener(path, _mode(path))(path)


def _mode(path: pathlib.Path) -> int:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise damaged(path, f"a link to {path.readlink()}, which is not there") from None
        raise
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        # To open a pipe is to wait for somebody to write into it.
        raise damaged(path, "neither a file nor a directory")
    if path.name.endswith(SUFFIX) and stat.S_ISDIR(mode):
        raise damaged(path, "a directory, by the name of a file")
    return mode


def _opener(path: pathlib.Path, mode: int) -> Callable[[pathlib.Path], StoredCheckpoint]:
    # Imported where used, since Orbax and msgpack are extras.
    if path.name.endswith(SUFFIX):
        from ._safetensors._reader import SafetensorsFile

        return SafetensorsFile
    if stat.S_ISDIR(mode):
        from ._orbax._reader import open_directory

        return open_directory
    from ._flax_msgpack import MsgpackFile

    return MsgpackFile


DESCRIPTION = "fifteen.json"
"""What we write beside Orbax's files."""

SUFFIX = ".safetensors"
"""What our own files' names end with, after the step."""


def names_in(directory: pathlib.Path) -> list[str]:
    """List what may be checkpoints in a directory: everything but temporaries."""
    return _local.list_names(directory)


def damaged(path: pathlib.Path, problem: str) -> CheckpointDamagedError:
    """Return the error that says what is wrong with a file."""
    shown = "\n".join(map(printable, problem.split("\n")))
    return CheckpointDamagedError(f"{path}: {shown}; restore another step, or a copy of the file")


def printable(text: str) -> str:
    """Escape what would not be seen, or would change the terminal, as leaves may be called."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def too_deep(path: pathlib.Path) -> CheckpointError:
    """Return the error for a file that is whole, and has more levels than Python can go down."""
    return CheckpointError(
        f"{path}: nested too deeply to be read from here; restore with fewer calls on the stack, "
        "or after sys.setrecursionlimit"
    )


@contextlib.contextmanager
def closing(stored: StoredCheckpoint) -> Generator[None]:
    """Let go of a checkpoint's file at the end of a block.

    That is not left to a finalizer, since what a signal handler raises there is lost.
    """
    try:
        yield
    finally:
        if isinstance(stored, StreamedCheckpoint):
            stored.close()


@contextlib.contextmanager
def making(path: pathlib.Path, leaf: str) -> Generator[None]:
    """Say of which file and leaf an error is that comes up while the leaf's value is made.

    Raises:
        CheckpointDamagedError: what describes the leaf cannot be made out.
        CheckpointError: it can, and there is no such value here.
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {printable(leaf)}: {error}") from None
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, struct.error) as error:
        raise damaged(path, f"{leaf}: {error}") from None
