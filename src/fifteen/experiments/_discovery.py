"""Summary of an experiment, without reading all of it."""

import dataclasses
import pathlib
from typing import TypeAlias

from . import checkpoints, metadata
from ._errors import ExperimentNotFoundError
from ._local_path import local_path
from ._walk import find_paths
from .events.reading import read_ends
from .storage import Directory

Contents: TypeAlias = tuple[list[str], dict[str, list[int]], int | None, int, float]
"""A `Summary` without its path."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What is in an experiment, from names and the ends of files alone.

    Attributes:
        path: its directory.
        metadata: the names that `read_metadata` takes, except those of experiments below it.
        checkpoints: the steps of the checkpoints under each prefix, ascending.
        last_step: the step of the scalars or histograms logged last; None if there are none.
        size: bytes on disk, in all files below the directory.
        modified: when something in it was last written, in seconds since the epoch.

    Examples:
        >>> path = experiment.save_checkpoint({"weights": jnp.ones(3)}, step=100)
        >>> summarize("runs/a").latest_step
        100
    """

    path: pathlib.Path
    metadata: list[str]
    checkpoints: dict[str, list[int]]
    last_step: int | None
    size: int
    modified: float

    @property
    def latest_step(self) -> int | None:
        """The largest step known: the last one logged or the latest checkpoint."""
        steps = [steps[-1] for steps in self.checkpoints.values()]
        if self.last_step is not None:
            steps.append(self.last_step)
        return max(steps, default=None)


def summarize(path: pathlib.Path | str) -> Summary:
    """Summarize an experiment from names and the ends of files, in about a millisecond.

    Args:
        path: its directory.

    Raises:
        ExperimentNotFoundError: there is no such directory.

    Examples:
        >>> path = experiment.save_checkpoint({"weights": jnp.ones(3)}, step=100)
        >>> summarize(experiment.data_dir).checkpoints
        {'checkpoint_': [100]}
    """
    path = local_path(path, "path")
    return Summary(path, *contents_of(path, read_ends(Directory(path)).timeline.last_step))


def contents_of(path: pathlib.Path, last_step: int | None) -> Contents:
    """Return the contents of an experiment, given the step that was logged last."""
    try:
        size, modified = Directory(path).usage()
    except (FileNotFoundError, NotADirectoryError):
        problem = "expected an experiment, found no directory"
        raise ExperimentNotFoundError(f"{path}: {problem}") from None
    found = {
        prefix: steps
        for prefix in checkpoints.prefixes_in(path)
        if (steps := checkpoints.steps_in(path, prefix))
    }
    return own_metadata(path), found, last_step, size, modified


def own_metadata(path: pathlib.Path) -> list[str]:
    """Return the names of an experiment's metadata, except those of experiments below it."""
    names = metadata.names(path)
    if not any("/" in name for name in names):
        return names
    inner = [below for below in find_paths(path) if below != path]
    return [name for name in names if not any(map((path / name).is_relative_to, inner))]
