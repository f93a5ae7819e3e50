"""Moving a directory to, from and between object stores."""

import contextlib
import hashlib
import os
import pathlib
import re
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import obstore

from fifteen._progress import track

from ..._errors import ExperimentExistsError, UnsafePathError
from .. import _local
from .._directory import Directory
from . import _store

_FILES_AT_ONCE = 4
_MAX_COPIED_BYTES = 5 << 30
"""S3 itself copies no larger objects."""
_MD5 = re.compile('"[0-9a-f]{32}"')
"""The tag of an object in S3 that was put or copied in one request."""
_UNFINISHED = ".move.fifteen-tmp"
"""An object in a directory whose files have not all arrived; it names where they come from."""

_large = threading.Lock()


def check(source: Directory, destination: Directory) -> None:
    """Raise if `Directory.check_movable` does."""
    if source.is_link():
        raise UnsafePathError(f"{source}: a link; move the directory that it leads to")
    if destination.path.is_relative_to(source.path):
        raise UnsafePathError(
            f"{destination}: cannot move {source} into itself; choose a destination outside of it"
        )
    if not _is_local(destination) and destination.kind_of(_UNFINISHED):
        raise ExperimentExistsError(
            f"{destination}: an unfinished copy of {destination.read(_UNFINISHED).decode()}; if no "
            "process is moving it there now, clear() the copy and move again"
        )
    if destination.kind_of() not in (None, "directory") or destination.names():
        raise ExperimentExistsError(
            f"{destination}: exists already and is not an empty directory, so {source} was not "
            "moved there; choose another destination"
        )


def move(source: Directory, destination: Directory) -> None:
    """Copy all files, read each copy again to compare it, and only then remove the source.

    A kill leaves the source whole, or the destination. Until that is whole, a file in it says so.
    """
    check(source, destination)
    with _made(source, destination) as made, ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
        names = _files(source)
        copied = threads.map(lambda name: _copy(source, made, name), names)
        for _ in track(copied, "Copying", len(names)):
            pass
        changed = sorted({*names} ^ {*_files(source)})
        compared = threads.map(lambda name: _is_equal(source, made, name), names)
        equal = track(compared, "Comparing", len(names))
        changed += [name for name, is_equal in zip(names, equal, strict=True) if not is_equal]
        if changed:
            raise OSError(
                f"{source}/{changed[0]}: changed while {source} was copied to {destination}; "
                "nothing was moved. Stop what writes there and move again"
            )
    source.remove_whole()


@contextlib.contextmanager
def _made(source: Directory, destination: Directory) -> Generator[Directory]:
    """Yield a directory to copy to; if the block raises, what was copied is removed."""
    path = destination.path
    if not _is_local(destination):
        with destination.replace(_UNFINISHED) as file:
            file.write(str(source).encode())
        try:
            yield destination
        except BaseException:
            # If that fails as well, the copy still says that it is unfinished.
            with contextlib.suppress(OSError):
                destination.remove_whole()
            raise
        destination.remove(_UNFINISHED)
        return
    _local.make_directory(path.parent)
    _local.remove_leftovers(path.parent)
    temporary = _local.temporary_beside(path)
    try:
        with _local.locked_directory(temporary):
            yield Directory(temporary)
            _local.sync_all(temporary)
            os.rename(temporary, path)
    finally:
        _local.remove(temporary)
    _local.sync_directory(path.parent)


def _is_local(directory: Directory) -> bool:
    return type(directory) is Directory


def _are_in_one_store(one: Directory, other: Directory) -> bool:
    if _is_local(one) or _is_local(other):
        return False
    return _store.locate(one.path)[0] is _store.locate(other.path)[0]


def _files(directory: Directory) -> list[str]:
    """Return the names of all files below a directory, without temporaries."""
    if not _is_local(directory):
        found = sorted(_store.objects(directory.path))
        return [name for name in found if _local.is_visible(name.rpartition("/")[2])]
    found = []
    for folder, folders, names in os.walk(directory.path):
        folders[:] = filter(_local.is_visible, folders)
        paths = [pathlib.Path(folder, name) for name in (*folders, *names)]
        links = [path for path in paths if path.is_symlink()]
        if links:
            raise UnsafePathError(
                f"{links[0]}: a link, which no object store can hold; remove it, or put what it "
                "leads to in its place"
            )
        inside = (pathlib.Path(folder, name) for name in filter(_local.is_visible, names))
        found += [str(path.relative_to(directory.path)) for path in inside]
    return sorted(found)


def _copy(source: Directory, destination: Directory, name: str) -> None:
    target = destination / name
    if _is_local(target):
        parent = Directory(target.path.parent)
        parent.make()
        with parent.replace(target.path.name) as file:
            for piece in _pieces(source, name):
                file.write(piece)
        return
    if _are_in_one_store(source, destination):
        path = (source / name).path
        meta = _store.head(path)
        if meta and meta["size"] < _MAX_COPIED_BYTES:
            store, key = _store.locate(path)
            with _store.errors_explained(target.path, is_put=True):
                obstore.copy(store, key, _store.locate(target.path)[1])
            return
    with source.open(name) as file:
        size = file.size
    # The parts of a large one are sent in parallel, and each needs memory.
    turn = _large if size > _store.PART_BYTES else contextlib.nullcontext()
    with turn, ThreadPoolExecutor(1) as thread:
        pieces = _pieces(source, name)
        read = iter(lambda: thread.submit(next, pieces, None).result(), None)
        _store.put(target.path, read, size)


def _pieces(directory: Directory, name: str) -> Iterator[bytes]:
    with directory.open(name) as file:
        for at in range(0, file.size, _store.PART_BYTES):
            yield file.read(at, min(at + _store.PART_BYTES, file.size))


def _is_equal(source: Directory, destination: Directory, name: str) -> bool:
    if _are_in_one_store(source, destination):
        old, new = (_store.head((directory / name).path) for directory in (source, destination))
        is_sum = _MD5.fullmatch((new and new["e_tag"]) or "")
        if is_sum and old and new and (old["size"], old["e_tag"]) == (new["size"], new["e_tag"]):
            return True
    return _digest(source, name) == _digest(destination, name)


def _digest(directory: Directory, name: str) -> tuple[int, bytes]:
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(directory, name):
        digest.update(piece)
        size += len(piece)
    return size, digest.digest()
