"""Checkpoints: saving and restoring in one directory, also in the background.

JAX is imported by what saves and restores: listing checkpoints and their leaves does not need it.
"""

import contextlib
import functools
import pathlib
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from fifteen._gc import gc_paused

from .. import _shutdown, distributed
from .._errors import CheckpointDamagedError
from ..storage import Directory
from ._background import Background
from ._keys import name_of
from ._opening import open_checkpoint, problem_of
from ._paths import History, as_step, prefixes_in, steps_in
from ._reader import CheckpointReader, LeafInfo
from ._retention import Destination, Retention

if TYPE_CHECKING:
    from ._distributed_save import DistributedSave
    from ._safetensors._save import LocalSave

MAX_TRIES = 5
"""How often to look for the latest checkpoint while another process replaces checkpoints."""


class Checkpoints:
    """Save and restore the checkpoints of one directory.

    At most one save is under way at a time, and everything else waits for it. `before_commit` is
    called in the thread that commits, before each commit.
    """

    def __init__(
        self, directory: pathlib.Path, before_commit: Callable[[], None] = lambda: None
    ) -> None:
        self._directory = Directory(directory)
        self._before_commit = before_commit
        self._lock = threading.RLock()
        self._background: Background | None = None

    def save(
        self,
        target: Any,
        step: Any,
        prefix: str,
        retention: Callable[[], Retention],
        blocking: bool,
    ) -> pathlib.Path:
        """Save a pytree; see `Experiment.save_checkpoint`.

        `retention` makes the retention here, so that all processes raise its error.
        """
        import jax

        with self._lock, distributed.collective("save_checkpoint"), jax.ensure_compile_time_eval():
            # JAX computes at once, even inside a function that is being traced.
            self.wait()
            number = as_step(step)
            history = History.of(self._directory, prefix)
            with history.directory.listed():
                destination = Destination(self._directory, history, number, retention())
                with destination.errors_explained():
                    pending = self._pending_save(destination, target, copy=not blocking)
            explained = destination.errors_explained()(pending.commit)
            commit = functools.partial(explained, self._before_commit)
            try:
                if blocking:
                    commit()
                else:
                    _shutdown.prepare()
                    self._background = Background(commit)
                    self._background.start()
            except BaseException as error:
                if self._background is None or self._background.cancel():
                    pending.abandon(error)
                raise
            return destination.path

    def _pending_save(
        self, destination: Destination, target: Any, copy: bool
    ) -> "LocalSave | DistributedSave":
        if distributed.count() == 1:
            from ._safetensors._save import LocalSave as Save
        elif destination.directory.is_remote:
            from ._shards._save import ShardedSave as Save
        else:
            from ._orbax._save import OrbaxSave as Save
        return Save(destination, target, copy)

    def restore(
        self, target: Any, step: Any, prefix: str, strict: bool, partial: bool
    ) -> tuple[Any, pathlib.Path]:
        import jax

        from . import _restoring

        with (
            self._lock,
            distributed.collective("restore_checkpoint"),
            jax.ensure_compile_time_eval(),
        ):
            self.wait()
            history = History.of(self._directory, prefix)
            found = step
            if distributed.count() > 1:
                # The step that process 0 finds.
                found = distributed.on_primary(lambda: history.find(step)[0])
            with gc_paused(), _opened(history, found, is_latest=step is None) as reader:
                return _restoring.restore(target, reader, strict, partial), reader.path

    def steps(self, prefix: str) -> list[int]:
        self.wait()
        return steps_in(self._directory.path, prefix)

    def prefixes(self) -> list[str]:
        self.wait()
        return prefixes_in(self._directory.path)

    def leaves(self, step: Any, prefix: str) -> dict[str, LeafInfo]:
        with self._lock:
            self.wait()
            history = History.of(self._directory, prefix)
            with _opened(history, step, is_latest=step is None) as reader:
                return {name_of(key): info for key, info in reader.leaves.items()}

    def wait(self) -> None:
        """Wait for the save in the background; raise its error, once."""
        error = self.settle()
        if error is not None:
            raise error

    def settle(self) -> BaseException | None:
        """Wait for the save in the background; return its error, once."""
        with self._lock:
            error = self._background and self._background.settle()
            # Only now: if the line above is interrupted, the next call has to wait again.
            self._background = None
        if error is not None:
            # Another process may have reported it before.
            distributed.clear_mark(error)
        return error

    def begin_in_child(self) -> None:
        """Replace the lock: a thread of the parent may have held it during the fork."""
        self._lock = threading.RLock()


@contextlib.contextmanager
def _opened(history: History, step: Any, is_latest: bool) -> Generator[CheckpointReader]:
    """Open the checkpoint of a step, None for the latest one.

    If the user asked for the latest one and it is damaged, the error names another step.
    """
    path, tries = None, MAX_TRIES
    try:
        with contextlib.ExitStack() as stack:
            while True:
                _, path = history.find(step)
                try:
                    reader = stack.enter_context(open_checkpoint(path))
                    break
                except FileNotFoundError:
                    # Another process may have replaced it since.
                    tries -= 1
                    if not tries or history.directory.kind_of(path.name) is not None:
                        raise
            yield reader
    except CheckpointDamagedError as error:
        if not is_latest:
            raise
        raise CheckpointDamagedError(f"{error}; {_advice(history, path)}") from None


def _advice(history: History, damaged: pathlib.Path | None) -> str:
    """Say which other checkpoint to try; this reads only headers."""
    for step, path in reversed(history.paths().items()):
        if path != damaged and not problem_of(path):
            return (
                f"the latest other one that opens is step {step}: "
                f"restore_checkpoint(..., step={step})"
            )
    return "there is no other one that opens"
