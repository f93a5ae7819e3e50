"""Files in object stores, which are read in ranges, and written in one step."""

import concurrent.futures
import contextlib
import contextvars
import errno
import functools
import io
import itertools
import pathlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import obstore
import obstore.exceptions

from .._files import NewFile, ReadableFile
from . import _store
from ._errors import errors_explained

_HEAD_BYTES = 1 << 16
"""Fetched by the request that opens a file: most files are smaller."""
_FETCHED_BYTES = 1 << 19
"""Fetched of the end of each of many files: as much as is read of an event file."""


class RemoteFile(ReadableFile):
    """Read ranges of an object; raise an error if it has been replaced since it was opened."""

    # Three parts less, for the memory of the library and of the caller.
    parallel_bytes = (_store.MAX_REQUESTS - 3) * _store.PART_BYTES

    def __init__(self, path: pathlib.PurePath, listed: Any = None) -> None:
        """Fetch its beginning; if its metadata are listed, its end too, or all if it is small."""
        self.path: Any = path
        self._store, self._key = _store.locate(path)
        meta, data = listed, b""
        with errors_explained(path):
            if listed and 0 < listed["size"] <= _FETCHED_BYTES:
                data = _store.interruptible(
                    lambda: obstore.get_range(
                        self._store, self._key, start=0, length=_FETCHED_BYTES
                    )
                )
            # It may have changed since it was listed.
            if not listed or len(data) != listed["size"]:
                meta, data = _store.interruptible(self._beginning)
        self._tag = meta["e_tag"]
        self.size = meta["size"]
        self.modified_ns = int(meta["last_modified"].timestamp() * 1e9)
        self.identity: Any = (str(path), self._tag)
        self._cached = {0: bytes(data)}
        if listed and self.size > _FETCHED_BYTES:
            start = self.size - _FETCHED_BYTES
            self._cached[start] = bytes(self._fetch(start, self.size))

    def _beginning(self) -> tuple[Any, Any]:
        try:
            found = obstore.get(self._store, self._key, options={"range": (0, _HEAD_BYTES)})
            return found.meta, found.bytes()
        except obstore.exceptions.GenericError:
            # An empty object has no such range.
            meta = obstore.head(self._store, self._key)
            if meta["size"]:
                raise
            return meta, b""

    def close(self) -> None:
        """Do nothing: a request leaves nothing open."""

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        stop = min(self.size, self.size if end is None else end)
        for at, data in self._cached.items():
            if at <= start and stop <= at + len(data):
                return data[start - at : stop - at]
        buffer = bytearray(max(0, stop - start))
        self.read_into(buffer, start)
        return bytes(buffer)

    def read_into(self, buffer: Any, start: int) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self.size - start)]
        if start + len(view) <= len(self._cached[0]):
            view[:] = self._cached[0][start : start + len(view)]
            return len(view)

        def fetch(at: int) -> None:
            part = view[at : at + _store.PART_BYTES]
            part[:] = self._fetch(start + at, start + at + len(part))

        list(_readers().map(fetch, range(0, len(view), _store.PART_BYTES)))
        return len(view)

    def _fetch(self, start: int, end: int) -> memoryview:
        options: Any = {"range": (start, end), "if_match": self._tag}
        with errors_explained(self.path):
            try:
                return _store.interruptible(
                    lambda: memoryview(obstore.get(self._store, self._key, options=options).bytes())
                )
            except obstore.exceptions.PreconditionError:
                problem = "was replaced or removed while it was read; read it again"
                raise OSError(errno.ESTALE, problem, str(self.path)) from None


@functools.cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_store.MAX_REQUESTS, "fifteen-reader")


def fetched(paths: Sequence[pathlib.PurePath]) -> contextlib.AbstractContextManager[None]:
    """Begin to open files of listed directories concurrently; return a block which uses these.

    The block waits for all of them: threads that compete for the interpreter take longer.
    """
    open_one = _readers().submit
    return _using({str(path): open_one(RemoteFile, path, _store.head(path)) for path in paths})


@contextlib.contextmanager
def _using(files: Mapping[str, Future[RemoteFile]]) -> Generator[None]:
    concurrent.futures.wait(files.values())
    token = _fetched.set(files)
    try:
        yield
    finally:
        _fetched.reset(token)


_fetched: contextvars.ContextVar[Mapping[str, Future[RemoteFile]]] = contextvars.ContextVar(
    "fetched", default=MappingProxyType({})
)


def opened(path: pathlib.PurePath) -> RemoteFile:
    file = _fetched.get().get(str(path))
    return RemoteFile(path) if file is None else file.result()


class RemoteNewFile(NewFile):
    """Collect references to what is written, and put all of it in one atomic step."""

    def __init__(self) -> None:
        self._size = 0
        self._pieces: list[Iterable[Any]] = []

    def write(self, *buffers: Any) -> None:
        self.write_each(buffers, sum(memoryview(buffer).nbytes for buffer in buffers))

    def write_each(self, pieces: Iterable[Any], nbytes: int) -> None:
        self._size += nbytes
        self._pieces.append(pieces)

    def put(self, path: pathlib.PurePath) -> None:
        _store.put(path, itertools.chain.from_iterable(self._pieces), self._size)


class ObjectReader(io.RawIOBase):
    """An object as a file object to read."""

    def __init__(self, path: pathlib.PurePath) -> None:
        self._file = RemoteFile(path)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._file.size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = self._file.read_into(buffer, self._at)
        self._at += count
        return count


class ObjectWriter(io.BytesIO):
    """An object as a file object to write; it is put when the file is closed."""

    def __init__(self, path: pathlib.PurePath) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            data = self.getvalue()
            super().close()
            _store.put(self._path, [data], len(data))
