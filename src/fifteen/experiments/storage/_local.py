"""Paths on a local or shared disk: files and directories that appear and vanish atomically.

A temporary is a hidden name beside its destination, `.NAME.RANDOM.fifteen-tmp`. Its writer holds
its lock while it writes. A temporary whose lock is free is a leftover, and is removed.
"""

import contextlib
import contextvars
import errno
import io
import itertools
import os
import pathlib
import shutil
import stat
from collections.abc import Generator, Iterator
from typing import Literal, NamedTuple, TypeAlias

from .._errors import UnsafePathError
from . import _locks
from ._os_errors import suppressed_os_errors

_TEMPORARY_SUFFIX = ".fifteen-tmp"
_REPLACEMENT_SUFFIX = ".fifteen-new"

Kind: TypeAlias = Literal["file", "directory", "other"]


class Entry(NamedTuple):
    """A name in a directory."""

    name: str
    kind: Kind  # Links are followed; a broken one is `other`.
    is_link: bool


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


@contextlib.contextmanager
def temporary_directory(path: pathlib.Path) -> Generator[pathlib.Path]:
    """Create a hidden directory beside `path`, lock it until the block ends, and then remove it."""
    temporary = temporary_beside(path)
    try:
        temporary.mkdir()
        with _locks.hold(temporary):
            yield temporary
    finally:
        # What cannot be removed is a leftover.
        with suppressed_os_errors():
            remove(temporary)


def replace_directory(new: pathlib.Path, path: pathlib.Path) -> None:
    """Sync a complete directory, and replace one on the same file system by it.

    A directory cannot be replaced in one step like a file. So the new one is first renamed to a
    hidden name beside the old one. Then the old one is removed and the new one takes its name. If
    the process is killed once the old one is gone, the next listing finishes this.
    """
    sync_all(new)
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


_listings: contextvars.ContextVar[dict[str, list[Entry]] | None] = contextvars.ContextVar(
    "listings", default=None
)


@contextlib.contextmanager
def listed() -> Generator[None]:
    """List each directory once until the block ends."""
    outer = _listings.get()
    try:
        _listings.set({} if outer is None else outer)
        yield
    finally:
        _listings.set(outer)


def scan(directory: str) -> list[Entry]:
    """List a directory by names, temporaries included; nothing if it is absent.

    Interrupted replacements are finished before that.
    """
    listings = _listings.get()
    if listings is not None and directory in listings:
        return listings[directory]
    try:
        with os.scandir(directory) as entries:
            found = sorted(map(_entry, entries))
    except (FileNotFoundError, NotADirectoryError):
        return []
    unfinished = [f"{directory}/{entry.name}" for entry in found if _is_replacement(entry.name)]
    if any([_finish_replacement(pathlib.Path(path)) for path in unfinished]):  # noqa: C419 # Finish all of them.
        return scan(directory)
    if listings is not None:
        listings[directory] = found
    return found


def _entry(entry: "os.DirEntry[str]") -> Entry:
    try:
        kind = "file" if entry.is_file() else "directory" if entry.is_dir() else "other"
    except OSError:
        # A link that leads to itself.
        kind = "other"
    return Entry(entry.name, kind, entry.is_symlink())


def names(directory: pathlib.Path) -> list[str]:
    """Return the names in a directory, sorted, temporaries included; none if it is absent."""
    return [entry.name for entry in scan(str(directory))]


def below(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield all paths below a directory, without temporaries and what is in them."""
    for folder, folders, names in os.walk(directory):
        folders[:] = filter(is_visible, folders)
        yield from (pathlib.Path(folder, name) for name in (*folders, *filter(is_visible, names)))


def is_visible(name: str) -> bool:
    """Return whether a name is content rather than unfinished work."""
    return not name.startswith(".") or not (is_temporary(name) or _is_replacement(name))


def make_directory(path: pathlib.Path) -> bool:
    """Create a directory and its parents, as `Directory.make` does."""
    missing = list(itertools.takewhile(lambda one: not one.is_dir(), (path, *path.parents)))
    for current in missing:
        # Another thread may have created it.
        if os.path.lexists(current) and not current.is_dir():
            what = "a broken link" if current.is_symlink() else "a file"
            raise NotADirectoryError(
                f"{path}: cannot make this directory, because {current} is {what}; remove it or "
                "choose another directory"
            )
    if missing:
        path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)
    return bool(missing)


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
    except (FileNotFoundError, NotADirectoryError):
        return


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
            path = pathlib.Path(parent, name)
            if path.is_symlink():  # It may lead nowhere.
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(pathlib.Path(parent))


def check_name(name: str, suffix: str) -> None:
    """Raise `UnsafePathError` if a name must not be used in a directory."""
    parts = name.split("/")
    refuse_if(
        f"name {name!r}",
        {
            "it is empty": not name,
            "it contains a NUL": "\0" in name,
            "no file name can contain its characters": not _is_encodable(name),
            "it is absolute; give a name inside the experiment": name.startswith("/"),
            "it goes through '..'; give a name inside the experiment": ".." in parts,
            "it has an empty part or '.'; leave that out": "" in parts or "." in parts,
            f"leave out {suffix!r}, which is added": suffix != "" and name.endswith(suffix),
        },
    )


def read_only_folders(directory: pathlib.Path) -> list[str]:
    """Return the folders, from a directory on, whose content this process must not remove."""
    found: list[str] = []

    def add(error: OSError) -> None:
        if isinstance(error, PermissionError):
            found.append(error.filename)

    is_effective = os.access in os.supports_effective_ids
    for folder, folders, files in os.walk(directory, onerror=add):
        is_allowed = os.access(folder, os.W_OK | os.X_OK, effective_ids=is_effective)
        # An empty one is removed from its parent, and a folder of a save may be gone by now.
        if (folders or files) and not is_allowed and os.path.lexists(folder):
            found.append(folder)
    return found


def refuse_if(what: str, problems: dict[str, bool]) -> None:
    """Raise `UnsafePathError` with the first problem that there is."""
    for problem, is_there in problems.items():
        if is_there:
            raise UnsafePathError(f"{what}: {problem}")


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


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
