"""Opening a checkpoint, whatever its format."""

import contextlib
import errno
import os
import pathlib

from fifteen._text import message_of

from .._errors import CheckpointError, MissingExtraError
from ..storage import Directory
from ._damage import damaged
from ._flax_msgpack import MsgpackCheckpoint
from ._orbax._reader import OrbaxCheckpoint
from ._reader import SHARDS, SUFFIX, CheckpointReader
from ._safetensors._reader import SafetensorsCheckpoint
from ._shards._reader import ShardedCheckpoint


def open_checkpoint(path: pathlib.Path) -> CheckpointReader:
    """Open a checkpoint: our file or directory, an Orbax directory, or a msgpack file of flax.

    Raises:
        FileNotFoundError: there is nothing at the path.
        CheckpointDamagedError: it is none of these, or its description is damaged.
        MissingExtraError: reading it needs a package that is not installed.
    """
    directory = Directory(path.parent)
    kind = directory.kind_of(path.name)
    if kind is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if kind == "other":
        # Opening a pipe would wait for somebody to write into it.
        link = "a link to " if directory.is_link(path.name) else ""
        raise damaged(path, f"{link}neither a file nor a directory")
    if path.name.endswith(SUFFIX):
        if kind == "directory":
            raise damaged(path, "a directory with the name of a file")
        return SafetensorsCheckpoint(path)
    if kind == "file":
        return MsgpackCheckpoint(path)
    is_ours = Directory(path).kind_of(SHARDS) == "file"
    return ShardedCheckpoint(path) if is_ours else OrbaxCheckpoint(path)


def problem_of(path: pathlib.Path, reads_all: bool = False) -> str:
    """Say why a checkpoint does not open, or cannot be read as a whole; nothing if it can."""
    try:
        with contextlib.closing(open_checkpoint(path)) as reader:
            for _ in reader.read(dict.fromkeys(reader.leaves)) if reads_all else ():
                pass
    except (CheckpointError, MissingExtraError) as error:
        return str(error)
    except OSError as error:
        # One without a number is a signal handler's, not the file system's.
        if error.errno is None:
            raise
        return message_of(error)
    return ""
