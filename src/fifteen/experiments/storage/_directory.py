"""Directory: the operations on a directory and its files."""

import contextlib
import dataclasses
import errno
import os
import pathlib
import stat
from collections.abc import Callable, Generator, Sequence
from typing import ClassVar, NamedTuple

from .._errors import UnsafePathError
from . import _local, _move, _removal
from ._files import AppendedFile, NewFile, ReadableFile
from ._local import Entry, Kind
from ._open_mark import OpenMark, OpenState, mark_open, open_state


class Usage(NamedTuple):
    """The usage of a directory."""

    size: int  # The bytes of all files below it; links do not count.
    modified: float  # When anything below it was last written, in seconds since the epoch.


@dataclasses.dataclass(frozen=True)
class Directory:
    r"""A directory of a local or shared file system, or in an object store; it need not exist.

    As `pathlib.Path` does, this makes the kind of directory that its path names.

    Attributes:
        path: for messages, and for libraries that open files themselves.

    Examples:
        ```python
        import pathlib, tempfile

        from fifteen.experiments.storage import Directory

        directory = Directory(pathlib.Path(tempfile.mkdtemp()))
        with directory.replace("config.yaml") as file:
            file.write(b"learning_rate: 0.1\n")
        assert directory.names() == ["config.yaml"]
        assert directory.read("config.yaml") == b"learning_rate: 0.1\n"
        ```
    """

    is_remote: ClassVar[bool] = False
    """Whether it is in a store, where a new file is sent from its beginning once it is complete, no
    directory can be renamed, and a mark is a lease, which only one process can hold."""

    path: pathlib.Path

    def __new__(cls, path: pathlib.Path | None = None) -> "Directory":
        return object.__new__(getattr(path, "directory_type", cls))

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> "Directory":
        return Directory(self.path / name)

    def checked_name(self, name: str, suffix: str = "") -> str:
        """Return `name + suffix` if it stays inside this directory.

        Raises:
            UnsafePathError: it is empty or absolute, contains `..` or a link to the outside, or
                already ends with the suffix.
        """
        _local.check_name(name, suffix)
        full = name + suffix
        # Only a link can still lead outside, and resolving paths is slow.
        if "/" in name or self.is_link(full):
            path = (self / full).real_path()
            if not path.is_relative_to(self.real_path()):
                raise UnsafePathError(
                    f"name {name!r}: a symbolic link leads out of {self}, to {path}; remove the "
                    "link or choose another name"
                )
        return full

    def is_present(self) -> bool:
        return self.path.is_dir()

    def make(self) -> bool:
        """Create the directory and its parents durably; return whether that was necessary.

        Raises:
            NotADirectoryError: something else has its name, or the name of a parent.
        """
        return _local.make_directory(self.path)

    def names(self) -> list[str]:
        """Return its names, sorted, without temporaries; none if it is absent."""
        return [entry.name for entry in self.entries()]

    def entries(self) -> list[Entry]:
        """Return its entries, sorted by name, without temporaries; none if it is absent."""
        return [entry for entry in _local.scan(str(self.path)) if _local.is_visible(entry.name)]

    def listed(self) -> contextlib.AbstractContextManager[None]:
        """Return a block in which everything below is listed at most once."""
        return _local.listed()

    @staticmethod
    def fetched(paths: Sequence[pathlib.Path]) -> contextlib.AbstractContextManager[None]:
        """Return a block in which small files are in memory, if each takes a request otherwise."""
        del paths
        return contextlib.nullcontext()

    def kind_of(self, name: str = "") -> Kind | None:
        """Return the kind of a name, links followed; None if there is nothing."""
        # A save calls this often, and joining a `Path` takes longer than the system call.
        path = f"{self.path}/{name}" if name else str(self.path)
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            # ELOOP: a link that leads to itself.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return "other" if os.path.lexists(path) else None
        return "file" if stat.S_ISREG(mode) else "directory" if stat.S_ISDIR(mode) else "other"

    def check_directory(self) -> bool:
        """Raise `NotADirectoryError` if it is a file; return whether it is present."""
        kind = self.kind_of()
        if kind not in ("directory", None):
            raise NotADirectoryError(
                f"{self}: expected a directory, found a file; pass its directory"
            )
        return kind is not None

    def is_link(self, name: str = "") -> bool:
        return (self.path / name).is_symlink()

    def real_path(self) -> pathlib.Path:
        return pathlib.Path(os.path.realpath(self.path))

    def usage(self) -> Usage:
        """Return the size and the last change of its content, as far as that can be read."""
        top = str(self.path)
        status = os.stat(top)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), top)
        size, modified, pending = 0, status.st_mtime, [top]
        while pending:
            folder = pending.pop()
            with contextlib.suppress(OSError):
                for entry in _local.scan(folder):
                    path = f"{folder}/{entry.name}"
                    # A writer may have just removed it.
                    with contextlib.suppress(FileNotFoundError):
                        status = os.lstat(path)
                        modified = max(modified, status.st_mtime)
                        if stat.S_ISDIR(status.st_mode):
                            pending.append(path)
                        elif stat.S_ISREG(status.st_mode):
                            size += status.st_size
        return Usage(size, modified)

    def open(self, name: str) -> ReadableFile:
        """Open a file to read ranges of it.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it is not a regular file, or cannot be read.
        """
        return ReadableFile(f"{self.path}/{name}")

    def read(self, name: str) -> bytes:
        """Return all bytes of a file; raises as `open` does."""
        with self.open(name) as file:
            return file.read()

    @contextlib.contextmanager
    def replace(self, name: str) -> Generator[NewFile]:
        """Write a file atomically.

        When the block ends, the file is synced and takes its name in one step. If the block raises
        or the process dies, a file of that name is unchanged.
        """
        with _local.atomic_file(self.path / name) as file:
            yield NewFile(file.fileno())

    def append(
        self, name_after: Callable[[list[str]], str], head: bytes, report: Callable[[str], None]
    ) -> AppendedFile:
        """Create a file to append to, which begins with `head`.

        Args:
            name_after: returns a name, given the existing ones; called again if it is taken.
            head: written with the file, so no file lacks it.
            report: takes messages to the user; may be called later, by a thread.
        """
        while True:
            path = self.path / name_after(self.names())
            # Two containers on a shared disk may have the same host name and process number.
            with contextlib.suppress(FileExistsError):
                file = AppendedFile(path)
                break
        try:
            if file.write(head) != len(head):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except BaseException:
            file.close()
            _local.remove(path)
            raise
        return file

    def remove(self, name: str) -> None:
        """Remove a file, a link, or a directory with its content, if it exists."""
        _local.remove(self.path / name)

    def check_removable(self) -> None:
        """Raise `UnsafePathError` if the directory must not be removed."""
        real, home = self.real_path(), pathlib.Path(os.path.realpath(os.path.expanduser("~")))
        here = pathlib.Path()  # If it has been deleted, no directory contains it.
        with contextlib.suppress(FileNotFoundError):
            here = pathlib.Path.cwd()
        change = "change to another one first"
        _local.refuse_if(
            f"{self}: refusing to delete it",
            {
                "it is the root of the file system": real == real.parent,
                f"it contains the home directory {home}": home.is_relative_to(real),
                f"it contains the current directory {here}; {change}": here.is_relative_to(real),
                "it is a file, not an experiment": real.exists() and not real.is_dir(),
                "a file system is mounted there; use a directory inside it": real.is_mount(),
            },
        )
        # Before anything is removed: an error later would leave the rest under a hidden name.
        read_only = [] if self.is_link() else _local.read_only_folders(self.path)
        if read_only:
            raise UnsafePathError(
                f"{self}: refusing to delete it: {read_only[0]} is read-only; make it writable "
                "first, with chmod -R u+rwX"
            )

    def delete(self) -> bool:
        """Remove the directory, or the link to it; return whether it was there."""
        was_there = os.path.lexists(self.path)
        _local.remove(self.path)
        _local.remove_leftovers(self.path.parent)
        return was_there

    def check_movable(self, destination: "Directory") -> None:
        """Raise if the directory cannot be moved there.

        Raises:
            NotADirectoryError: it is a file.
            ExperimentExistsError: something is at the destination.
            UnsafePathError: the destination is this directory or inside it.
        """
        _move.check(self, destination)

    def move(self, destination: "Directory") -> bool:
        """Move the directory, also to another file system; return whether it was there.

        Raises as `check_movable`, and `OSError` if it cannot be moved; it is intact then.
        """
        self.check_movable(destination)
        was_there = self.is_link() or self.is_present()
        if was_there:
            _move.move(self, destination)
        return was_there

    def files(self) -> list[str]:
        """Return the names of all files below it, sorted, without temporaries.

        Raises:
            UnsafePathError: there is a link.
        """
        paths = list(_local.below(self.path))
        for path in paths:
            if path.is_symlink():
                raise UnsafePathError(
                    f"{path}: a link, which no object store can hold; remove it, or replace it by "
                    "what it leads to"
                )
        return sorted(str(path.relative_to(self.path)) for path in paths if not path.is_dir())

    @contextlib.contextmanager
    def arriving(self, source: "Directory") -> Generator["Directory"]:
        """Yield a directory to copy to, which replaces this one when the block ends.

        If the block raises, the copy is removed.
        """
        del source
        parent = Directory(self.path.parent)
        parent.make()
        parent.remove_leftovers()
        with _local.temporary_directory(self.path) as path:
            yield Directory(path)
            _local.sync_all(path)
            path.rename(self.path)
        _local.sync_directory(parent.path)

    def copy(self, source: "Directory", name: str) -> None:
        Directory((self.path / name).parent).make()
        with source.open(name) as file, self.replace(name) as new:
            for piece in file.pieces():
                new.write(piece)

    def has_equal(self, source: "Directory", name: str) -> bool:
        """Return whether a file equals that of another directory."""
        with self.open(name) as copy, source.open(name) as file:
            pieces = zip(copy.pieces(), file.pieces(), strict=False)
            return copy.size == file.size and all(ours == theirs for ours, theirs in pieces)

    def remove_in_background(self, name: str) -> None:
        """Remove a name at once, and free a large file's blocks in the background."""
        _removal.remove_in_background(self.path / name)

    wait_for_removals = staticmethod(_removal.wait_for_removals)

    def mark_open(self) -> OpenMark | None:
        """Mark the directory as open in this process; None if the file system has no locks."""
        return mark_open(self.path)

    def open_state(self) -> OpenState:
        """Return whether a process has it open, or was killed while it had it open."""
        return open_state(self.path)

    def remove_leftovers(self) -> None:
        """Remove the unfinished work of processes that have died."""
        _local.remove_leftovers(self.path)

    @contextlib.contextmanager
    def temporary(self, name: str) -> Generator["Directory"]:
        """Create a hidden directory in which to prepare one for `replace_directory`.

        It is locked until the block ends, so it is no leftover, and then removed.
        """
        with _local.temporary_directory(self.path / name) as path:
            yield Directory(path)

    def replace_directory(self, new: "Directory", name: str) -> None:
        """Replace anything of that name by a complete directory, durably."""
        _local.replace_directory(new.path, self.path / name)
