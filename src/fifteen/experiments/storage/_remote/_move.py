"""Moving a directory to, from and between object stores."""

import contextlib
import hashlib
import pathlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import obstore

from fifteen._progress import track

from .._directory import Directory
from .._files import PIECE_BYTES
from .._move import changed_meanwhile
from . import _store
from ._errors import errors_explained

_FILES_AT_ONCE = 4
_MAX_COPIED_BYTES = 5 << 30
"""S3 itself copies only smaller objects."""
_MD5 = re.compile('"[0-9a-f]{32}"')
"""The tag of an S3 object that was put or copied in one request: its MD5."""

_large = threading.Lock()


def move(source: Directory, destination: Directory) -> None:
    """Copy all files, compare each copy with its original, and only then remove the source.

    A kill leaves the source or the destination intact. The file `UNFINISHED` is at the destination
    until the copy is complete.
    """
    with destination.arriving(source) as made, ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
        names = source.files()
        copied = threads.map(lambda name: made.copy(source, name), names)
        for _ in track(copied, "Copying", len(names)):
            pass
        changed = sorted({*names} ^ {*source.files()})
        compared = threads.map(lambda name: _is_equal(source, made, name), names)
        equal = track(compared, "Comparing", len(names))
        changed += [name for name, is_equal in zip(names, equal, strict=True) if not is_equal]
        if changed:
            raise changed_meanwhile(f"{source}/{changed[0]}", source, destination)
    source.remove_whole()


def copy(source: Directory, target: pathlib.Path, name: str) -> None:
    """Put a copy of a file; within a bucket, the store itself makes it."""
    path = source.path / name
    if _are_in_one_bucket(path, target):
        meta = _store.head(path)
        if meta and meta["size"] < _MAX_COPIED_BYTES:
            store, key = _store.locate(path)
            with errors_explained(target, is_put=True):
                obstore.copy(store, key, _store.locate(target)[1])
            return
    with source.open(name) as file:
        # One large file at a time: its parts are sent in parallel, and each needs memory.
        turn = _large if file.size > PIECE_BYTES else contextlib.nullcontext()
        with turn, ThreadPoolExecutor(1) as thread:
            pieces = file.pieces()
            read = iter(lambda: thread.submit(next, pieces, None).result(), None)
            _store.put(target, read, file.size)


def _are_in_one_bucket(path: pathlib.Path, other: pathlib.Path) -> bool:
    return path.parts[:2] == other.parts[:2]


def _is_equal(source: Directory, destination: Directory, name: str) -> bool:
    paths = [directory.path / name for directory in (source, destination)]
    if _are_in_one_bucket(*paths):
        old, new = map(_store.head, paths)
        is_sum = _MD5.fullmatch((new and new["e_tag"]) or "")
        if is_sum and old and new and (old["size"], old["e_tag"]) == (new["size"], new["e_tag"]):
            return True
    return _digest(source, name) == _digest(destination, name)


def _digest(directory: Directory, name: str) -> tuple[int, bytes]:
    digest = hashlib.sha256()
    with directory.open(name) as file:
        for piece in file.pieces():
            digest.update(piece)
        return file.size, digest.digest()
