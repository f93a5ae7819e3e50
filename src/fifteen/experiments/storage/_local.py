"""Paths on a local or shared disk: files and directories that appear and vanish atomically.

A temporary is a hidden name beside its destination, `.NAME.RANDOM.fifteen-tmp`. Its writer holds
its lock while it writes. A temporary whose lock is free is a leftover, and is removed.
"""

import contextlib
import contextvars
import errno
import io
import os
import pathlib
import shutil
import stat
from collections.abc import Generator

from .._errors import UnsafePathError
from . import _locks
from ._os_errors import suppressed_os_errors

_TEMPORARY_SUFFIX = ".fifteen-tmp"
_REPLACEMENT_SUFFIX = ".fifteen-new"


@contextlib.contextmanager
def atomic_file(path: pathlib.Path) -> Generator[io.FileIO]:
    """Write a file in an existing directory, as `Directory.replace` does."""
    temporary = temporary_beside(path)
    with _locks.create(temporary) as file:
        try:
            yield file
            os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppressed_os_errors():
                temporary.unlink()
            raise
    sync_directory(path.parent)


def temporary_beside(path: pathlib.Path) -> pathlib.Path:
    """Return an unused hidden name beside `path` that counts as a temporary."""
    # A name has at most 255 bytes, and a character up to 4.
    return path.with_name(f".{path.name[:50]}.{os.urandom(4).hex()}{_TEMPORARY_SUFFIX}")


def is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(_TEMPORARY_SUFFIX)


def remove_leftovers(directory: pathlib.Path) -> list[pathlib.Path]:
    """Remove the temporaries of dead writers; return their paths."""
    removed: list[pathlib.Path] = []
    for name in names(directory):
        path = directory / name
        is_leftover = is_temporary(name) or _is_replacement(name)
        if is_leftover and not _finish_replacement(path) and _locks.remove_if_free(path):
            removed.append(path)
    return removed


def replace_directory(new: pathlib.Path, path: pathlib.Path) -> None:
    """Replace a directory by a complete and synced one on the same file system.

    A directory cannot be replaced in one step like a file. So the new one is first renamed to a
    hidden name beside the old one. Then the old one is removed and the new one takes its name. If
    the process is killed once the old one is gone, the next listing finishes this.
    """
    with _locks.hold(new):
        if not os.path.lexists(path):
            new.rename(path)
        else:
            waiting = path.with_name(f".{path.name}{_REPLACEMENT_SUFFIX}")
            remove(waiting)
            new.rename(waiting)
            sync_directory(path.parent)
            remove(path)
            if not _finish_replacement(waiting):
                raise OSError(f"{path}: cannot give {waiting} this name; rename it by hand")
    sync_directory(path.parent)


@contextlib.contextmanager
def locked_directory(path: pathlib.Path) -> Generator[None]:
    """Create a directory named by `temporary_beside`, and hold its lock."""
    path.mkdir()
    with _locks.hold(path):
        yield


_listings: contextvars.ContextVar[dict[str, list[os.DirEntry[str]]] | None] = (
    contextvars.ContextVar("listings", default=None)
)


@contextlib.contextmanager
def listed() -> Generator[None]:
    """List each directory once until the block ends."""
    if _listings.get() is not None:
        yield
        return
    token = _listings.set({})
    try:
        yield
    finally:
        _listings.reset(token)


def scan(directory: str) -> list[os.DirEntry[str]]:
    """List a directory, temporaries included; finish interrupted replacements before that.

    Raises what `os.scandir` raises.
    """
    listings = _listings.get()
    if listings is not None and directory in listings:
        return listings[directory]
    with os.scandir(directory) as entries:
        found = list(entries)
    unfinished = [entry.path for entry in found if _is_replacement(entry.name)]
    if any([_finish_replacement(pathlib.Path(path)) for path in unfinished]):  # noqa: C419 # Finish all of them.
        return scan(directory)
    if listings is not None:
        listings[directory] = found
    return found


def list_names(directory: pathlib.Path) -> list[str]:
    """Return the names in a directory, sorted, without temporaries; none if it is absent."""
    return sorted(filter(is_visible, names(directory)))


def names(directory: pathlib.Path) -> list[str]:
    """Return the names in a directory, temporaries included; none if it is absent."""
    try:
        return [entry.name for entry in scan(str(directory))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_visible(name: str) -> bool:
    """Return whether a name is content rather than unfinished work."""
    return not (is_temporary(name) or _is_replacement(name))


def make_directory(path: pathlib.Path) -> bool:
    """Create a directory and its parents, as `Directory.make` does."""
    missing: list[pathlib.Path] = []
    current = path
    while not current.is_dir():
        # Another thread may have created it.
        if os.path.lexists(current) and not current.is_dir():
            what = "a broken link" if current.is_symlink() else "a file"
            raise NotADirectoryError(
                f"{path}: cannot make this directory, because {current} is {what}; remove it or "
                "choose another directory"
            )
        missing.append(current)
        current = current.parent
    if not missing:
        return False
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)
    return True


def remove(path: pathlib.Path) -> None:
    """Remove a file, a link, or a directory with its content.

    A directory is first renamed to a hidden name, so that a kill leaves nothing half-deleted under
    the old one. Links are removed, never followed. An absent name is not an error.
    """
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
        # Locked, so that no other process removes it as a leftover.
        with _locks.hold(path):
            doomed = temporary_beside(path)
            path.rename(doomed)
            sync_directory(path.parent)
            shutil.rmtree(doomed)
    except FileNotFoundError:
        return


def size_of(directory: pathlib.Path) -> int:
    """Return the approximate size of a directory, for progress bars."""
    return sum(path.lstat().st_size for path in directory.rglob("*"))


def refuse_to_clear(path: pathlib.Path) -> None:
    """Raise `UnsafePathError` unless `path` is a directory that is safe to delete."""
    resolved = path.resolve()
    home, here = pathlib.Path(os.path.expanduser("~")).resolve(), _current_directory()
    if resolved == resolved.parent:
        problem = "it is the root of the file system"
    elif home.is_relative_to(resolved):
        problem = f"it contains the home directory {home}"
    elif here is not None and here.is_relative_to(resolved):
        problem = f"it contains the current directory {here}; change to another one first"
    elif path.exists() and not path.is_dir():
        problem = "it is a file, not an experiment"
    elif os.path.ismount(resolved):
        problem = "a file system is mounted there; use a directory inside it"
    else:
        return
    raise UnsafePathError(f"{path}: refusing to delete it: {problem}")


def _current_directory() -> pathlib.Path | None:
    try:
        return pathlib.Path.cwd()
    except FileNotFoundError:
        # It has been deleted, so no directory contains it.
        return None


def inside(root: pathlib.Path, name: str, suffix: str = "") -> pathlib.Path:
    """Return the path of `name + suffix`, checked as by `Directory.checked_name`."""
    check_name(name, suffix)
    path = root / (name + suffix)
    # Only a link can still lead outside, and resolving paths is slow.
    may_leave = "/" in name or path.is_symlink()
    if may_leave and not path.resolve().is_relative_to(root.resolve()):
        raise UnsafePathError(
            f"name {name!r}: a symbolic link leads out of {root}, to {path.resolve()}; "
            "remove the link or choose another name"
        )
    return path


def sync_directory(path: pathlib.Path) -> None:
    """Make the names in a directory durable, as after a rename."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems cannot sync a directory.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sync_all(directory: pathlib.Path) -> None:
    """Make all files and names below a directory durable."""
    for parent, _, names in os.walk(directory):
        for name in names:
            descriptor = os.open(pathlib.Path(parent) / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(pathlib.Path(parent))


def check_name(name: str, suffix: str) -> None:
    """Raise `UnsafePathError` if a name must not be used in a directory."""
    if problem := _problem_of_name(name, suffix):
        raise UnsafePathError(f"name {name!r}: {problem}")


def _problem_of_name(name: str, suffix: str) -> str:
    parts = name.split("/")
    if not name:
        return "it is empty"
    if "\0" in name:
        return "it contains a NUL"
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return "no file name can contain its characters"
    if pathlib.PurePath(name).is_absolute():
        return "it is absolute; give a name inside the experiment"
    if ".." in parts:
        return "it goes through '..'; give a name inside the experiment"
    if any(part in ("", ".") for part in parts):
        return "it has an empty part or '.'; leave that out"
    if suffix and name.endswith(suffix):
        return f"leave out {suffix!r}, which is added"
    return ""


def _is_replacement(name: str) -> bool:
    return name.startswith(".") and name.endswith(_REPLACEMENT_SUFFIX)


def _finish_replacement(path: pathlib.Path) -> bool:
    """Rename a waiting replacement if the old directory is gone; return whether it has the name."""
    if not _is_replacement(path.name):
        return False
    final = path.with_name(path.name[1:].removesuffix(_REPLACEMENT_SUFFIX))
    # Another process may be faster, or the disk read-only.
    with suppressed_os_errors():
        if not os.path.lexists(final):
            path.rename(final)
    return final.exists() and not path.exists()
