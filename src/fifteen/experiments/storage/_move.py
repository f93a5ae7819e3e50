"""Moving a directory, within a file system or across two."""

import errno
import filecmp
import functools
import os
import pathlib
import shutil
import stat

from fifteen._progress import Advance, progress

from .._errors import ExperimentExistsError, UnsafePathError
from . import _local

_CHUNK_BYTES = 1 << 20


def refuse_to_move(source: pathlib.Path, destination: pathlib.Path) -> None:
    """Raise if `Directory.check_movable` does."""
    if destination.resolve().is_relative_to(source.resolve()):
        raise UnsafePathError(
            f"{destination}: cannot move {source} into itself; choose a destination outside of it"
        )
    if destination.is_symlink() or (destination.exists() and not _is_empty(destination)):
        problem = f"exists already and is not an empty directory, so {source} was not moved there; "
        if destination.is_dir():
            problem += f"did you mean {destination / source.name}? If not, "
        raise ExperimentExistsError(f"{destination}: {problem}choose another destination")


def move(source: pathlib.Path, destination: pathlib.Path) -> None:
    """Move an existing directory to an absent or empty one, whose parents are made.

    Within a file system this is one rename. Across two, the copy is made under a hidden name,
    compared with the source byte for byte and synced before it takes the destination's name. Only
    then is the source removed, so a kill at any moment leaves at least one of them whole.
    """
    refuse_to_move(source, destination)
    _local.make_directory(destination.parent)
    if source.is_symlink():
        _move_link(source, destination)
        return
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
    """Move a link to an experiment. It becomes absolute, since a relative one would break."""
    if destination.exists():
        destination.rmdir()
    destination.symlink_to(source.resolve())
    source.unlink()


def _copy_across(source: pathlib.Path, destination: pathlib.Path) -> None:
    _local.remove_leftovers(destination.parent)
    temporary = _local.temporary_beside(destination)
    # Each byte is copied and then compared.
    total = 2 * _local.size_of(source)
    try:
        with _local.locked_directory(temporary), progress("Copying", total) as advance:
            copy = functools.partial(_copy_file, advance)
            shutil.copytree(
                source, temporary, symlinks=True, dirs_exist_ok=True, copy_function=copy
            )
            differing = _first_difference(source, temporary, advance)
            if differing is not None:
                raise OSError(
                    f"{source / differing}: changed while {source} was copied to {destination}; "
                    "nothing was moved. Stop what writes there and move again"
                )
            _local.sync_all(temporary)
            os.rename(temporary, destination)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _copy_file(advance: Advance, source: str, destination: str) -> None:
    if not os.path.isfile(source):
        shutil.copy2(source, destination)  # Says which kind of file it does not take.
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


def _is_empty(path: pathlib.Path) -> bool:
    return path.is_dir() and not os.listdir(path)
