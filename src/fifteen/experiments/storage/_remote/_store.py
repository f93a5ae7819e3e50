"""Objects in object stores, by their paths."""

import concurrent.futures
import contextlib
import contextvars
import dataclasses
import datetime
import functools
import itertools
import os
import pathlib
import posixpath
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

import obstore
import obstore.store
from obstore.exceptions import GenericError, InvalidPathError

from ..._threads import start_thread
from .._local import Kind
from ._errors import check_settings, errors_explained

MAX_REQUESTS = 8
"""How many run at the same time, each with at most one part."""
PART_BYTES = 8 << 20
_MAX_PARTS = 9000
"""Stores accept 10,000."""
_MAX_REPEATS = 3
_SECONDS_TO_END = 1.0

_T = TypeVar("_T")

# A timeout per request would override the environment's client settings, such as AWS_ALLOW_HTTP.
_IMPATIENT = {"retry_config": {"max_retries": 2, "retry_timeout": datetime.timedelta(seconds=5)}}


def locate(path: pathlib.PurePath, is_patient: bool = True) -> tuple[Any, str]:
    """Return the store of a path, and the key in it.

    Without `is_patient`, requests fail early if the network is gone.

    Raises:
        RuntimeError: the process was forked, which the library's threads do not survive.
    """
    if os.getpid() != _pid:
        raise RuntimeError(
            f"{path}: the library for object stores cannot be used in a forked process; start "
            "processes with multiprocessing.set_start_method('spawn')"
        )
    scheme, bucket, *rest = path.parts
    scheme = scheme.removesuffix(":")
    with errors_explained(path):
        return _store(scheme, bucket, is_patient or scheme == "memory"), "/".join(rest)


_pid = os.getpid()


@functools.cache
def _store(scheme: str, bucket: str, is_patient: bool) -> Any:
    if scheme == "memory":
        return obstore.store.MemoryStore()
    check_settings(scheme)
    options: Any = {} if is_patient else dict(_IMPATIENT)
    if scheme == "s3" and not {"AWS_ALLOW_HTTP", "AWS_UNSIGNED_PAYLOAD"} & os.environ.keys():
        # TLS protects what is sent. Signing its SHA-256 as well takes longer than all the rest.
        options["unsigned_payload"] = True
    return obstore.store.from_url(f"{scheme}://{bucket}", **options)


def interruptible(request: Callable[[], _T]) -> _T:
    """Make a request that only reads; in another thread if this one gets the process's signals.

    The library lets no signal handler run until a request ends, which takes minutes if the network
    does not answer.
    """
    request = functools.partial(_repeated, request)
    if threading.current_thread() is not threading.main_thread():
        return request()
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(request())
        except BaseException as error:
            future.set_exception(error)

    if not start_thread(run):
        return request()
    try:
        return future.result()
    except BaseException:
        # A thread that still runs while the interpreter exits may crash it.
        concurrent.futures.wait([future], _SECONDS_TO_END)
        raise


def _repeated(request: Callable[[], _T]) -> _T:
    """Repeat a request for a list whose response is cut, which the library does not."""
    for _ in range(_MAX_REPEATS):
        try:
            return request()
        except GenericError as error:
            if "list response body" not in str(error):
                raise
    return request()


def head(path: pathlib.PurePath) -> "obstore.ObjectMeta | None":
    """Return the metadata of an object; None if there is none."""
    if (siblings := _listed(path.parent)) is not None:
        return siblings.files.get(path.name)
    store, key = locate(path)
    if not key:
        return None
    try:
        with errors_explained(path):
            return interruptible(lambda: obstore.head(store, key))
    except FileNotFoundError:
        return None


def children(path: pathlib.PurePath) -> dict[str, Kind]:
    """Return the names directly below a path, sorted, and what they are."""
    if (folder := _listed(path)) is not None:
        return folder.children
    store, key = locate(path)
    with errors_explained(path):
        try:
            found = interruptible(lambda: obstore.list_with_delimiter(store, key))
        except InvalidPathError:
            with listed(path):
                return children(path)
    # The object that a console puts for the folder itself is among them.
    files = {posixpath.basename(m["path"]): m for m in found["objects"] if m["path"] != key}
    return _Folder(
        files, {posixpath.basename(p): _Folder() for p in found["common_prefixes"]}
    ).children


def objects(path: pathlib.PurePath) -> "dict[str, obstore.ObjectMeta]":
    """Return all objects below a path, by their names relative to it."""
    if (folder := _listed(path)) is not None:
        return dict(folder.below())
    store, key = locate(path)
    with errors_explained(path):
        found = interruptible(lambda: _without_folders(_below_key(store, key), store, key))
    return {name.removeprefix(key).lstrip("/"): meta for name, meta in found.items()}


def _below_key(store: Any, key: str) -> Iterable[Any]:
    """Return the objects below a key.

    The library fails for a thousand names if one of them contains `//` or `/../`. Then each folder
    is listed by itself. In the folder with that name, those that sort before it are lost as well;
    they begin with a dot, a hyphen or the like.
    """
    with contextlib.suppress(InvalidPathError):
        return obstore.list(store, key).collect()
    try:
        found = obstore.list_with_delimiter(store, key)
    except InvalidPathError:
        with contextlib.suppress(InvalidPathError):
            return obstore.list(store, key, offset=f"{key}/0").collect()
        return []
    folders = (_below_key(store, folder) for folder in found["common_prefixes"])
    return [*found["objects"], *itertools.chain.from_iterable(folders)]


def _without_folders(found: Iterable[Any], store: Any, key: str) -> dict[str, Any]:
    """Return the objects below a key, without those that the clouds' consoles put for folders.

    The keys of these end with a slash, which the library drops, so it cannot find them.
    """
    metas = {meta["path"]: meta for meta in found if meta["path"] != key}
    empty = [path for path, meta in metas.items() if not meta["size"]]
    folders = {path.rpartition("/")[0] for path in metas} if empty else set()
    for path in empty:
        try:
            is_folder = path in folders or not obstore.head(store, path)
        except FileNotFoundError:
            is_folder = True
        if is_folder:
            del metas[path]
    return metas


def has_objects(path: pathlib.PurePath) -> bool:
    """Return whether there is any object below a path."""
    if (folder := _listed(path)) is not None:
        return bool(folder.children)
    store, key = locate(path)

    def is_found() -> bool:
        pages = obstore.list(store, key, chunk_size=2)
        return any(_without_folders(page, store, key) for page in pages)

    with errors_explained(path):
        try:
            return interruptible(is_found)
        except InvalidPathError:
            return True


@contextlib.contextmanager
def listed(path: pathlib.PurePath) -> Generator[None]:
    """List all objects below a path once, and use this list until the block ends.

    Another thread uses it only if it runs in a copy of this context.
    """
    if _listed(path) is not None:
        yield
        return
    folders = {path.parts: _Folder()}

    def folder_of(parts: tuple[str, ...]) -> _Folder:
        if parts not in folders:
            folders[parts] = _Folder()
            folder_of(parts[:-1]).folders[parts[-1]] = folders[parts]
        return folders[parts]

    for name, meta in objects(path).items():
        *parents, last = name.split("/")
        folder_of((*path.parts, *parents)).files[last] = meta
    token = _listings.set((*_listings.get(), (path.parts, folders)))
    try:
        yield
    finally:
        _listings.reset(token)


@dataclasses.dataclass
class _Folder:
    """What a list has directly below a path."""

    files: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    folders: "dict[str, _Folder]" = dataclasses.field(default_factory=dict[str, "_Folder"])

    @functools.cached_property
    def children(self) -> dict[str, Kind]:
        kinds: dict[str, Kind] = dict.fromkeys(self.files, "file")
        kinds.update(dict.fromkeys(self.folders, "directory"))
        return dict(sorted(kinds.items()))

    def below(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        for name, meta in self.files.items():
            yield prefix + name, meta
        for name, folder in self.folders.items():
            yield from folder.below(f"{prefix}{name}/")


_Parts: TypeAlias = tuple[str, ...]
_listings: contextvars.ContextVar[tuple[tuple[_Parts, dict[_Parts, _Folder]], ...]] = (
    contextvars.ContextVar("listings", default=())
)
"""The parts of each listed path, and the folders below it by their parts."""


def _listed(path: pathlib.PurePath) -> _Folder | None:
    """Return what a list has directly below a path; None if the path is not listed."""
    parts = path.parts
    for top, folders in _listings.get():
        if parts in folders:
            return folders[parts]
        if parts[: len(top)] == top:
            return _Folder()
    return None


def put(path: pathlib.PurePath, pieces: Iterable[Any], size: int) -> None:
    """Put an object in one step; a large one in parallel parts.

    If a part cannot be sent or `pieces` raises, obstore aborts the upload. `pieces` must not call
    obstore in this thread. The pieces are not copied.
    """
    store, key = locate(path)
    part = max(PART_BYTES, size // _MAX_PARTS)
    with errors_explained(path, is_put=True):
        if size <= 2 * PART_BYTES:
            obstore.put(store, key, b"".join(pieces), use_multipart=False)
            return
        parts = (
            piece[at : at + part]
            for piece in (memoryview(piece).cast("B") for piece in pieces)
            for at in range(0, len(piece), part)
        )
        obstore.put(
            store,
            key,
            parts,
            use_multipart=True,
            chunk_size=part,
            # The next part is collected meanwhile.
            max_concurrency=MAX_REQUESTS - 1,
        )


def delete(path: pathlib.PurePath, names: Iterable[str] = ("",)) -> None:
    """Delete objects by their names relative to a path; absent ones are ignored."""
    store, key = locate(path)
    keys = [f"{key}/{name}".strip("/") for name in names]
    with errors_explained(path):
        try:
            obstore.delete(store, keys)
        except FileNotFoundError:
            # Some stores stop at the first absent object.
            for one in keys:
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(store, one)
