"""All checkpoints of a directory at once: which can be removed, and which are intact."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from ..storage import Directory
from ._opening import problem_of
from ._ownership import is_checkpoint
from ._paths import History, Step, prefixes_in
from ._retention import Retention


class Pruning(NamedTuple):
    """The checkpoints of a prefix that need not be kept."""

    history: History
    doomed: dict[Step, pathlib.Path]
    problem: str = ""  # Why none of them may be removed.

    @property
    def size(self) -> int:
        """The total size of what can be removed, in bytes."""
        return sum(map(_size, self.doomed.values()))

    def remove(self) -> None:
        """Remove them."""
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


def checkpoint_problems(directory: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    """Yield the path of each checkpoint, and what is wrong with it, if anything."""
    for prefix in prefixes_in(directory):
        for path in History.of(Directory(directory), prefix).paths().values():
            yield path, problem_of(path, reads_all=True)


def _size(path: pathlib.Path) -> int:
    if Directory(path).kind_of() == "directory":
        return Directory(path).usage().size
    with Directory(path.parent).open(path.name) as file:
        return file.size
