"""Saving a state that several processes hold, through Orbax.

Orbax's `PyTreeCheckpointHandler` writes the arrays, each process its own part, without
compression, into a hidden directory. Its `AsyncCheckpointer`, which usually stands around the
handler, is left out: where writing fails in one process, the others would wait for it until a
timeout; and it deletes an old directory before the new one has its place. Both are done here,
with the rounds of `distributed`, so that a save is committed in all processes or in none.
"""

import asyncio
import contextlib
import errno
import os
import pathlib
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator
from typing import Any

import jax

from ... import distributed
from ..._errors import CheckpointError, MissingExtraError
from ...storage import _local
from ...storage._locks import suppressed_os_errors
from .._background import Background
from .._reader import DESCRIPTION
from .._retention import Destination
from . import _quiet
from ._consistency import agree
from ._encode import encode
from ._manifest import to_json

_INSIDE = "checkpoint"
"""What the directory is called inside the temporary one, until it has its place."""

_OF_ARRAYS = "array_metadatas"
"""The directory that Orbax has process 0 make, and waits for in the others."""

_COMMITTING = "writing a checkpoint"

_PAUSE_SECONDS = 1

_OS_ERROR = re.compile(r"os[_ ]error(?:_code)?\W*(\d+)", re.IGNORECASE)
"""How tensorstore's messages tell the number of an error of the file system."""


class DistributedSave:
    """A save of which the values have been taken, and that is to be committed.

    Every process of the run makes one, with its part of the same pytree.

    Args:
        destination: where the checkpoint goes; process 0 checks it, and all raise its errors.
        target: the pytree.
        in_background: whether `commit` will be called in a thread of its own.
        before_commit: called in every process before the checkpoint is committed.

    Raises:
        CheckpointError: lists each leaf that cannot be saved, or that the processes do not share.
        OSError: what one process could not write, in all of them.
        MissingExtraError: Orbax is not installed.
    """

    def __init__(
        self,
        destination: Destination,
        target: Any,
        in_background: bool,
        before_commit: Callable[[], None],
    ) -> None:
        handled = sys.exc_info()[1]
        self._destination = destination
        self._path = path = destination.path
        self._before_commit = before_commit
        self._in_background = in_background
        self._has_begun = False
        # Found missing before anything is made.
        _orbax()
        encoded = encode(target)
        agree(path, destination.name, encoded)
        self._description = to_json(encoded.leaves, encoded.structure)
        self._held = contextlib.ExitStack()
        try:
            temporary = distributed.on_primary(lambda: self._make(bool(encoded.spread)))
        except BaseException:
            # What has been made is a leftover, which the next save removes.
            self._held.close()
            raise
        self._temporary = path.with_name(temporary)
        self._group = distributed.ProcessGroup(temporary)
        self._held.enter_context(_quiet.quiet())
        self._done = threading.Event()
        self._writing: list[Any] = []
        try:
            # The rounds of its own are for what may be done in the background.
            distributed.main.all_gather("starting to save", error=self._start(encoded.tree))
        except BaseException as error:
            # Interrupted after that round, the others are on their way to the commit already.
            if not distributed.is_shared(error, handled):
                self.abandon(error)
            else:
                self._drop()
            raise
        _committing.add(self)

    def commit(self) -> None:
        """Write the values and give the checkpoint its name; may be called in another thread.

        Raises:
            OSError: what one process could not write, in all of them. Earlier checkpoints are
                whole.
        """
        try:
            self._has_begun = True
            with self._group.collective(_COMMITTING):
                with self._settling():
                    self._before_commit()
                    self._in_thread(self._wait_for_all)
                self._group.on_primary(self._put_in_place)
        finally:
            self._drop()

    def abandon(self, error: BaseException) -> None:
        """Tell the others that this process will not commit; does nothing once it has begun to."""
        if self._has_begun:
            return
        handled = sys.exc_info()[1]
        try:
            self._group.all_gather(_COMMITTING, error=error)
        except BaseException as raised:
            # It is that error, or one that another process has met before.
            if raised is not error and not distributed.is_shared(raised, handled):
                raise
        if self._in_background:
            # Only their threads know of it.
            distributed.clear_mark(error)
        self._drop()

    def wait(self) -> None:
        """See `commit` through, which another thread has been told to call."""
        self._done.wait()

    @property
    def _inside(self) -> pathlib.Path:
        return self._temporary / _INSIDE

    def _make(self, is_spread: bool) -> str:
        self._destination.check()
        _local.make_directory(self._path.parent)
        _local.remove_leftovers(self._path.parent)
        temporary = _local.temporary_beside(self._path)
        self._held.enter_context(_local.locked_directory(temporary))
        (temporary / _INSIDE).mkdir()
        if is_spread:
            # Where process 0 fails before Orbax makes it, the others would wait for it.
            (temporary / _INSIDE / _OF_ARRAYS).mkdir()
        return temporary.name

    def _hold(self) -> os.stat_result:
        """Keep the directory's number from being given to another one."""
        descriptor = os.open(self._inside, os.O_RDONLY | os.O_CLOEXEC)
        self._held.callback(os.close, descriptor)
        return os.fstat(descriptor)

    @contextlib.contextmanager
    def _settling(self) -> Generator[None]:
        """Have Orbax write no more once an error is told, on which process 0 removes its files."""
        try:
            yield
        except BaseException:
            self._settle()
            raise

    def _in_thread(self, action: Callable[[], None]) -> None:
        """Have Orbax do something, and say of its errors what they are about.

        In a thread, since the caller may be inside an event loop, and since what a signal handler
        raises is no error of Orbax's. Seen through also if the caller is interrupted.
        """
        background = Background()
        error: BaseException | None = None
        try:
            background.start(action)
            error = background.settle()
        finally:
            background.settle()
        if error is not None:
            raise self._explained(error) from error

    def _explained(self, error: BaseException) -> BaseException:
        """Say of what Orbax raised what it is about: most often a file that cannot be written."""
        if isinstance(error, OSError) or not isinstance(error, Exception):
            return error
        try:
            self._refuse_vanished()
        except FileNotFoundError as vanished:
            return vanished
        found = _OS_ERROR.search(str(error))
        if found is None:
            # The rest of what it says stands in the traceback.
            (problem, *_) = str(error).splitlines() or [type(error).__name__]
            return CheckpointError(
                f"{self._path}: Orbax could not write it ({problem}); earlier checkpoints are whole"
            )
        number = int(found[1])
        return OSError(number, os.strerror(number), str(self._inside))

    def _start(self, tree: Any) -> BaseException | None:
        """Have Orbax take the values over; return the error that is to be told to all."""
        try:
            with self._settling():
                self._identity = self._hold()
                self._handler = _handler()
                # Kept also where this thread is interrupted while it waits for the other one.
                self._in_thread(
                    lambda: self._writing.extend(_start(self._handler, self._inside, tree))
                )
        except BaseException as error:
            return error
        return None

    def _wait_for_all(self) -> None:
        for writing in self._writing:
            self._wait_for(writing)

    def _wait_for(self, writing: Any) -> None:
        """Wait until Orbax has written, or until there is nothing left to write to."""
        while True:
            end = time.monotonic() + _PAUSE_SECONDS
            try:
                writing.result(timeout=_PAUSE_SECONDS)
                return
            except TimeoutError:
                # One that comes early is what the file system has answered.
                if time.monotonic() < end - _PAUSE_SECONDS / 10:
                    raise
            self._refuse_vanished()

    def _refuse_vanished(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # Whoever writes may have made it anew, without what was in it.
            if os.path.samestat(self._identity, self._inside.stat()):
                return
        # Orbax may be waiting for this one.
        (self._inside / _OF_ARRAYS).mkdir(parents=True, exist_ok=True)
        raise FileNotFoundError(
            errno.ENOENT, "removed while it was being written", str(self._inside)
        )

    def _settle(self) -> None:
        """Wait until Orbax writes no more, also where it has failed."""
        if self._writing:
            self._in_thread(self._settle_all)

    def _settle_all(self) -> None:
        for writing in self._writing:
            # Its own waiting ends with the first of its parts that fails.
            for part in getattr(writing, "_futures", [writing]):
                with contextlib.suppress(Exception):
                    self._wait_for(part)

    def _put_in_place(self) -> None:
        self._refuse_vanished()
        if self._writing:
            self._in_thread(lambda: self._handler.finalize(_orbax_path(self._inside)))
        (self._inside / DESCRIPTION).write_text(self._description)
        _sync_all(self._inside)
        _local.replace_directory(self._inside, self._path)
        self._destination.apply_retention()

    def _drop(self) -> None:
        try:
            self._settle()
            self._held.close()
            if distributed.is_primary():
                # What cannot be removed is a leftover, which the next save tries again.
                with suppressed_os_errors():
                    _local.remove(self._temporary)
        finally:
            self._group.close()
            _committing.discard(self)
            self._done.set()


def _start(handler: Any, path: pathlib.Path, tree: Any) -> list[Any]:
    """Have Orbax take the values over, and start to write them."""
    if not jax.tree.leaves(tree):
        return []
    arguments = _orbax().args.PyTreeSave(tree)
    return asyncio.run(handler.async_save(_orbax_path(path), args=arguments)) or []


def _handler() -> Any:
    ocp = _orbax()
    # Compressing weights costs several times the writing, and saves next to nothing.
    return ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_compression=False)


def _orbax() -> Any:
    try:
        with _quiet.quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import orbax.checkpoint as ocp
    except ImportError:
        raise MissingExtraError(
            "saving a state that several processes hold needs Orbax; pip install 'fifteen[orbax]'"
        ) from None
    return ocp


def _orbax_path(path: pathlib.Path) -> Any:
    from etils import epath

    return epath.Path(path)


def _sync_all(directory: pathlib.Path) -> None:
    """Have all that lies in a directory reach the disk."""
    for parent, _, names in os.walk(directory):
        for name in names:
            descriptor = os.open(pathlib.Path(parent) / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        _local.sync_directory(pathlib.Path(parent))


_committing: set[DistributedSave] = set()


def _wait_at_exit() -> None:
    for saving in list(_committing):
        saving.wait()


# At its end the interpreter first forbids new work in executors, which Orbax needs to finish, and
# only then waits for threads and calls what `atexit` was given. There is no public way to come
# before that; this is how `concurrent.futures.thread` comes there when it is imported. The last
# to register is the first to be called.
_register: Callable[[Callable[[], None]], None] | None = getattr(
    threading, "_register_atexit", None
)
if _register is not None:
    _register(_wait_at_exit)
