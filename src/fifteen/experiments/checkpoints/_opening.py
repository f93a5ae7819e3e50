"""Open checkpoints of all formats, verify those of a directory, and find what can be removed."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Generator, Iterator
from typing import NamedTuple

from fifteen._text import message_of

from .._errors import CheckpointError, MissingExtraError
from ..storage import Directory
from ._damage import damaged
from ._flax_msgpack import MsgpackCheckpoint
from ._orbax._reader import OrbaxCheckpoint
from ._ownership import is_checkpoint
from ._paths import History, Step, prefixes_in
from ._reader import SHARDS, SUFFIX, CheckpointReader
from ._retention import Retention
from ._safetensors._reader import SafetensorsCheckpoint
from ._shards._reader import ShardedCheckpoint


@contextlib.contextmanager
def open_checkpoint(path: pathlib.Path) -> Generator[CheckpointReader]:
    """Open a checkpoint: our file or directory, an Orbax directory, or a msgpack file of flax.

    Raises `FileNotFoundError` if there is nothing at the path, and `MissingExtraError` if reading
    it needs a package that is not installed.
    """
    directory = Directory(path.parent)
    kind = directory.kind_of(path.name)
    if kind is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if kind == "other":
        # Opening a pipe would wait for somebody to write into it.
        link = "a link to " if directory.is_link(path.name) else ""
        raise damaged(path, f"{link}neither a file nor a directory")
    if path.name.endswith(SUFFIX) and kind == "directory":
        raise damaged(path, "a directory with the name of a file")
    # A file is closed here, since what a signal handler raises in a finalizer is lost.
    if path.name.endswith(SUFFIX):
        with contextlib.closing(SafetensorsCheckpoint(path)) as reader:
            yield reader
    elif kind == "file":
        with contextlib.closing(MsgpackCheckpoint(path)) as reader:
            yield reader
    elif Directory(path).kind_of(SHARDS) == "file":
        yield ShardedCheckpoint(path)
    else:
        yield OrbaxCheckpoint(path)


def problem_of(path: pathlib.Path, reads_all: bool = False) -> str:
    """Say why a checkpoint does not open, or cannot be read as a whole; nothing if it can."""
    try:
        with open_checkpoint(path) as reader:
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


def checkpoint_problems(directory: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    """Yield the path of each checkpoint, and what is wrong with it, if anything."""
    for prefix in prefixes_in(directory):
        for path in History.of(Directory(directory), prefix).paths().values():
            yield path, problem_of(path, reads_all=True)


class Pruning(NamedTuple):
    """The checkpoints of a prefix that need not be kept."""

    history: History
    doomed: dict[Step, pathlib.Path]
    problem: str = ""  # Why none of them may be removed.

    @property
    def size(self) -> int:
        return sum(map(_size, self.doomed.values()))

    def remove(self) -> None:
        for step in self.doomed:
            self.history.remove(step)


def prunings(directory: pathlib.Path, retention: Retention) -> Iterator[Pruning]:
    """Yield what each prefix need not keep; just a problem if its newest checkpoint is damaged."""
    for prefix in prefixes_in(directory):
        history = History.of(Directory(directory), prefix)
        # Another program may have put a link or a file there.
        paths = {
            step: path
            for step, path in history.paths().items()
            if is_checkpoint(history.directory, path.name)
            and not history.directory.is_link(path.name)
        }
        doomed = {step: paths[step] for step in retention.steps_to_delete(list(paths))}
        if doomed and (problem := problem_of(list(paths.values())[-1], reads_all=True)):
            yield Pruning(history, {}, f"the newest cannot be read, so all are kept: {problem}")
        elif doomed:
            yield Pruning(history, doomed)


def _size(path: pathlib.Path) -> int:
    if Directory(path).kind_of() == "directory":
        return Directory(path).usage().size
    with Directory(path.parent).open(path.name) as file:
        return file.size
