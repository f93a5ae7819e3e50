"""Find experiments, in natural order."""

import pathlib
import re
from collections.abc import Iterator
from decimal import Decimal

from ._console import warn
from ._errors import ExperimentExistsError, ExperimentNotFoundError
from .storage import Directory, Entry

_CHECKPOINT = re.compile(r".*\D\d+\.safetensors|checkpoint.*\d+", re.DOTALL)
"""`best_300.safetensors`, and `checkpoint_300` as flax wrote it.

Many names end with a number, so files without our suffix count only if they have flax's default
prefix.
"""

_ORBAX_MARKS = {
    *("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "checkpoint"),
    "fifteen-shards.json",
}
"""Each directory that Orbax commits has at least one of these, in every version of Orbax; and each
that several processes have saved in an object store has ours."""

_NOT_ENTERED = {"__pycache__", "node_modules"}

_NUMBER = re.compile(
    r"((?<![\d.])\d+(?:\.\d+)?(?:[eE][+-]?\d{1,4})?(?![\dA-Za-z.])"  # 10, 0.001, 1e-3
    r"|\d+)"  # Each number of a version such as 1.2.10.
)


def find_paths(root: pathlib.Path) -> list[pathlib.Path]:
    """Find the directory of every experiment under a root; see `find_experiments`."""
    if not Directory(root).check_directory():
        raise ExperimentNotFoundError(
            f"{root}: expected a directory, found nothing; check the path"
        )
    return sorted(_Walk(Directory(root)).find(), key=natural)


def holds_experiment(path: pathlib.Path) -> bool:
    """Return whether a directory directly holds metadata, a checkpoint or an event file."""
    directory = Directory(path)
    try:
        entries = directory.entries()
        return any(map(_kind, entries)) or any(
            _is_orbax(entry.name, (directory / entry.name).entries())
            for entry in filter(_is_folder, entries)
        )
    except OSError:
        return False


def check_new(path: pathlib.Path) -> None:
    """Raise if there is anything at the path of a new experiment."""
    found = _found_at(path)
    if found:
        is_directory = Directory(path).is_present()
        raise ExperimentExistsError(
            f"{path}: expected a new experiment, found {found}; choose another directory, or "
            + ("clear() this one to start again" if is_directory else "remove it")
        )


def check_exists(path: pathlib.Path) -> None:
    """Raise if there is no experiment at a path."""
    directory = Directory(path)
    found = _found_at(path) or "nothing"
    problem = f"expected an experiment, found {found}; check the path"
    if directory.is_present():
        below = [] if holds_experiment(path) else find_paths(path)
        if directory.names() and not below:
            return
        problem = "expected an experiment, found an empty directory; check the path"
        if below:
            problem = (
                f"no experiment, but it contains {len(below)}, such as {below[0].name}: "
                "find_experiments and `fifteen list` name them"
            )
    raise ExperimentNotFoundError(f"{path}: {problem}")


def _found_at(path: pathlib.Path) -> str:
    """Describe the content of a path; an empty text if it is free."""
    directory = Directory(path)
    kind = directory.kind_of()
    if kind is None:
        return ""
    if kind != "directory":
        is_broken = kind == "other" and directory.is_link()
        return f"a broken link to {directory.real_path()}" if is_broken else "a file"
    names = directory.names()
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


class _Walk:
    """Visit each directory under a root once."""

    def __init__(self, root: Directory) -> None:
        self._root = root
        self._links: list[Directory] = []
        self._visited: set[str] = set()
        """Real paths."""

    def find(self) -> list[pathlib.Path]:
        found = list(self._below(self._root))
        # Links are followed last, so that a directory under the root is found by its own path.
        root = self._root.real_path()
        while self._links:
            link = self._links.pop()
            if not root.is_relative_to(link.real_path()):
                found.extend(self._below(link))
        return found

    def _below(self, top: Directory) -> Iterator[pathlib.Path]:
        # In an experiment with events or checkpoints, a directory with only metadata or only
        # checkpoints is a sub-folder: names and prefixes may have one (`eval/step_100`). In one
        # with only metadata, such as a sweep's, it is an experiment of its own.
        real = str(top.real_path())
        pending = [(top, real, self._enter(top, real), False)]
        while pending:
            directory, real, entries, is_within_run = pending.pop()
            kinds = {_kind(entry) for entry in entries} - {""}
            folders: list[tuple[Directory, str, list[Entry]]] = []
            for entry in filter(_is_folder, entries):
                folder = directory / entry.name
                if entry.is_link:
                    self._links.append(folder)
                    continue
                real_folder = f"{real}/{entry.name}"
                inside = self._enter(folder, real_folder)
                if _is_orbax(entry.name, inside):
                    kinds.add("checkpoint")
                else:
                    folders.append((folder, real_folder, inside))
            if "events" in kinds or len(kinds) > 1 or (kinds and not is_within_run):
                yield directory.path
            is_run = is_within_run or "events" in kinds or "checkpoint" in kinds
            pending.extend((*folder, is_run) for folder in folders)

    def _enter(self, directory: Directory, real: str) -> list[Entry]:
        """Return a directory's entries; none if it must not be entered."""
        if real in self._visited:
            return []
        self._visited.add(real)
        try:
            entries = directory.entries()
        except OSError as error:
            warn(f"{directory}: left out, as it cannot be read: {error.strerror}")
            return []
        return [] if "pyvenv.cfg" in [entry.name for entry in entries] else entries


def _kind(entry: Entry) -> str:
    """Return the kind of an experiment's file; an empty text for other files."""
    if entry.kind != "file" or entry.name.startswith("."):
        return ""
    if "tfevents" in entry.name:
        return "events"
    if entry.name.endswith(".yaml"):
        return "metadata"
    return "checkpoint" if _CHECKPOINT.fullmatch(entry.name) else ""


def _is_folder(entry: Entry) -> bool:
    is_hidden = entry.name.startswith(".") or entry.name in _NOT_ENTERED
    return entry.kind == "directory" and not is_hidden


def _is_orbax(name: str, entries: list[Entry]) -> bool:
    if "orbax-checkpoint-tmp" in name:
        return True
    return name[-1:].isdigit() and any(entry.name in _ORBAX_MARKS for entry in entries)


def natural(path: object) -> list[tuple[str, Decimal, str]]:
    """Return a key that sorts numbers by value and the rest as text."""
    *parts, last = _NUMBER.split(str(path))
    numbers = parts[1::2]
    keys = zip(parts[::2], map(Decimal, numbers), numbers, strict=True)
    return [*keys, (last, Decimal(-1), "")]
