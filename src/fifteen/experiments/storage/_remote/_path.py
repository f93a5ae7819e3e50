"""RemotePath: the address of a directory or file in an object store."""

import contextlib
import errno
import fnmatch
import io
import os
import pathlib
import posixpath
import stat
from collections.abc import Iterator
from typing import Any, Self

from . import _store
from ._directory import RemoteDirectory
from ._files import ObjectReader, ObjectWriter, RemoteFile


class RemotePath(pathlib.PurePosixPath):
    """An address such as `s3://bucket/runs/a`, with the methods of a `pathlib.Path` for files."""

    directory_type = RemoteDirectory

    @classmethod
    def of(cls, scheme: str, rest: str) -> Self:
        """Return the path of an address, `..` resolved."""
        bucket, _, key = rest.strip("/").partition("/")
        return cls(f"{scheme}:", bucket, posixpath.normpath(f"/{key}").strip("/"))

    def __str__(self) -> str:
        """Return the address, in which `pathlib` would write one slash."""
        scheme, separator, rest = super().__str__().partition(":/")
        return f"{scheme}://{rest}" if separator else scheme

    @property
    def parent(self) -> Self:
        """The directory above; of a bucket, the bucket itself, as of the root of a disk."""
        return super().parent if len(self.parts) > 2 else self

    def exists(self) -> bool:
        """Return whether there is an object here, or any below."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        return _store.head(self) is not None

    def is_dir(self) -> bool:
        """Return whether there is any object below."""
        return _store.has_objects(self)

    def stat(self) -> os.stat_result:
        """Return the size and time of an object, or the latest time of those below."""
        if (meta := _store.head(self)) is not None:
            mode, size, modified = stat.S_IFREG, meta["size"], meta["last_modified"].timestamp()
        else:
            mode, size, modified = stat.S_IFDIR, 0, RemoteDirectory(self).usage().modified
        return os.stat_result((mode | 0o700, 0, 0, 1, 0, 0, size, *[int(modified)] * 3))

    def iterdir(self) -> Iterator[Self]:
        """Yield the paths directly below this one, sorted."""
        for name in _store.children(self):
            yield self / name

    def glob(self, pattern: str) -> Iterator[Self]:
        """Yield the paths below this one that match; `**` matches any number of directories."""
        is_deep = "**" in pattern
        with _store.listed(self) if is_deep else contextlib.nullcontext():
            return iter(list(self._matching(pattern.split("/"))))

    def rglob(self, pattern: str) -> Iterator[Self]:
        """Yield the paths that match, in this directory and in all below it."""
        return self.glob(f"**/{pattern}")

    def _matching(self, parts: list[str]) -> Iterator[Self]:
        if not parts:
            yield self
            return
        if parts[0] == "**":
            yield from self._matching(parts[1:])
        for path in self.iterdir():
            if parts[0] == "**":
                if path.is_dir():
                    yield from path._matching(parts)
            elif fnmatch.fnmatchcase(path.name, parts[0]):
                yield from path._matching(parts[1:])

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """Open an object to read or write; what is written is put when the file is closed."""
        kind = "".join(sorted(mode.replace("t", "")))
        if kind not in ("r", "w", "br", "bw"):
            raise ValueError(f"{self}: mode {mode!r}: expected 'r', 'rb', 'w' or 'wb'")
        file = io.BufferedReader(ObjectReader(self)) if "r" in kind else ObjectWriter(self)
        return file if "b" in kind else io.TextIOWrapper(file, encoding or "utf-8", errors, newline)

    def read_bytes(self) -> bytes:
        return RemoteFile(self).read()

    def read_text(self, *encoding: Any, **options: Any) -> str:
        """Return an object's text; `encoding` and `errors` are as in `open`."""
        with self.open("r", -1, *encoding, **options) as file:
            return file.read()

    def write_bytes(self, data: Any) -> int:
        """Put an object; return how many bytes it has."""
        with self.open("wb") as file:
            return file.write(data)

    def write_text(self, data: str, *encoding: Any, **options: Any) -> int:
        """Put a text as an object; `encoding`, `errors` and `newline` are as in `open`."""
        with self.open("w", -1, *encoding, **options) as file:
            return file.write(data)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: in a store, a directory exists as long as there is an object below it."""
        if not exist_ok and self.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self))

    def unlink(self, missing_ok: bool = False) -> None:
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        _store.delete(self)
