"""The checkpoints of one prefix: which steps there are, and which of them to keep."""

import dataclasses
import operator
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import _directory, _freeing
from .._errors import CheckpointError, CheckpointNotFoundError, UnsafePathError
from ._stored import DESCRIPTION, SUFFIX, names_in

_NAME = re.compile(rf"(?P<prefix>.*?)(?P<step>[0-9]+)(?P<suffix>{re.escape(SUFFIX)})?", re.DOTALL)

_ENDS_WITH_DIGIT = re.compile(r"[0-9]@*\Z")
"""A prefix after which a step would not be seen to begin: an `@` parts the two."""

_MARKS = {"_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "checkpoint", DESCRIPTION}
"""What the directories of Orbax, flax and ours have in them, or in an item inside of them."""


_LAST_STEP = 10**100


@dataclasses.dataclass(frozen=True)
class History:
    """Name the checkpoints of one prefix in a directory.

    Attributes:
        directory: where they lie.
        prefix: what their names begin with, before the step. After a digit comes an `@`, so that
            step 0 of `net1` is not step 10 of `net`.
    """

    directory: pathlib.Path
    prefix: str

    @classmethod
    def of(cls, root: pathlib.Path, prefix: str) -> "History":
        """Return the history of a prefix, which may lead into a sub-folder, below a root.

        Raises:
            CheckpointError: the prefix is no text, or leaves the root.
        """
        if not isinstance(prefix, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise CheckpointError(f"prefix: expected a str, found {prefix!r}")
        try:
            os.fsencode(prefix)
        except UnicodeEncodeError:
            raise CheckpointError(f"prefix {prefix!r}: no name of a file can hold that") from None
        try:
            # A step makes a whole name of it, also where the prefix is empty or ends with `/`.
            path = _directory.inside(root, prefix + "0")
        except UnsafePathError as error:
            raise CheckpointError(f"prefix {prefix!r}: {error}") from None
        return cls(path.parent, path.name.removesuffix("0"))

    def paths(self) -> dict[int, pathlib.Path]:
        """Return where each step's checkpoint lies, in the order of the steps.

        Where a step has a file of ours and one of another format, ours counts.
        """
        names = names_in(self.directory)
        found = _steps(names, self._beginning)
        if not found and self._beginning != self.prefix:
            # Flax and Orbax write no `@`; what is ours without one belongs to a shorter prefix.
            found = _steps(filter(self._is_foreign, names), self.prefix)
        return {step: self.directory / name for step, name in sorted(found.items())}

    def path(self, step: int) -> pathlib.Path:
        """Return where our file of a step lies."""
        return self.directory / f"{self._beginning}{step}{SUFFIX}"

    def find(self, step: Any) -> pathlib.Path:
        """Return where the checkpoint of a step lies, or of the latest one.

        Raises:
            CheckpointNotFoundError: there is none; lists those that there are.
        """
        paths = self.paths()
        asked = None if step is None else as_step(step)
        if asked is None and paths:
            return list(paths.values())[-1]
        if asked in paths:
            return paths[asked]
        what = "no checkpoint" if asked is None else f"no checkpoint of step {asked}"
        what += f" under the prefix {self.prefix!r}"
        if self.directory.is_file():
            problem = "a file; open the experiment by the directory that the file is in"
        elif not self.directory.is_dir():
            problem = f"{what}, since there is no such directory"
        else:
            present = ", ".join(map(str, paths)) if paths else "none"
            problem = f"{what}; steps present: {present}"
            prefixes = [] if paths else prefixes_in(self.directory)
            if prefixes:
                problem += f"; prefixes present: {', '.join(map(repr, prefixes))}"
        raise CheckpointNotFoundError(f"{self.directory}: {problem}")

    def spread_path(self, step: int) -> pathlib.Path:
        """Return where the directory of a step lies that several processes have written.

        What flax and Orbax write lies there too.
        """
        return self.directory / f"{self._beginning}{step}"

    def step_of(self, path: pathlib.Path) -> int:
        """Return the step of what `paths` has found."""
        is_parted = path.name.startswith(self._beginning)
        beginning = self._beginning if is_parted else self.prefix
        return int(path.name.removeprefix(beginning).removesuffix(SUFFIX))

    def places(self, step: int) -> list[pathlib.Path]:
        """Return where something of a step may lie that is a checkpoint's, in any format."""
        foreign = self.spread_path(step)
        # The last is what flax wrote beside its file for arrays of several processes.
        beside = foreign.with_name(f"{foreign.name}_gda")
        return [self.path(step), *([foreign] if _may_be_checkpoint(foreign) else []), beside]

    def remove(self, step: int) -> None:
        """Remove what lies there for a step, in every format."""
        for place in self.places(step):
            _freeing.remove_soon(place)

    def _is_foreign(self, name: str) -> bool:
        return not (name.endswith(SUFFIX) or (self.directory / name / DESCRIPTION).exists())

    @property
    def _beginning(self) -> str:
        return f"{self.prefix}@" if _ENDS_WITH_DIGIT.search(self.prefix) else self.prefix


def _steps(names: Iterable[str], beginning: str) -> dict[int, str]:
    """Return the names of checkpoints that begin with a text, by their steps."""
    found: dict[int, str] = {}
    for name in names:
        match = _NAME.fullmatch(name)
        if match and name.startswith(beginning):
            digits = name[len(beginning) :].removesuffix(SUFFIX)
            # A longer prefix, as in `checkpoint_best_3`, is another history.
            is_step = digits.isascii() and digits.isdecimal() and str(int(digits)) == digits
            if is_step and (int(digits) not in found or match["suffix"]):
                found[int(digits)] = name
    return found


def _may_be_checkpoint(path: pathlib.Path) -> bool:
    """Whether what lies there may be removed as a checkpoint: somebody's own folder may not."""
    if path.is_symlink() or not path.is_dir():
        return True
    children = list(path.iterdir())
    items = [path, *(child for child in children if child.is_dir())]
    return not children or any((item / mark).exists() for item in items for mark in _MARKS)


def prefixes_in(directory: pathlib.Path) -> list[str]:
    """Return the prefixes of what looks like checkpoints in a directory, sorted.

    Only what has our suffix, or is called `checkpoint…`, is taken for one: a number at the end of
    a name says little by itself.
    """
    found: set[str] = set()
    for name in names_in(directory):
        match = _NAME.fullmatch(name)
        if match and (match["suffix"] or name.startswith("checkpoint")):
            prefix = match["prefix"]
            is_parted = prefix.endswith("@") and _ENDS_WITH_DIGIT.search(prefix)
            found.add(prefix[:-1] if is_parted else prefix)
    return sorted(found)


def as_step(step: Any) -> int:
    """Return a step as an int.

    Raises:
        CheckpointError: it is no whole number, or negative.
    """
    if isinstance(step, bool | np.bool_):
        raise CheckpointError(f"step: expected a whole number, found {step!r}")
    try:
        number = operator.index(step)
    except TypeError:
        raise CheckpointError(f"step: expected a whole number, found {step!r}") from None
    except RuntimeError as error:
        # Of an array that has been donated, not even the text can be had.
        raise CheckpointError(f"step: expected a whole number, found no value: {error}") from None
    if number > _LAST_STEP:
        # Python refuses to write out an int of several thousand digits.
        raise CheckpointError(
            f"step: expected at most 10**100, found an int of {number.bit_length()} bits"
        )
    if number < 0:
        raise CheckpointError(f"step: expected at least 0, found {max(number, -_LAST_STEP)}")
    return number


def superfluous(steps: list[int], keep: int, keep_every_n_steps: int | None) -> list[int]:
    """Return the steps that need not be kept.

    The newest `keep` are kept. Of the older ones, walking upwards, each that lies at least
    `keep_every_n_steps` above the last one kept is kept too; this is flax's documented rule.

    Args:
        steps: ascending.
        keep: at least 1.
        keep_every_n_steps: None to keep no others.
    """
    dropped: list[int] = []
    last_kept: int | None = None
    for step in steps[:-keep]:
        is_far = last_kept is None or step - last_kept >= (keep_every_n_steps or 0)
        if keep_every_n_steps is not None and is_far:
            last_kept = step
        else:
            dropped.append(step)
    return dropped
