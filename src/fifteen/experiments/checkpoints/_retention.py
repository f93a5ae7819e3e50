"""Which checkpoints of a prefix a new one replaces."""

import contextlib
import dataclasses
import math
import os
import sys
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from .. import distributed
from .._errors import CheckpointError, CheckpointExistsError
from ..storage import Directory, suppressed_os_errors
from ._ownership import is_checkpoint
from ._paths import History, Step, whole_number
from ._reader import SUFFIX


@dataclasses.dataclass(frozen=True)
class Retention:
    """Which checkpoints stay beside a new one; the numbers may be infinite."""

    keep: int = 1  # So many of the newest.
    overwrite: bool = False  # Allow a step at or below the latest, and remove those from there on.
    keep_every_n_steps: int | None = None  # And older ones that many steps apart, but for 0.

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", _count("keep", self.keep, 1))
        if self.keep_every_n_steps is not None:
            every = _count("keep_every_n_steps", self.keep_every_n_steps, 0) or None
            object.__setattr__(self, "keep_every_n_steps", every)

    def steps_to_delete(self, steps: Sequence[Step]) -> list[Step]:
        """Return the steps to delete among ascending ones, by flax's documented rule."""
        deleted: list[Step] = []
        last_kept: Step | None = None
        for step in steps[: -self.keep]:
            every = self.keep_every_n_steps
            if every is not None and (last_kept is None or step - last_kept >= every):
                last_kept = step
            else:
                deleted.append(step)
        return deleted


def _count(name: str, value: Any, minimum: int) -> int:
    if isinstance(value, float | np.floating) and value == math.inf:
        return sys.maxsize
    # An int, since NumPy's unsigned integers turn negatives into large numbers.
    number = None if isinstance(value, bool) else whole_number(value)
    if number is None or number < minimum:
        raise CheckpointError(
            f"{name}: expected a whole number of at least {minimum}, found {value!r}"
        )
    return number


class Destination:
    """The path of a new checkpoint, and the checkpoints that it replaces."""

    def __init__(self, root: Directory, history: History, step: int, retention: Retention) -> None:
        self.path = history.path(step, SUFFIX if distributed.count() == 1 else "")
        # All processes must have the same one, even if their experiments have different paths.
        self.name = str(self.path.relative_to(root.path))
        self.directory = history.directory
        self._history = history
        self._step = step
        self._retention = retention
        # Later steps that are saved from now on, for example by a signal handler, stay.
        self._found = history.paths()
        later = [other for other in self._found if other > step]
        self._replaced = later if retention.overwrite else []

    def check(self) -> None:
        """Raise `CheckpointExistsError` at a later step, or a file that is not a checkpoint."""
        prefix, step, found = self._history.prefix, self._step, self._found
        problem = f"{self.directory}: cannot save step {step} under the prefix {prefix!r}: "
        latest = max(found, default=-1)
        if step <= latest and not self._retention.overwrite:
            raise CheckpointExistsError(
                f"{problem}there is a checkpoint of step {latest}; pass overwrite=True to replace "
                "the steps from there on"
            )
        in_the_way = [self.path, *(path for other, path in found.items() if other >= step)]
        names = dict.fromkeys(path.name for path in in_the_way)
        unknown = [
            name
            for name in names
            if self.directory.kind_of(name) is not None and not is_checkpoint(self.directory, name)
        ]
        if unknown:
            raise CheckpointExistsError(
                f"{problem}it would replace {', '.join(unknown)}, which is not known to be a "
                "checkpoint of fifteen, flax or Orbax; move it away, or choose another prefix"
            )

    def apply_retention(self) -> None:
        """Remove what the checkpoint, now that it is committed, replaces."""
        history = self._history
        try:
            with self.directory.listed():
                history.remove(self._step, but=self.path.name)
                for later in self._replaced:
                    history.remove(later)
                # Files that are not checkpoints do not count towards `keep`.
                earlier = [
                    step
                    for step, path in history.paths().items()
                    if step == self._step
                    or (step < self._step and is_checkpoint(self.directory, path.name))
                ]
                for step in self._retention.steps_to_delete(earlier):
                    history.remove(step)
        except OSError as error:
            if error.errno is None:
                raise
            raise OSError(
                f"{self.path}: saved, but what it replaces could not be removed: {error}"
            ) from error

    @contextlib.contextmanager
    def errors_explained(self) -> Generator[None]:
        """Say in errors of the file system which step could not be saved, and which remain."""
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise
            present: list[Step] = []
            with suppressed_os_errors():
                present = list(self._history.paths())
            cause = error.strerror or os.strerror(error.errno)
            problem = (
                f"{cause}: could not save step {self._step}; earlier "
                f"checkpoints are intact (steps present: {', '.join(map(str, present)) or 'none'})"
            )
            raise OSError(error.errno, problem, str(self.path)) from error
