"""RemoteDirectory: what is below an address in an object store.

A store has no directories, but objects with `/` in their names. So a directory exists as long as
there is an object below it. Each object appears, and is replaced, in one step.
"""

import contextlib
import dataclasses
import errno
import os
import pathlib
from collections.abc import Callable, Generator
from typing import Any

from ..._errors import UnsafePathError
from .. import _local
from .._directory import Directory, Entry, Kind, Usage
from .._files import AppendedFile
from .._move import UNFINISHED
from .._open_mark import OpenState
from . import _concurrency, _lease, _move, _store
from ._appended import AppendedObjects
from ._files import RemoteFile, RemoteNewFile


@dataclasses.dataclass(frozen=True)
class RemoteDirectory(Directory):
    """All objects whose names begin with that of the directory and a slash."""

    has_leases = True
    has_renames = False
    for_each = staticmethod(_concurrency.for_each)
    transfer = staticmethod(_move.move)

    path: Any

    def __str__(self) -> str:
        return str(self.path)

    def checked_name(self, name: str, suffix: str = "") -> str:
        _local.check_name(name, suffix)
        return name + suffix

    def is_present(self) -> bool:
        return _store.has_objects(self.path)

    def must_be_made(self) -> bool:
        return False

    def make(self) -> bool:
        return False

    def names(self) -> list[str]:
        return [entry.name for entry in self.entries()]

    def entries(self) -> list[Entry]:
        found = _store.children(self.path).items()
        return [Entry(name, kind, False) for name, kind in found if _local.is_visible(name)]

    def listed(self) -> contextlib.AbstractContextManager[None]:
        return _store.listed(self.path)

    def kind_of(self, name: str = "") -> Kind | None:
        path = self.path / name
        if _store.head(path) is not None:
            return "file"
        return "directory" if _store.has_objects(path) else None

    def is_link(self, name: str = "") -> bool:
        return False

    def real_path(self) -> pathlib.Path:
        return self.path

    def usage(self) -> Usage:
        found = _store.objects(self.path).values()
        if not found:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        modified = max(meta["last_modified"].timestamp() for meta in found)
        return Usage(sum(meta["size"] for meta in found), modified)

    def open(self, name: str) -> RemoteFile:
        return RemoteFile(self.path / name)

    @contextlib.contextmanager
    def replace(self, name: str) -> Generator[RemoteNewFile]:
        file = RemoteNewFile()
        yield file
        file.put(self.path / name)

    def put(self, name: str, data: bytes) -> None:
        """Write an object in one step, unless another process writes here."""
        _lease.check(self.path)
        _store.put(self.path / name, [data], len(data))

    def append(
        self, name_after: Callable[[list[str]], str], head: bytes, report: Callable[[str], None]
    ) -> AppendedFile:
        return AppendedObjects(self, name_after, head, report)

    def remove(self, name: str) -> None:
        path = self.path / name
        _store.delete(path)
        _store.delete(path, _store.objects(path))

    def remove_in_background(self, name: str) -> None:
        self.remove(name)

    def check_removable(self) -> None:
        problem = ""
        if len(self.path.parts) < 3:
            problem = "it is a whole bucket"
        elif _store.head(self.path) is not None:
            problem = "it is a file, not an experiment"
        if problem:
            raise UnsafePathError(f"{self.path}: refusing to delete it: {problem}")

    def remove_whole(self) -> bool:
        found = _store.objects(self.path)
        _store.delete(self.path, found)
        return bool(found)

    def files(self) -> list[str]:
        names = _store.objects(self.path)
        return sorted(name for name in names if _local.is_visible(name.rpartition("/")[2]))

    @contextlib.contextmanager
    def arriving(self, source: Directory) -> Generator[Directory]:
        with self.replace(UNFINISHED) as file:
            file.write(str(source).encode())
        try:
            yield self
        except BaseException:
            # If that fails as well, the mark remains, and the copy counts as unfinished.
            with contextlib.suppress(OSError):
                self.remove_whole()
            raise
        self.remove(UNFINISHED)

    def copy(self, source: Directory, name: str) -> None:
        _move.copy(source, self.path / name, name)

    def remove_leftovers(self) -> None:
        """Do nothing: obstore aborts failed uploads, and cannot list those of a killed process."""

    def mark_open(self, on_loss: Callable[[], None] = lambda: None) -> _lease.Lease:
        return _lease.Lease(self.path, on_loss)

    def open_state(self) -> OpenState:
        return _lease.state_of(self.path)
