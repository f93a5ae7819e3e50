"""RemoteDirectory: what is below an address in an object store.

A store has no directories, but objects with `/` in their names. So a directory exists as long as
there is an object below it. Each object appears, and is replaced, in one step.
"""

import contextlib
import dataclasses
import errno
import os
import pathlib
import re
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import obstore

from .. import _local
from .._directory import Directory, Entry, Kind, Usage
from .._files import PIECE_BYTES, AppendedFile
from .._move import UNFINISHED
from .._open_mark import OpenState
from . import _files, _lease, _store
from ._appended import AppendedObjects
from ._errors import errors_explained
from ._files import RemoteFile, RemoteNewFile

_MAX_COPIED_BYTES = 5 << 30
"""S3 itself copies only smaller objects."""
_MD5 = re.compile('"[0-9a-f]{32}"')
"""The tag of an S3 object that was put or copied in one request: its MD5."""

_large = threading.Lock()


@dataclasses.dataclass(frozen=True)
class RemoteDirectory(Directory):
    """All objects whose names begin with that of the directory and a slash."""

    is_remote = True

    path: Any

    def make(self) -> bool:
        return False

    def entries(self) -> list[Entry]:
        found = _store.children(self.path).items()
        return [Entry(name, kind, False) for name, kind in found if _local.is_visible(name)]

    def listed(self) -> contextlib.AbstractContextManager[None]:
        return _store.listed(self.path)

    @staticmethod
    def fetched(paths: Sequence[pathlib.Path]) -> contextlib.AbstractContextManager[None]:
        leases = {path.parent / _lease.NAME for path in paths}
        return _files.fetched([*paths, *filter(_store.head, leases)])

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
        return _files.opened(self.path / name)

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
        problems = {
            "it is a whole bucket": len(self.path.parts) < 3,
            "it is a file, not an experiment": _store.head(self.path) is not None,
        }
        _local.refuse_if(f"{self}: refusing to delete it", problems)

    def delete(self) -> bool:
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
                self.delete()
            raise
        self.remove(UNFINISHED)

    def copy(self, source: Directory, name: str) -> None:
        """Put a copy of a file; within a bucket, the store itself makes it."""
        old, new = source.path / name, self.path / name
        if self._is_in_bucket_of(source):
            meta = _store.head(old)
            if meta and meta["size"] < _MAX_COPIED_BYTES:
                store, key = _store.locate(old)
                with errors_explained(new, is_put=True):
                    obstore.copy(store, key, _store.locate(new)[1])
                return
        with source.open(name) as file:
            # One large file at a time: its parts are sent in parallel, and each needs memory.
            turn = _large if file.size > PIECE_BYTES else contextlib.nullcontext()
            with turn, ThreadPoolExecutor(1) as thread:
                pieces = file.pieces()
                read = iter(lambda: thread.submit(next, pieces, None).result(), None)
                _store.put(new, read, file.size)

    def has_equal(self, source: Directory, name: str) -> bool:
        if self._is_in_bucket_of(source):
            found = [_store.head(directory.path / name) for directory in (source, self)]
            sums = [(meta["size"], meta["e_tag"] or "") for meta in found if meta]
            if len(sums) == 2 and sums[0] == sums[1] and _MD5.fullmatch(sums[0][1]):
                return True
        return super().has_equal(source, name)

    def _is_in_bucket_of(self, other: Directory) -> bool:
        return self.path.parts[:2] == other.path.parts[:2]

    def remove_leftovers(self) -> None:
        """Do nothing: obstore aborts failed uploads, and cannot list those of a killed process."""

    def mark_open(self) -> _lease.Lease:
        return _lease.Lease(self.path)

    def open_state(self) -> OpenState:
        return _lease.state_of(self.path)
