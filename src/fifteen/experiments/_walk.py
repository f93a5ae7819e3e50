"""Find the directories that are experiments, in the order that people expect."""

import os
import pathlib
import re
import warnings
from collections.abc import Iterator
from decimal import Decimal

from ._errors import ExperimentExistsError, ExperimentNotFoundError, ExperimentWarning
from .storage import Directory

_CHECKPOINT = re.compile(r".*\D\d+\.safetensors|checkpoint.*\d+", re.DOTALL)
"""`best_300.safetensors`, and `checkpoint_300` as flax wrote it.

A number at the end of a name says little by itself. So files without our suffix count only if they
have flax's default prefix.
"""

_ORBAX_MARKS = {"_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "checkpoint"}
"""Each directory that Orbax commits has at least one of these, in every version of Orbax."""

_NOT_ENTERED = {"__pycache__", "node_modules"}

_NUMBER = re.compile(
    r"(?<![\d.])\d+(?:\.\d+)?(?:[eE][+-]?\d{1,4})?(?![\dA-Za-z.])"  # 10, 0.001, 1e-3
    r"|\d+"  # Each number of a version such as 1.2.10.
)


def find_paths(root: pathlib.Path) -> list[pathlib.Path]:
    """Find the directory of every experiment under a root; see `find_experiments`."""
    if not root.exists():
        raise ExperimentNotFoundError(
            f"{root}: expected a directory, found nothing; check the path"
        )
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: expected a directory, found a file; pass its directory")
    return sorted(_Walk(root).find(), key=natural)


def holds_experiment(path: pathlib.Path) -> bool:
    """Tell whether a directory directly holds metadata, a checkpoint or an event file."""
    try:
        entries = list(os.scandir(path))
        return any(map(_kind, entries)) or any(
            _is_orbax(folder.name, list(os.scandir(folder.path)))
            for folder in filter(_is_folder, entries)
        )
    except OSError:
        return False


def check_new(path: pathlib.Path) -> None:
    """Raise if there is anything at the path of a new experiment."""
    found = _found_at(path)
    if found:
        raise ExperimentExistsError(
            f"{path}: expected a new experiment, found {found}; choose another directory, or "
            "clear() this one to start again"
        )


def check_exists(path: pathlib.Path) -> None:
    """Raise if there is no experiment at a path."""
    found = _found_at(path) or "nothing"
    problem = f"expected an experiment, found {found}; check the path"
    if path.is_dir():
        below = [] if holds_experiment(path) else find_paths(path)
        if Directory(path).names() and not below:
            return
        problem = "expected an experiment, found an empty directory; check the path"
        if below:
            problem = (
                f"no experiment; it contains {len(below)}, such as {below[0].name}: "
                "find_experiments and `fifteen list` name them"
            )
    raise ExperimentNotFoundError(f"{path}: {problem}")


def _found_at(path: pathlib.Path) -> str:
    """Describe what is at a path; an empty text if it is free."""
    if not path.is_dir():
        if path.is_symlink():
            return f"a broken link to {os.readlink(path)}"
        return "a file" if path.exists() else ""
    names = Directory(path).names()
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


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
            # Links are followed last, so that a directory under the root is found by its own path.
            # Without links no directory can be met twice, and none has to be identified.
            self._seen = {_identity(path) for path in self._visited}
        real_root = self._root.resolve()
        while self._links:
            link = self._links.pop()
            if not real_root.is_relative_to(os.path.realpath(link)):
                found.extend(self._below(link))
        return [pathlib.Path(path) for path in found]

    def _below(self, top: str) -> Iterator[str]:
        # Inside an experiment with events or checkpoints, a directory with only metadata or only
        # checkpoints is a sub-folder of it: names and prefixes may have one (`eval/step_100`).
        # Inside one with metadata alone, as of a sweep, it is an experiment of its own.
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
        """Return a directory's entries; none if it is not to be entered."""
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
                f"{path}: left out, as it cannot be read: {error.strerror}",
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
    """Return which kind of an experiment's file this is; an empty string if it is none."""
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


def natural(path: object) -> list[tuple[str, Decimal, str]]:
    """Return a key that sorts numbers by value and all else as text."""
    text, at = str(path), 0
    parts: list[tuple[str, Decimal, str]] = []
    for match in _NUMBER.finditer(text):
        parts.append((text[at : match.start()], Decimal(match[0]), match[0]))
        at = match.end()
    return [*parts, (text[at:], Decimal(-1), "")]
