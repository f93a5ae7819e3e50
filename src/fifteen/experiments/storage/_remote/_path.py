"""RemotePath: the address of a directory or file in an object store."""

import pathlib
import posixpath
from collections.abc import Iterator
from typing import Any, Self

from . import _store
from ._directory import RemoteDirectory
from ._files import RemoteFile


class RemotePath(pathlib.PurePosixPath):
    """An address such as `s3://bucket/runs/a`, which is joined, printed and read as a path is."""

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
        """Tell whether there is an object, or any below this path."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Tell whether there is an object."""
        return _store.head(self) is not None

    def is_dir(self) -> bool:
        """Tell whether there is any object below this path."""
        return _store.has_objects(self)

    def iterdir(self) -> Iterator[Self]:
        """Yield the paths right below this one."""
        folders, files = _store.children(self)
        for name in sorted([*folders, *files]):
            yield self / name

    def read_bytes(self) -> bytes:
        """Return all bytes of an object."""
        return RemoteFile(self).read()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> Any:
        """Return an object's text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")
