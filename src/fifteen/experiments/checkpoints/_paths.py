"""The checkpoints of one prefix: which steps there are, and where."""

import dataclasses
import operator
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from .._errors import CheckpointError, CheckpointNotFoundError, UnsafePathError
from ..storage import _local, _removal
from ._ownership import is_beside_flax, is_checkpoint, may_be_checkpoint
from ._reader import DESCRIPTION, SUFFIX, names_in

_NAME = re.compile(rf"(?P<prefix>.*?)(?P<step>[0-9]+)(?P<suffix>{re.escape(SUFFIX)})?", re.DOTALL)

_ENDS_WITH_DIGIT = re.compile(r"[0-9]@*\Z")
"""A prefix after which a step would not be seen to begin: an `@` parts the two."""

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
            path = _local.inside(root, prefix + "0")
        except UnsafePathError as error:
            raise CheckpointError(f"prefix {prefix!r}: {error}") from None
        return cls(path.parent, path.name.removesuffix("0"))

    def paths(self) -> dict[int, pathlib.Path]:
        """Return where each step's checkpoint lies, in the order of the steps.

        Where a step has a file of ours and one of another format, ours counts.
        """
        paths = [self.directory / name for name in names_in(self.directory)]
        found = _steps(paths, self._beginning)
        if not found and self._beginning != self.prefix:
            # Flax and Orbax write no `@`; what is ours without one belongs to a shorter prefix.
            found = _steps(filter(_is_foreign, paths), self.prefix)
        return dict(sorted(found.items()))

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
        if asked is not None and os.path.lexists(self.directory_path(asked)):
            # Who reads it says what is wrong with it.
            return self.directory_path(asked)
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

    def directory_path(self, step: int) -> pathlib.Path:
        """Return where the directory of a step lies that several processes have written.

        What flax and Orbax write lies there too.
        """
        return self.directory / f"{self._beginning}{step}"

    def step_of(self, path: pathlib.Path) -> int:
        """Return the step of what `paths` has found."""
        is_parted = path.name.startswith(self._beginning)
        beginning = self._beginning if is_parted else self.prefix
        return int(path.name.removeprefix(beginning).removesuffix(SUFFIX))

    def remove(self, step: int, but: pathlib.Path | None = None) -> None:
        """Remove what is known to be a checkpoint of a step, in every format.

        Args:
            step: its step.
            but: what stays.
        """
        foreign = self.directory_path(step)
        # The last is what flax wrote beside its file for arrays of several processes.
        beside = foreign.with_name(f"{foreign.name}_gda")
        for place in (self.path(step), foreign):
            if place != but and is_checkpoint(place):
                _removal.remove_soon(place)
        if not os.path.lexists(foreign) and is_beside_flax(beside):
            _removal.remove_soon(beside)

    @property
    def _beginning(self) -> str:
        return f"{self.prefix}@" if _ENDS_WITH_DIGIT.search(self.prefix) else self.prefix


def _is_foreign(path: pathlib.Path) -> bool:
    return not (path.name.endswith(SUFFIX) or (path / DESCRIPTION).exists())


def _steps(paths: Iterable[pathlib.Path], beginning: str) -> dict[int, pathlib.Path]:
    """Return what may be checkpoints whose names begin with a text, by their steps."""
    found: dict[int, pathlib.Path] = {}
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match and path.name.startswith(beginning):
            digits = path.name[len(beginning) :].removesuffix(SUFFIX)
            # A longer prefix, as in `checkpoint_best_3`, is another history.
            is_step = digits.isascii() and digits.isdecimal() and str(int(digits)) == digits
            is_first = is_step and (int(digits) not in found or match["suffix"])
            if is_first and may_be_checkpoint(path):
                found[int(digits)] = path
    return found


def prefixes_in(directory: pathlib.Path) -> list[str]:
    """Return the prefixes of what looks like checkpoints in a directory, sorted.

    Only what has our suffix, or is called `checkpoint…`, is taken for one: a number at the end of
    a name says little by itself.
    """
    found: set[str] = set()
    for name in names_in(directory):
        match = _NAME.fullmatch(name)
        is_called_so = match and (match["suffix"] or name.startswith("checkpoint"))
        if match and is_called_so and may_be_checkpoint(directory / name):
            prefix = match["prefix"]
            is_parted = prefix.endswith("@") and _ENDS_WITH_DIGIT.search(prefix)
            found.add(prefix[:-1] if is_parted else prefix)
    return sorted(found)


def steps_in(directory: pathlib.Path, prefix: str) -> list[int]:
    """Return the steps of the committed checkpoints of a prefix, ascending."""
    return list(History.of(directory, prefix).paths())


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
        # Asked without JAX, which looking at checkpoints does not need.
        if not getattr(step, "is_deleted", bool)():
            raise
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
