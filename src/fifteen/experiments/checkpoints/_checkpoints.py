"""Checkpoints: saving and restoring in one directory, also in the background."""

import contextlib
import functools
import os
import pathlib
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .. import _shutdown, distributed
from .._collecting import paused_collection
from .._errors import (
    CheckpointDamagedError,
    CheckpointError,
    CheckpointExistsError,
    MissingExtraError,
)
from ..storage import _local, _removal
from ..storage._locks import suppressed_os_errors
from . import _leaf, _matching, _report, _tree
from ._background import Background
from ._host_copy import is_lost
from ._leaf import Leaf
from ._ownership import is_checkpoint
from ._paths import History, as_step, prefixes_in, steps_in, superfluous
from ._reader import Key, LeafInfo, StoredCheckpoint, StreamedCheckpoint, closing, open_stored
from ._safetensors import _reader

if TYPE_CHECKING:
    from ._orbax._save import SpreadSave

_TRIES = 5
"""How often the latest checkpoint is looked for again when another process has replaced it."""


class Checkpoints:
    """Save and restore the checkpoints of one directory.

    At most one save is under way at a time, and everything else waits for it.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._lock = threading.RLock()
        self._background = Background()

    def save(
        self,
        target: Any,
        step: Any,
        prefix: str,
        keep: int,
        overwrite: bool,
        keep_every_n_steps: int | None,
        blocking: bool,
        before_commit: Callable[[], None] = lambda: None,
    ) -> pathlib.Path:
        """Save a pytree; see `Experiment.save_checkpoint`.

        Args:
            target: the pytree.
            step: its step.
            prefix: what the file's name begins with.
            keep: how many of the newest checkpoints to keep.
            overwrite: allow a step at or below the latest.
            keep_every_n_steps: of the older ones, keep those this far apart.
            blocking: wait for the commit.
            before_commit: called, where the commit happens, just before it.
        """
        with self._lock, distributed.collective("save_checkpoint"), _untraced():
            self.wait()
            number = as_step(step)
            keep, keep_every_n_steps = _checked_retention(keep, keep_every_n_steps)
            history = History.of(self._directory, prefix)

            # Not those that somebody saves meanwhile, as a signal handler may.
            replaced = [other for other in history.paths() if overwrite and other > number]

            is_alone = distributed.count() == 1
            path = history.path(number) if is_alone else history.spread_path(number)

            def check() -> None:
                _refuse_taken(history, number, path, overwrite)

            def tidy(path: pathlib.Path) -> None:
                _tidy(history, number, path, keep, keep_every_n_steps, replaced)

            if not is_alone:
                with _explained(history, number, path):
                    name = str(path.relative_to(self._directory))
                    saving = _spread_save(path, name, target, check, not blocking)
                write = functools.partial(saving.commit, before_commit, lambda: tidy(path))
                abandon = saving.abandon
            else:
                check()
                write = _local_save(path, target, not blocking, before_commit, tidy)
                abandon = _nothing

            def commit() -> None:
                with _explained(history, number, path):
                    write()

            try:
                if blocking:
                    commit()
                else:
                    _shutdown.prepare()
                    self._background.start(commit)
            except BaseException as error:
                if blocking or not self._background.is_pending:
                    abandon(error)
                raise
            return path

    def restore(
        self, target: Any, step: Any, prefix: str, strict: bool, partial: bool
    ) -> tuple[Any, pathlib.Path]:
        """Restore a pytree; see `Experiment.restore_checkpoint`."""
        with self._lock, distributed.collective("restore_checkpoint"), _untraced():
            self.wait()
            history = History.of(self._directory, prefix)
            path, stored = _open(history, _agreed(history, step), is_asked=step is not None)
            try:
                with closing(stored):
                    return _matching.restore(target, stored, strict, partial), path
            except CheckpointDamagedError as error:
                if step is None:
                    raise _with_advice(error, history, path) from None
                raise

    def steps(self, prefix: str) -> list[int]:
        """Return the steps of the committed checkpoints, ascending."""
        with self._lock:
            self.wait()
            return steps_in(self._directory, prefix)

    def prefixes(self) -> list[str]:
        """Return the prefixes under which there are checkpoints, sorted."""
        with self._lock:
            self.wait()
            return prefixes_in(self._directory)

    def leaves(self, step: Any, prefix: str) -> dict[str, LeafInfo]:
        """Return the leaves of a checkpoint by their names, from its description alone."""
        with self._lock:
            self.wait()
            history = History.of(self._directory, prefix)
            _, stored = _open(history, step, is_asked=step is not None)
            with closing(stored):
                return {_tree.name_of(key): info for key, info in stored.leaves.items()}

    def wait(self) -> None:
        """See the save in the background through; raise its error, once."""
        error = self.settle()
        if error is not None:
            raise error

    def settle(self) -> BaseException | None:
        """See the save in the background through; return its error, once."""
        with self._lock:
            error = self._background.settle()
        if error is not None:
            # Another process may have been told of it before.
            distributed.clear_mark(error)
        return error

    def begin_in_child(self) -> None:
        """Let go of a lock that a thread of the parent held when the process was forked."""
        self._lock = threading.RLock()

    def close(self) -> None:
        """See the save in the background through."""
        self.wait()


def _untraced() -> contextlib.AbstractContextManager[None]:
    """Compute at once what is computed in the block, also inside of a function that is traced."""
    return jax.ensure_compile_time_eval()


def _local_save(
    path: pathlib.Path,
    target: Any,
    own: bool,
    before_commit: Callable[[], None],
    tidy: Callable[[pathlib.Path], None],
) -> Callable[[], None]:
    """Take the values of a pytree that this process holds, and return what writes them."""
    with paused_collection():
        leaves, structure = _take(target, own)

    def write() -> None:
        before_commit()
        _local.make_directory(path.parent)
        _local.remove_leftovers(path.parent)
        # The disk may have room for what is kept, and for no more than one beside it.
        _removal.await_removals()
        with _local.atomic_file(path) as file:
            _reader.write(file, leaves, structure)
        tidy(path)

    return write


def _spread_save(
    path: pathlib.Path,
    name: str,
    target: Any,
    check: Callable[[], None],
    in_background: bool,
) -> "SpreadSave":
    """Take this process's values of a pytree that several hold, and return what writes them."""
    # Imported where it is used, since Orbax is an extra.
    from ._orbax._save import SpreadSave

    return SpreadSave(path, name, target, check, in_background)


def _nothing(error: BaseException) -> None:
    """Tell nobody of an error, where there is nobody else."""


def _agreed(history: History, step: Any) -> Any:
    """Return the step that all processes are to restore: the one that process 0 finds."""
    if distributed.count() == 1:
        return step
    return distributed.on_primary(lambda: history.step_of(history.find(step)))


def _open(history: History, step: Any, is_asked: bool) -> tuple[pathlib.Path, StoredCheckpoint]:
    """Open the checkpoint of a step, or the latest one, which may move on as it is looked at.

    Args:
        history: the checkpoints of one prefix.
        step: None for the latest one.
        is_asked: whether the user asked for that step; he is told of no other one then.
    """
    tries = _TRIES
    while True:
        path = history.find(step)
        try:
            return path, open_stored(path)
        except FileNotFoundError:
            tries -= 1
            if not tries or path.exists():
                raise
        except CheckpointDamagedError as error:
            if is_asked:
                raise
            raise _with_advice(error, history, path) from None


def _take(target: Any, own: bool) -> tuple[list[tuple[Key, Leaf]], str]:
    """Take all values of a pytree, and describe it."""
    with _tree.refusing_depth():
        keys, values, _ = _tree.flatten(target)
    statics = tuple(_leaf.is_static(value) for value in values)
    taken: list[tuple[Key, Leaf]] = []
    problems: list[str] = []
    for key, value, is_static in zip(keys, values, statics, strict=True):
        if not is_static:
            try:
                taken.append((key, _leaf.take(value, own)))
            except (CheckpointError, RuntimeError) as error:
                if not (isinstance(error, CheckpointError) or is_lost(value, error)):
                    raise
                problems.append(f"{_tree.name_of(key)}: {error}")
    if problems:
        raise CheckpointError("\n".join(["cannot save the target:", *_report.shortened(problems)]))
    with _tree.refusing_depth():
        return taken, _tree.structure(target, statics)


def _checked_retention(keep: Any, keep_every_n_steps: Any) -> tuple[int, int | None]:
    for name, value in (("keep", keep), ("keep_every_n_steps", keep_every_n_steps)):
        if value is None and name == "keep_every_n_steps":
            continue
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"{name}: expected a whole number of at least 1, found {value!r}")
    # NumPy's unsigned integers count backwards when they are negated.
    return int(keep), None if keep_every_n_steps is None else int(keep_every_n_steps)


def _refuse_taken(history: History, step: int, path: pathlib.Path, overwrite: bool) -> None:
    """Raise if a step may not be saved, since there is a later one, or something not ours."""
    found = history.paths()
    cannot = (
        f"{history.directory}: cannot save step {step} under the prefix {history.prefix!r}, since"
    )
    latest = max(found, default=-1)
    if step <= latest and not overwrite:
        raise CheckpointExistsError(
            f"{cannot} there is a checkpoint of step {latest}; pass overwrite=True to replace the "
            "steps from there on"
        )
    in_the_way = [path, *(other for number, other in found.items() if number >= step)]
    strange = dict.fromkeys(
        other.name for other in in_the_way if os.path.lexists(other) and not is_checkpoint(other)
    )
    if strange:
        raise CheckpointExistsError(
            f"{cannot} it would replace {', '.join(strange)}, which is not known to be a "
            "checkpoint of fifteen, flax or Orbax; move it away, or choose another prefix"
        )


def _tidy(
    history: History,
    step: int,
    saved: pathlib.Path,
    keep: int,
    keep_every_n_steps: int | None,
    replaced: list[int],
) -> None:
    """Remove what a committed checkpoint replaces: later steps, and the superfluous ones."""
    try:
        history.remove(step, but=saved)
        for later in replaced:
            history.remove(later)
        # What somebody else has put there counts for nothing.
        ours = [other for other, path in history.paths().items() if is_checkpoint(path)]
        remaining = [other for other in ours if other <= step]
        for old in superfluous(remaining, keep, keep_every_n_steps):
            history.remove(old)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(f"{saved}: saved, but what it replaces is still there: {error}") from error


@contextlib.contextmanager
def _explained(history: History, step: int, path: pathlib.Path) -> Generator[None]:
    """Say of an error of the file system what it kept from being done, and what there still is."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        present = ", ".join(map(str, _present(history))) or "none"
        problem = (
            f"{os.strerror(error.errno)}: could not save step {step}; earlier checkpoints are "
            f"whole (steps present: {present})"
        )
        raise OSError(error.errno, problem, str(path)) from error


def _present(history: History) -> list[int]:
    with suppressed_os_errors():
        return list(history.paths())
    return []


def _with_advice(
    error: CheckpointDamagedError, history: History, path: pathlib.Path
) -> CheckpointDamagedError:
    return CheckpointDamagedError(f"{error}; {_latest_whole(history, before=path)}")


def _latest_whole(history: History, before: pathlib.Path) -> str:
    for step, path in reversed(history.paths().items()):
        if path != before and _is_whole(path):
            return f"the latest whole one is step {step}: restore_checkpoint(..., step={step})"
    return "there is no earlier whole one"


def _is_whole(path: pathlib.Path) -> bool:
    try:
        stored = open_stored(path)
        wanted = dict.fromkeys(stored.leaves)
        with closing(stored):
            if isinstance(stored, StreamedCheckpoint):
                for _ in stored.stream(wanted):
                    pass
            else:
                stored.read(wanted)
    except (CheckpointError, MissingExtraError):
        return False
    except OSError as error:
        # One without a number is not the file system's, but a signal handler's.
        if error.errno is None:
            raise
        return False
    return True
