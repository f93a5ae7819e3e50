"""Opening a checkpoint, whatever its format."""

import pathlib
import stat

from ._damage import damaged
from ._flax_msgpack import MsgpackCheckpoint
from ._orbax._reader import OrbaxCheckpoint
from ._orbax._sharded import ShardedCheckpoint
from ._reader import DESCRIPTION, SUFFIX, CheckpointReader
from ._safetensors._reader import SafetensorsCheckpoint


def open_checkpoint(path: pathlib.Path) -> CheckpointReader:
    """Open what lies at a path: our file, an Orbax directory, or an old msgpack file.

    Raises:
        CheckpointDamagedError: it is none of these, or its description is damaged.
        MissingExtraError: reading it needs a package that is not installed.
    """
    mode = _mode(path)
    if path.name.endswith(SUFFIX):
        return SafetensorsCheckpoint(path)
    if not stat.S_ISDIR(mode):
        return MsgpackCheckpoint(path)
    return ShardedCheckpoint(path) if (path / DESCRIPTION).is_file() else OrbaxCheckpoint(path)


def _mode(path: pathlib.Path) -> int:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise damaged(path, f"a link to {path.readlink()}, which is not there") from None
        raise
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        # Opening a pipe would wait for somebody to write into it.
        raise damaged(path, "neither a file nor a directory")
    if path.name.endswith(SUFFIX) and stat.S_ISDIR(mode):
        raise damaged(path, "a directory, by the name of a file")
    return mode
