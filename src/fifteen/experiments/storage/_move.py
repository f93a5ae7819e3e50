"""Move a directory within a file system or to another."""

import contextlib
import errno
import filecmp
import functools
import os
import pathlib
import shutil
import stat
from collections.abc import Generator
from typing import TYPE_CHECKING

from fifteen._progress import Advance, progress

from .._errors import ExperimentExistsError, UnsafePathError
from . import _local

if TYPE_CHECKING:
    from ._directory import Directory

UNFINISHED = ".move.fifteen-tmp"
"""A file in an incomplete copy in an object store; its content is the source."""

_CHUNK_BYTES = 1 << 20


def check(source: "Directory", destination: "Directory") -> None:
    """Raise if `Directory.check_movable` does."""
    if source.is_link() and not destination.has_renames:
        raise UnsafePathError(f"{source}: a link; move the directory that it leads to")
    if destination.real_path().is_relative_to(source.real_path()):
        raise UnsafePathError(
            f"{destination}: cannot move {source} into itself; choose a destination outside of it"
        )
    if destination.kind_of(UNFINISHED):
        raise ExperimentExistsError(
            f"{destination}: an unfinished copy of {destination.read(UNFINISHED).decode()}; if no "
            "process is moving it there now, clear() the copy and move again"
        )
    kind = destination.kind_of()
    if destination.is_link() or (kind and (kind != "directory" or destination.names())):
        problem = f"exists already and is not an empty directory, so {source} was not moved there; "
        if kind == "directory":
            problem += f"did you mean {destination.path / source.path.name}? If not, "
        raise ExperimentExistsError(f"{destination}: {problem}choose another destination")


def move(source: pathlib.Path, destination: pathlib.Path) -> None:
    """Move an existing directory to an absent or empty one, whose parents are created.

    Within a file system this is one rename. Across two, the copy gets a hidden name, is compared
    with the source byte for byte and synced before it takes the destination's name. Only then is
    the source removed, so a kill at any moment leaves at least one of them complete.
    """
    _local.make_directory(destination.parent)
    if source.is_symlink():
        _move_link(source, destination)
        return
    _local.remove_leftovers(destination)
    try:
        os.rename(source, destination)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_across(source, destination)
        _local.remove(source)
    _local.sync_directory(source.parent)
    _local.sync_directory(destination.parent)


def _move_link(source: pathlib.Path, destination: pathlib.Path) -> None:
    """Move a link to an experiment, and make it absolute."""
    if destination.exists():
        destination.rmdir()
    destination.symlink_to(source.resolve())
    source.unlink()


def _copy_across(source: pathlib.Path, destination: pathlib.Path) -> None:
    # Each byte counts twice: it is copied, then compared.
    total = 2 * _local.size_of(source)
    with arriving(destination) as temporary, progress("Copying", total) as advance:
        copy = functools.partial(_copy_file, advance)
        shutil.copytree(source, temporary, symlinks=True, dirs_exist_ok=True, copy_function=copy)
        differing = _first_difference(source, temporary, advance)
        if differing is not None:
            raise changed_meanwhile(source / differing, source, destination)


@contextlib.contextmanager
def arriving(path: pathlib.Path) -> Generator[pathlib.Path]:
    """Yield a hidden directory, which takes the path when the block ends, unless it raises.

    The path must be absent or an empty directory.
    """
    _local.make_directory(path.parent)
    _local.remove_leftovers(path.parent)
    temporary = _local.temporary_beside(path)
    try:
        with _local.locked_directory(temporary):
            yield temporary
            _local.sync_all(temporary)
            os.rename(temporary, path)
    finally:
        _local.remove(temporary)
    _local.sync_directory(path.parent)


def changed_meanwhile(file: object, source: object, destination: object) -> OSError:
    """Return the error about a file that changed while its directory was copied."""
    return OSError(
        f"{file}: changed while {source} was copied to {destination}; nothing was moved. Stop what "
        "writes there and move again"
    )


def files(directory: pathlib.Path) -> list[str]:
    """Return the names of all files below a directory, as `Directory.files` does."""
    found: list[str] = []
    for folder, folders, names in os.walk(directory):
        folders[:] = filter(_local.is_visible, folders)
        names = list(filter(_local.is_visible, names))
        for name in (*folders, *names):
            if os.path.islink(path := f"{folder}/{name}"):
                raise UnsafePathError(
                    f"{path}: a link, which no object store can hold; remove it, or replace it by "
                    "what it leads to"
                )
        found += [os.path.relpath(f"{folder}/{name}", directory) for name in names]
    return sorted(found)


def _copy_file(advance: Advance, source: str, destination: str) -> None:
    if not os.path.isfile(source):
        shutil.copy2(source, destination)  # Raises the reason for other kinds of files.
        return
    with open(source, "rb") as file, open(destination, "wb") as copy:
        while data := file.read(_CHUNK_BYTES):
            copy.write(data)
            advance(len(data))
    shutil.copystat(source, destination)


def _first_difference(
    left: pathlib.Path, right: pathlib.Path, advance: Advance
) -> pathlib.Path | None:
    """Return the relative path of the first difference between two trees; None if equal."""
    if _kind(left) != _kind(right):
        return pathlib.Path()
    if left.is_symlink():
        return None if os.readlink(left) == os.readlink(right) else pathlib.Path()
    if not left.is_dir():
        advance(left.stat().st_size)
        return None if filecmp.cmp(left, right, shallow=False) else pathlib.Path()
    for name in sorted({*os.listdir(left), *os.listdir(right)}):
        differing = _first_difference(left / name, right / name, advance)
        if differing is not None:
            return name / differing
    return None


def _kind(path: pathlib.Path) -> int | None:
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except FileNotFoundError:
        return None
