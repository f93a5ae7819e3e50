"""Find experiments under a root, and summarize one."""

import contextlib
import dataclasses
import os
import pathlib

from . import checkpoints, metadata
from ._errors import ExperimentNotFoundError
from ._experiment import Experiment
from ._local_path import local_path
from ._walk import find_paths
from .events.reading import last_step
from .storage import Directory


@dataclasses.dataclass(frozen=True)
class Summary:
    """What is in an experiment, from names and the ends of files alone.

    Attributes:
        path: its directory.
        metadata: the names that `read_metadata` takes.
        checkpoints: the steps of the checkpoints under each prefix, ascending.
        last_step: the step of the scalars or histograms logged last; None if there are none.
        size: bytes on disk, in all files below the directory.
        modified: when something in it was last written, in seconds since the epoch.
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


def find_experiments(root: pathlib.Path | str) -> list[Experiment]:
    """Find every experiment under a root, the root itself included.

    An experiment is a directory that directly holds metadata, a checkpoint or an event file.
    Hidden directories and virtual environments are not entered, and each directory is visited
    once, however many links lead to it.

    Args:
        root: where to look.

    Returns:
        The experiments in natural order (`run_2` before `run_10`), none of them verbose.

    Raises:
        ExperimentNotFoundError: the root does not exist.
        NotADirectoryError: the root is a file.

    Examples:
        ```python
        import pathlib, tempfile

        from fifteen.experiments import Experiment, find_experiments

        root = pathlib.Path(tempfile.mkdtemp())
        Experiment(root / "run_10").write_metadata("config", {"learning_rate": 1e-3})
        Experiment(root / "run_2").write_metadata("config", {"learning_rate": 1e-2})
        assert [found.data_dir.name for found in find_experiments(root)] == ["run_2", "run_10"]
        ```
    """
    return [Experiment(path, verbose=False) for path in find_paths(local_path(root, "root"))]


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
    if not path.is_dir():
        raise ExperimentNotFoundError(f"{path}: expected an experiment, found no directory")
    size, modified = _size_and_time(path)
    return Summary(
        path=path,
        metadata=metadata.names(path),
        checkpoints={
            prefix: checkpoints.steps_in(path, prefix) for prefix in checkpoints.prefixes_in(path)
        },
        last_step=last_step(Directory(path)),
        size=size,
        modified=modified,
    )


def _size_and_time(path: pathlib.Path) -> tuple[int, float]:
    size, modified = 0, path.stat().st_mtime
    pending = [str(path)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                # A writer may have just removed it.
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    modified = max(modified, status.st_mtime)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        size += status.st_size
    return size, modified
