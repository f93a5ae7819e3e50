"""Finding experiments under a root, and what can be told of one at a glance."""

import contextlib
import dataclasses
import os
import pathlib
import re
import warnings
from collections.abc import Iterator

from . import checkpoints, metadata
from ._errors import ExperimentNotFoundError, ExperimentWarning
from ._experiment import Experiment
from ._local_path import local_path
from .events import last_step

_CHECKPOINT = re.compile(r".*\D\d+\.safetensors|checkpoint.*\d+", re.DOTALL)
"""`best_300.safetensors`, and `checkpoint_300` as flax wrote it.

A number at the end of a name says little by itself, so that of files without our suffix only
those count that are called as flax calls them by default.
"""

_ORBAX_MARKS = {"_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "checkpoint"}
"""At least one of these is in each directory that Orbax commits, in whichever version."""

_NOT_ENTERED = {"__pycache__", "node_modules"}


@dataclasses.dataclass(frozen=True)
class Summary:
    """Say what lies in an experiment, without reading more than names and the ends of files.

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


def find_paths(root: pathlib.Path) -> list[pathlib.Path]:
    """Find the directory of every experiment under a root; see `find_experiments`."""
    if not root.exists():
        raise ExperimentNotFoundError(
            f"{root}: expected a directory, found nothing; check the path"
        )
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: expected a directory, found a file; pass its directory")
    return sorted(_Walk(root).find(), key=_natural)


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
    names = os.listdir(path)
    return Summary(
        path=path,
        metadata=metadata.names(path),
        checkpoints={
            prefix: checkpoints.steps_in(path, prefix) for prefix in checkpoints.prefixes_in(path)
        },
        last_step=last_step([path / name for name in names if "tfevents" in name]),
        size=size,
        modified=modified,
    )


class _Walk:
    """Visit each directory under a root once."""

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        self._visited: list[str] = []
        self._seen: set[tuple[int, int]] | None = None
        self._links: list[str] = []

    def find(self) -> list[pathlib.Path]:
        found = list(self._below(str(self._root)))
        if self._links:
            # Links come last, so that what has a place of its own under the root is found there.
            # Without them nothing can be met twice, and no directory has to be identified.
            self._seen = {_identity(path) for path in self._visited}
        real_root = self._root.resolve()
        while self._links:
            link = self._links.pop()
            if not real_root.is_relative_to(os.path.realpath(link)):
                found.extend(self._below(link))
        return [pathlib.Path(path) for path in found]

    def _below(self, top: str) -> Iterator[str]:
        # Within an experiment that has run, a directory that holds only metadata or only
        # checkpoints is a sub-folder of it: names and prefixes may lead into one
        # (`eval/step_100`). Within one that has metadata alone it may well be an experiment:
        # the metadata is then that of a sweep.
        pending = [(top, self._enter(top), False)]
        while pending:
            path, entries, is_within_run = pending.pop()
            kinds = {_kind(entry) for entry in entries} - {""}
            folders: list[tuple[str, list[os.DirEntry[str]]]] = []
            for folder in filter(_is_folder, entries):
                if folder.is_symlink():
                    self._links.append(folder.path)
                    continue
                inside = self._enter(folder.path)
                if _is_orbax(folder.name, inside):
                    kinds.add("checkpoint")
                else:
                    folders.append((folder.path, inside))
            if "events" in kinds or len(kinds) > 1 or (kinds and not is_within_run):
                yield path
            is_run = is_within_run or "events" in kinds or "checkpoint" in kinds
            pending.extend((folder, inside, is_run) for folder, inside in folders)

    def _enter(self, path: str) -> list["os.DirEntry[str]"]:
        """Return what is in a directory; nothing where it is not to be entered."""
        try:
            if self._seen is None:
                self._visited.append(path)
            elif (identity := _identity(path)) in self._seen:
                return []
            else:
                self._seen.add(identity)
            with os.scandir(path) as scan:
                entries = list(scan)
        except FileNotFoundError:
            return []
        except OSError as error:
            warnings.warn(
                f"{path}: left out, since it cannot be read: {error.strerror}",
                ExperimentWarning,
                stacklevel=6,
            )
            return []
        is_environment = any(entry.name == "pyvenv.cfg" for entry in entries)
        return [] if is_environment else entries


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return status.st_dev, status.st_ino


def _kind(entry: "os.DirEntry[str]") -> str:
    """Say what of an experiment a file is; an empty text for what is nothing of it."""
    name = entry.name
    if name.startswith("."):
        return ""
    if "tfevents" in name:
        kind = "events"
    elif name.endswith(".yaml"):
        kind = "metadata"
    elif _CHECKPOINT.fullmatch(name):
        kind = "checkpoint"
    else:
        return ""
    try:
        return kind if entry.is_file() else ""
    except OSError:  # A link that leads to itself.
        return ""


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir() and not entry.name.startswith(".") and entry.name not in _NOT_ENTERED
    except OSError:
        return False


def _is_orbax(name: str, entries: list["os.DirEntry[str]"]) -> bool:
    if "orbax-checkpoint-tmp" in name:
        return True
    return name[-1:].isdigit() and any(entry.name in _ORBAX_MARKS for entry in entries)


def _size_and_time(path: pathlib.Path) -> tuple[int, float]:
    size, modified = 0, path.stat().st_mtime
    pending = [str(path)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                # What a writer has just removed counts no more.
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    modified = max(modified, status.st_mtime)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        size += status.st_size
    return size, modified


def _natural(path: pathlib.Path) -> list[tuple[str, int, str]]:
    """Return a key that sorts numbers by value and all else as text."""
    parts = re.findall(r"(\D*)(\d*)", str(path))
    return [(text, int(digits or -1), digits) for text, digits in parts]
