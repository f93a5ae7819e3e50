"""The checkpoints of one prefix: which steps there are, and where."""

import dataclasses
import operator
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from .._errors import CheckpointError, CheckpointNotFoundError, UnsafePathError
from ..storage import _local, _removal
from ._ownership import is_beside_flax, is_checkpoint, may_be_checkpoint
from ._reader import DESCRIPTION, SUFFIX, names_in

Step: TypeAlias = int | float
"""A step; only flax writes files of steps that are not whole."""

_NAME = re.compile(
    rf"(?P<prefix>.*?)([0-9]+(?P<suffix>{re.escape(SUFFIX)})?|[0-9]+\.[0-9]+)", re.DOTALL
)

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

    def paths(self) -> dict[Step, pathlib.Path]:
        """Return where each step's checkpoint lies, in the order of the steps.

        Where a step has a file of ours and one of another format, ours counts.
        """
        paths = [self.directory / name for name in names_in(self.directory)]
        found = _steps(paths, self._beginning)
        if not found and self._beginning != self.prefix:
            # Flax and Orbax write no `@`; what is ours without one belongs to a shorter prefix.
            found = _steps(filter(_is_foreign, paths), self.prefix)
        return dict(sorted(found.items()))

    def path(self, step: Step) -> pathlib.Path:
        """Return where our file of a step lies."""
        return self.directory / f"{self._beginning}{step}{SUFFIX}"

    def find(self, step: Any) -> pathlib.Path:
        """Return where the checkpoint of a step lies, or of the latest one.

        Raises:
            CheckpointNotFoundError: there is none; lists those that there are.
        """
        paths = self.paths()
        # flax's steps need not be whole.
        is_there = isinstance(step, float) and step in paths
        asked = step if step is None or is_there else as_step(step)
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

    def directory_path(self, step: Step) -> pathlib.Path:
        """Return where the directory of a step lies that several processes have written.

        What flax and Orbax write lies there too.
        """
        return self.directory / f"{self._beginning}{step}"

    def step_of(self, path: pathlib.Path) -> Step:
        """Return the step of what `paths` has found."""
        return next(step for step, found in self.paths().items() if found == path)

    def remove(self, step: Step, but: pathlib.Path | None = None) -> None:
        """Remove what is known to be a checkpoint of a step, in every format.

        Args:
            step: its step.
            but: what stays.
        """
        foreign = self.directory_path(step)
        # The last is what flax wrote beside its file for arrays of several processes.
        beside = foreign.with_name(f"{foreign.name}_gda")
        whole_float = foreign.with_name(f"{foreign.name}.0")
        for place in (self.path(step), foreign, whole_float):
            if place != but and is_checkpoint(place):
                _removal.remove_soon(place)
        if not os.path.lexists(foreign) and is_beside_flax(beside):
            _removal.remove_soon(beside)

    @property
    def _beginning(self) -> str:
        return f"{self.prefix}@" if _ENDS_WITH_DIGIT.search(self.prefix) else self.prefix


def _is_foreign(path: pathlib.Path) -> bool:
    return not (path.name.endswith(SUFFIX) or (path / DESCRIPTION).exists())


def _steps(paths: Iterable[pathlib.Path], beginning: str) -> dict[Step, pathlib.Path]:
    """Return what may be checkpoints whose names begin with a text, by their steps."""
    found: dict[Step, pathlib.Path] = {}
    for path in paths:
        if not path.name.startswith(beginning):
            continue
        is_ours = path.name.endswith(SUFFIX)
        step = _parse_step(path.name[len(beginning) :].removesuffix(SUFFIX), is_ours)
        if step is not None and (step not in found or is_ours) and may_be_checkpoint(path):
            found[step] = path
    return found


def _parse_step(text: str, is_ours: bool) -> Step | None:
    """Return the step in a name; None for others, as of a longer prefix (`checkpoint_best_3`)."""
    if text.isascii() and text.isdecimal():
        return int(text) if str(int(text)) == text else None
    # flax writes floats as Python does.
    if is_ours or not re.fullmatch(r"[0-9]+\.[0-9]+", text) or repr(float(text)) != text:
        return None
    number = float(text)
    return int(number) if number.is_integer() else number


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
    """Return the steps of the committed checkpoints of a prefix, ascending; whole ones only."""
    return [step for step in History.of(directory, prefix).paths() if isinstance(step, int)]


def whole_number(value: Any) -> int | None:
    """Return an integer or a whole float, of Python, NumPy or JAX, as an int; None for others."""
    try:
        return operator.index(value)
    except TypeError:
        pass
    try:
        number = value.item() if isinstance(value, np.generic) or hasattr(value, "ndim") else value
    except (TypeError, ValueError):
        # An array of several numbers, or one that is being traced.
        return None
    return int(number) if isinstance(number, float) and number.is_integer() else None


def as_step(step: Any) -> int:
    """Return a step as an int.

    Raises:
        CheckpointError: it is no whole number, or negative.
    """
    try:
        number = None if isinstance(step, bool | np.bool_) else whole_number(step)
    except RuntimeError as error:
        # Asked without JAX, which looking at checkpoints does not need.
        if not getattr(step, "is_deleted", bool)():
            raise
        # Of an array that has been donated, not even the text can be had.
        raise CheckpointError(f"step: expected a whole number, found no value: {error}") from None
    if number is None:
        raise CheckpointError(f"step: expected a whole number, found {step!r}")
    if number > _LAST_STEP:
        # Python refuses to write out an int of several thousand digits.
        raise CheckpointError(
            f"step: expected at most 10**100, found an int of {number.bit_length()} bits"
        )
    if number < 0:
        raise CheckpointError(f"step: expected at least 0, found {max(number, -_LAST_STEP)}")
    return number
