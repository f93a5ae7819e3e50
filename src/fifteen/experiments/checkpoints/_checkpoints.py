"""Checkpoints: saving and restoring in one directory, also in the background."""

import contextlib
import pathlib
import threading
from collections.abc import Callable
from typing import Any

import jax

from .. import _shutdown, distributed
from .._errors import CheckpointDamagedError, CheckpointError, MissingExtraError
from ..storage import Directory
from . import _restoring
from ._background import Background
from ._keys import name_of
from ._opening import open_checkpoint
from ._paths import History, as_step, prefixes_in, steps_in
from ._reader import CheckpointReader, LeafInfo
from ._retention import Destination, Retention
from ._saving import LocalSave, PendingSave

MAX_TRIES = 5
"""How often to look for the latest checkpoint while another process replaces it."""


class Checkpoints:
    """Save and restore the checkpoints of one directory.

    At most one save is under way at a time, and everything else waits for it.

    Args:
        directory: the experiment's directory.
        before_commit: called in the thread that commits, before each commit.
    """

    def __init__(
        self, directory: pathlib.Path, before_commit: Callable[[], None] = lambda: None
    ) -> None:
        self._directory = Directory(directory)
        self._before_commit = before_commit
        self._lock = threading.RLock()
        self._background = Background()

    def save(
        self,
        target: Any,
        step: Any,
        prefix: str,
        retention: Callable[[], Retention],
        blocking: bool,
    ) -> pathlib.Path:
        """Save a pytree; see `Experiment.save_checkpoint`.

        Args:
            target: the pytree.
            step: its step.
            prefix: the beginning of the file's name.
            retention: makes the retention. If that raises in one process, all of them raise.
            blocking: wait for the commit.
        """
        with self._lock, distributed.collective("save_checkpoint"), _untraced():
            self.wait()
            number = as_step(step)
            history = History.of(self._directory, prefix)
            destination = Destination(self._directory, history, number, retention())
            with destination.errors_explained():
                pending = self._pending_save(destination, target, not blocking)

            def commit() -> None:
                with destination.errors_explained():
                    pending.commit()

            try:
                if blocking:
                    commit()
                else:
                    _shutdown.prepare()
                    self._background.start(commit)
            except BaseException as error:
                if blocking or not self._background.is_pending:
                    pending.abandon(error)
                raise
            return destination.path

    def _pending_save(
        self, destination: Destination, target: Any, in_background: bool
    ) -> PendingSave:
        """Take this process's values of a pytree."""
        if distributed.count() == 1:
            return LocalSave(destination, target, in_background, self._before_commit)
        # Imported when used, since Orbax is an extra.
        from ._orbax._save import DistributedSave

        return DistributedSave(destination, target, in_background, self._before_commit)

    def restore(
        self, target: Any, step: Any, prefix: str, strict: bool, partial: bool
    ) -> tuple[Any, pathlib.Path]:
        """Restore a pytree; see `Experiment.restore_checkpoint`."""
        with self._lock, distributed.collective("restore_checkpoint"), _untraced():
            self.wait()
            history = History.of(self._directory, prefix)
            path, stored = _open(history, _agreed(history, step), is_asked=step is not None)
            try:
                with contextlib.closing(stored):
                    return _restoring.restore(target, stored, strict, partial), path
            except CheckpointDamagedError as error:
                if step is None:
                    raise _with_advice(error, history, path) from None
                raise

    def steps(self, prefix: str) -> list[int]:
        """Return the steps of the committed checkpoints, ascending."""
        with self._lock:
            self.wait()
            return steps_in(self._directory.path, prefix)

    def prefixes(self) -> list[str]:
        """Return the prefixes under which there are checkpoints, sorted."""
        with self._lock:
            self.wait()
            return prefixes_in(self._directory.path)

    def leaves(self, step: Any, prefix: str) -> dict[str, LeafInfo]:
        """Return the leaves of a checkpoint by their names, from its description alone."""
        with self._lock:
            self.wait()
            history = History.of(self._directory, prefix)
            _, stored = _open(history, step, is_asked=step is not None)
            with contextlib.closing(stored):
                return {name_of(key): info for key, info in stored.leaves.items()}

    def wait(self) -> None:
        """Wait for the save in the background; raise its error, once."""
        error = self.settle()
        if error is not None:
            raise error

    def settle(self) -> BaseException | None:
        """Wait for the save in the background; return its error, once."""
        with self._lock:
            error = self._background.settle()
        if error is not None:
            # Another process may have reported it before.
            distributed.clear_mark(error)
        return error

    def begin_in_child(self) -> None:
        """Replace the lock: a thread of the parent may have held it during the fork."""
        self._lock = threading.RLock()

    def close(self) -> None:
        """Wait for the save in the background."""
        self.wait()


def _untraced() -> contextlib.AbstractContextManager[None]:
    """Compute at once, even inside a function that is traced."""
    return jax.ensure_compile_time_eval()


def _agreed(history: History, step: Any) -> Any:
    """Return the step that all processes are to restore: the one that process 0 finds."""
    if distributed.count() == 1:
        return step
    return distributed.on_primary(lambda: history.step_of(history.find(step)))


def _open(history: History, step: Any, is_asked: bool) -> tuple[pathlib.Path, CheckpointReader]:
    """Open the checkpoint of a step, or the latest one, which may move on as it is looked at.

    Args:
        history: the checkpoints of one prefix.
        step: None for the latest one.
        is_asked: whether the user asked for that step; he is told of no other one then.
    """
    tries = MAX_TRIES
    while True:
        path = history.find(step)
        try:
            return path, open_checkpoint(path)
        except FileNotFoundError:
            tries -= 1
            if not tries or history.directory.kind_of(path.name) is not None:
                raise
        except CheckpointDamagedError as error:
            if is_asked:
                raise
            raise _with_advice(error, history, path) from None


def _with_advice(
    error: CheckpointDamagedError, history: History, path: pathlib.Path
) -> CheckpointDamagedError:
    """Add which other checkpoint to try; only headers are read for that."""
    for step, other in reversed(history.paths().items()):
        if other != path and _can_be_opened(other):
            advice = f"the latest other one that opens is step {step}: "
            advice += f"restore_checkpoint(..., step={step})"
            return CheckpointDamagedError(f"{error}; {advice}")
    return CheckpointDamagedError(f"{error}; there is no other one that opens")


def _can_be_opened(path: pathlib.Path) -> bool:
    try:
        with contextlib.closing(open_checkpoint(path)):
            return True
    except (CheckpointError, MissingExtraError):
        return False
    except OSError as error:
        # One without a number is a signal handler's, not the file system's.
        if error.errno is None:
            raise
        return False
