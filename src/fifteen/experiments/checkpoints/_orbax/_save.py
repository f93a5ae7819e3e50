"""Save a state that several processes hold, through Orbax.

Orbax's `PyTreeCheckpointHandler` writes the arrays, each process its own part, into a hidden
directory, which takes its name once all processes are done. Orbax's `AsyncCheckpointer` is not
used: if a process fails to write, it keeps the others waiting until a timeout; and it deletes an
old directory before the new one is in its place. Instead, the collectives of `distributed` commit
a save in all processes or in none.
"""

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ... import distributed
from ..._errors import CheckpointError, MissingExtraError
from ...storage import Directory, suppressed_os_errors
from .._background import Background
from .._reader import DESCRIPTION
from .._retention import Destination
from ._encode import agree, encode
from ._tensorstore import check_path

_INSIDE = "checkpoint"
"""What the directory is called inside the temporary one, until it is in its place."""

_COMMITTING = "writing a checkpoint"

_groups: dict[int, distributed.ProcessGroup] = {}
"""One for each save that is under way at the same time; the next saves use them again."""

busy_channels: set[int] = set()
"""The groups in use, in process 0."""

_OS_ERROR = re.compile(r"os[_ ]error(?:_code)?\W*(\d+)", re.IGNORECASE)
"""How tensorstore's messages give the number of an error of the file system."""


class DistributedSave:
    """A save whose values have been taken; see `LocalSave`.

    Every process of the run makes one, with its part of the same pytree.

    Args:
        destination: where the checkpoint goes; process 0 checks it, and all raise its errors.
        target: the pytree.
        in_background: whether `commit` is to be called in a thread of its own.
        before_commit: called in every process when the commit begins.

    Raises:
        CheckpointError: lists each leaf that cannot be saved, or in which the processes differ.
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
        agree(destination.name, self._encode(target, in_background))
        self._in_background = in_background
        self._before_commit = before_commit
        self._has_begun = False
        self._futures: list[Any] = []
        self._held = contextlib.ExitStack()
        try:
            name, self._channel = distributed.on_primary(self._make_directory)
        except BaseException:
            # What has been made is a leftover, which the next save removes.
            self._held.close()
            raise
        self._temporary = destination.directory / name
        self._inside = self._temporary / _INSIDE
        # The main group is busy with other calls while this save runs in the background.
        group = distributed.ProcessGroup(f"save {self._channel}")
        self._group = _groups.setdefault(self._channel, group)
        try:
            distributed.main.all_gather("starting to save", error=self._start())
        except BaseException as error:
            # If interrupted after that round, the others are on their way to the commit already.
            if distributed.is_shared(error, handled):
                self._close()
            else:
                self.abandon(error)
            raise

    def commit(self) -> None:
        """Write the values and give the checkpoint its name; may be called in another thread.

        Raises:
            OSError: what one process could not write, in all of them. Earlier checkpoints are
                whole.
        """
        try:
            self._has_begun = True
            with self._group.collective(_COMMITTING):
                self._before_commit()
                self._run(self._wait)
                self._group.on_primary(self._put_in_place)
        finally:
            self._close()

    def abandon(self, error: BaseException) -> None:
        """Tell the others that this process will not commit; does nothing once it has begun to."""
        if self._has_begun:
            return
        handled = sys.exc_info()[1]
        try:
            self._group.all_gather(_COMMITTING, error=error)
        except BaseException as raised:
            # It is that error, or one that another process has reported before.
            if raised is not error and not distributed.is_shared(raised, handled):
                raise
        if self._in_background:
            # Only their threads know of it.
            distributed.clear_mark(error)
        self._close()

    def _encode(self, target: Any, copy: bool) -> Mapping[str, str]:
        """Take the values, or check them; return what the processes have to agree on."""
        del copy  # Orbax copies what it needs.
        _orbax()
        check_path(self._destination.path)
        encoded = encode(target)
        self._tree, self._description = encoded.tree, encoded.description
        return encoded.shared

    def _make_directory(self) -> tuple[str, int]:
        """Return the name of the temporary directory, and the number of a group that is free."""
        self._destination.check()
        directory = self._destination.directory
        directory.make()
        directory.remove_leftovers()
        temporary = self._held.enter_context(directory.temporary(self._destination.path.name))
        inside = temporary / _INSIDE
        inside.make()
        with inside.replace(DESCRIPTION) as file:
            file.write(self._description.encode())
        channel = next(number for number in itertools.count() if number not in busy_channels)
        busy_channels.add(channel)
        return temporary.path.name, channel

    def _start(self) -> BaseException | None:
        """Have Orbax take the values over; return the error to report to all processes."""

        def is_of_others(record: logging.LogRecord) -> bool:
            return "/orbax/" not in record.pathname

        try:
            # Orbax logs its work. Its errors are raised as well.
            logger = logging.getLogger("absl")
            logger.addFilter(is_of_others)
            self._held.callback(logger.removeFilter, is_of_others)
            self._handler = _handler()
            # Kept also if this thread is interrupted while it waits for the other one.
            tree, self._tree = self._tree, None
            self._run(lambda: self._futures.extend(_start(self._handler, self._inside, tree)))
        except BaseException as error:
            in_thread(self._wait)
            return error
        return None

    def _wait(self) -> None:
        """Wait until Orbax writes no more, and raise the first error."""
        # Waiting for a chain of futures ends with the first that fails.
        parts = [getattr(future, "_futures", []) for future in self._futures]
        errors: list[Exception] = []
        for future in itertools.chain(*parts, self._futures):
            try:
                future.result()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _put_in_place(self) -> None:
        # If the directory is removed, Orbax makes it anew.
        if self._inside.kind_of(DESCRIPTION) is None:
            raise FileNotFoundError(
                errno.ENOENT, "removed while it was being written", str(self._inside)
            )
        if self._futures:
            self._run(lambda: self._handler.finalize(_epath(self._inside)))
        self._inside.sync()
        self._destination.directory.replace_directory(self._inside, self._destination.path.name)
        self._destination.apply_retention()

    def _run(self, action: Callable[[], None]) -> None:
        """Run Orbax's code; say of its errors what they are about."""
        error = in_thread(action)
        if isinstance(error, Exception) and not isinstance(error, OSError):
            found = _OS_ERROR.search(str(error))
            if found:
                number = int(found[1])
                raise OSError(number, os.strerror(number), str(self._inside)) from error
            # The traceback has the rest of the text.
            (problem, *_) = str(error).splitlines() or [type(error).__name__]
            raise CheckpointError(
                f"{self._destination.path}: Orbax could not write it ({problem}); earlier "
                "checkpoints are whole"
            ) from error
        if error is not None:
            raise error

    def _close(self) -> None:
        try:
            in_thread(self._wait)
            self._held.close()
            if distributed.is_primary():
                # What cannot be removed is a leftover, which the next save removes.
                with suppressed_os_errors():
                    self._destination.directory.remove(self._temporary.path.name)
        finally:
            busy_channels.discard(self._channel)


def in_thread(action: Callable[[], None]) -> BaseException | None:
    """Run Orbax's code, or ours in its place, in a thread, and return its error.

    The caller may be inside an event loop, and what a signal handler raises is no error of Orbax's.
    If the caller is interrupted, the thread still finishes first.
    """
    background = Background(action)
    try:
        background.start()
        return background.settle()
    finally:
        background.settle()


def _start(handler: Any, directory: Directory, tree: Any) -> list[Any]:
    """Have Orbax take the values over, and start to write them."""
    if not jax.tree.leaves(tree):
        return []
    arguments = _orbax().args.PyTreeSave(tree)
    return asyncio.run(handler.async_save(_epath(directory), args=arguments)) or []


def _handler() -> Any:
    ocp = _orbax()
    types = ocp.type_handlers
    # Unlike the default, this has no store of array metadata: in other processes it waits for
    # process 0 to make a directory, which process 0 may have failed to.
    registry = types.create_type_handler_registry(
        (int, types.ScalarHandler()),
        (float, types.ScalarHandler()),
        (np.ndarray, types.NumpyHandler()),
        (jax.Array, types.ArrayHandler()),
        (str, types.StringHandler()),
    )
    # Compressing weights costs several times the writing, and saves next to nothing.
    return ocp.PyTreeCheckpointHandler(
        use_ocdbt=True, use_compression=False, type_handler_registry=registry
    )


def _orbax() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import orbax.checkpoint as ocp
    except ImportError:
        raise MissingExtraError(
            "saving a state that several processes hold needs Orbax; pip install 'fifteen[orbax]'"
        ) from None
    return ocp


def _epath(directory: Directory) -> Any:
    from etils import epath

    return epath.Path(directory.path)
