"""Move a directory: rename it, or copy it to another file system or store and compare the copy."""

import errno
import functools
import os
import pathlib
import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fifteen._progress import Advance, progress, track

from .._errors import ExperimentExistsError, UnsafePathError
from . import _local
from ._files import ReadableFile

if TYPE_CHECKING:
    from ._directory import Directory

UNFINISHED = ".move.fifteen-tmp"
"""A file in an incomplete copy in an object store; its content is the source."""

_FILES_AT_ONCE = 4


def check(source: "Directory", destination: "Directory") -> None:
    """Raise if a directory cannot be moved there; see `Directory.check_movable`."""
    source.check_directory()
    if source.is_link() and destination.is_remote:
        raise UnsafePathError(f"{source}: a link; move the directory that it leads to")
    if destination.real_path().is_relative_to(source.real_path()):
        raise UnsafePathError(
            f"{destination}: cannot move {source} into itself; choose a destination outside of it"
        )
    if destination.kind_of(UNFINISHED):
        other = destination.read(UNFINISHED).decode()
        raise ExperimentExistsError(
            f"{destination}: an unfinished copy of {other}; if no process is moving it there "
            "now, clear() the copy and move again"
        )
    kind = destination.kind_of()
    if destination.is_link() or (kind and (kind != "directory" or destination.names())):
        hint = f"did you mean {destination.path / source.path.name}? If not, "
        raise ExperimentExistsError(
            f"{destination}: exists already and is not an empty directory, so {source} was not "
            f"moved there; {hint if kind == 'directory' else ''}choose another destination"
        )


def move(source: "Directory", destination: "Directory") -> None:
    """Move an existing directory to an absent or empty one, whose parents are created.

    Within a file system this is one rename. Otherwise all of it is copied, and compared with the
    source. Only then is the source removed, so a kill at any moment leaves at least one of them
    complete. Until then a copy on a disk has a hidden name, and one in a store the file
    `UNFINISHED`.
    """
    if source.is_remote or destination.is_remote:
        _copy_files(source, destination)
        source.delete()
        return
    old, new = source.path, destination.path
    _local.make_directory(new.parent)
    if old.is_symlink():
        if new.exists():
            new.rmdir()
        new.symlink_to(old.resolve())  # An absolute link, which still leads there.
        old.unlink()
        return
    destination.remove_leftovers()
    try:
        os.rename(old, new)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_tree(source, destination)
        _local.remove(old)
    _local.sync_directory(old.parent)
    _local.sync_directory(new.parent)


def _copy_tree(source: "Directory", destination: "Directory") -> None:
    """Copy a directory to another disk, with its links and times."""
    # Each byte is copied, then read from both.
    total = 3 * source.usage().size
    with destination.arriving(source) as made, progress("Copying", total) as advance:
        shutil.copytree(
            source.path,
            made.path,
            symlinks=True,
            dirs_exist_ok=True,
            copy_function=functools.partial(_copy_file, advance),
        )
        contents = [contents_of(directory.path, advance) for directory in (source, made)]
        _refuse_changed(differing(*contents), source, destination)


def _copy_file(advance: Advance, source: str, destination: str) -> None:
    with ReadableFile(source) as file, open(destination, "wb") as copy:
        for piece in file.pieces():
            copy.write(piece)
            advance(len(piece))
    shutil.copystat(source, destination)


def contents_of(directory: pathlib.Path, advance: Advance) -> dict[str, str]:
    """Return what is at each path below a directory: a file's digest, or where a link leads."""
    found: dict[str, str] = {}
    for path in _local.below(directory):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_dir():
            found[name] = "directory"
        elif path.is_file():
            with ReadableFile(path) as file:
                found[name] = digest_of(file.pieces(), advance)
    return found


def differing(left: dict[str, str], right: dict[str, str]) -> list[str]:
    """Return the paths at which two directories differ."""
    return sorted({path for path, _ in left.items() ^ right.items()})


def digest_of(pieces: Iterable[bytes], advance: Advance) -> str:
    import hashlib  # This and the threads take a tenth of the time of `fifteen list`.

    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        advance(len(piece))
    return digest.hexdigest()


def _copy_files(source: "Directory", destination: "Directory") -> None:
    """Copy a directory to or from an object store."""
    from concurrent.futures import ThreadPoolExecutor

    with destination.arriving(source) as made, ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
        names = source.files()
        copied = threads.map(lambda name: made.copy(source, name), names)
        for _ in track(copied, "Copying", len(names)):
            pass
        changed = sorted({*names} ^ {*source.files()})
        compared = threads.map(lambda name: made.has_equal(source, name), names)
        equal = track(compared, "Comparing", len(names))
        changed += [name for name, is_equal in zip(names, equal, strict=True) if not is_equal]
        _refuse_changed(changed, source, destination)


def _refuse_changed(names: list[str], source: "Directory", destination: "Directory") -> None:
    if names:
        raise OSError(
            f"{source / names[0]}: changed while {source} was copied to {destination}; nothing was "
            "moved. Stop what writes there and move again"
        )
