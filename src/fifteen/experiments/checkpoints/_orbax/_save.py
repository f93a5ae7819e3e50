"""Save a state of several processes to a disk, through Orbax.

Orbax's `PyTreeCheckpointHandler` writes the arrays, each process its own part, into a hidden
directory, which takes its name once all processes are done. Orbax's `AsyncCheckpointer` is not
used: if a process fails to write, it keeps the others waiting until a timeout; and it deletes an
old directory before the new one is in its place.
"""

import asyncio
import errno
import itertools
import logging
import os
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ..._errors import CheckpointError, import_extra
from ...storage import Directory
from .._background import Background
from .._distributed_save import DistributedSave
from .._reader import DESCRIPTION
from ._encode import encode
from ._tensorstore import check_path

_INSIDE = "checkpoint"
"""What the directory is called inside the temporary one, until it is in its place."""

_OS_ERROR = re.compile(r"os[_ ]error(?:_code)?\W*(\d+)", re.IGNORECASE)
"""How tensorstore's messages give the number of an error of the file system."""


class OrbaxSave(DistributedSave):
    def _encode(self, target: Any) -> Mapping[str, str]:
        _orbax()
        check_path(self._destination.path)
        self._futures: list[Any] = []
        self._tree, self._description, shared = encode(target)
        return shared

    def _prepare(self) -> str:
        directory = self._destination.directory
        directory.make()
        directory.remove_leftovers()
        temporary = self._held.enter_context(directory.temporary(self._destination.path.name))
        inside = temporary / _INSIDE
        inside.make()
        with inside.replace(DESCRIPTION) as file:
            file.write(self._description.encode())
        return temporary.path.name

    @property
    def _inside(self) -> Directory:
        return self._destination.directory / self._token / _INSIDE

    def _start(self) -> BaseException | None:
        """Have Orbax take the values over; return the error to report to all processes."""

        def is_of_others(record: logging.LogRecord) -> bool:
            return "/orbax/" not in record.pathname

        try:
            # Orbax logs its work. Its errors are raised as well.
            logger = logging.getLogger("absl")
            logger.addFilter(is_of_others)
            self._held.callback(logger.removeFilter, is_of_others)
            self._held.callback(_in_thread, self._wait)
            self._handler = _handler()
            # Kept also if this thread is interrupted while it waits for the other one.
            tree, self._tree = self._tree, None
            self._run(lambda: self._futures.extend(_start(self._handler, self._inside, tree)))
        except BaseException as error:
            _in_thread(self._wait)
            return error
        return None

    def _write(self) -> None:
        self._run(self._wait)

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
        self._destination.directory.replace_directory(self._inside, self._destination.path.name)
        self._destination.apply_retention()

    def _run(self, action: Callable[[], None]) -> None:
        """Run Orbax's code; say of its errors what they are about."""
        error = _in_thread(action)
        if isinstance(error, Exception) and not isinstance(error, OSError):
            found = _OS_ERROR.search(str(error))
            if found:
                number = int(found[1])
                raise OSError(number, os.strerror(number), str(self._inside)) from error
            # The traceback has the rest of the text.
            (problem, *_) = str(error).splitlines() or [type(error).__name__]
            raise CheckpointError(
                f"{self._destination.path}: Orbax could not write it ({problem}); earlier "
                "checkpoints are intact"
            ) from error
        if error is not None:
            raise error


def _in_thread(action: Callable[[], None]) -> BaseException | None:
    """Run Orbax's code in a thread, and return its error.

    The caller may be inside an event loop, and what a signal handler raises is not Orbax's error.
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        what = "saving a state that several processes hold"
        return import_extra("orbax.checkpoint", what, "orbax")


def _epath(directory: Directory) -> Any:
    from etils import epath

    return epath.Path(directory.path)
