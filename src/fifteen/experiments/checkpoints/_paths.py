"""The checkpoints of one prefix: which steps there are, and where."""

import dataclasses
import operator
import pathlib
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from .._errors import CheckpointError, CheckpointNotFoundError, UnsafePathError
from ..storage import Directory
from ._ownership import is_beside_flax, is_checkpoint, may_be_checkpoint
from ._reader import DESCRIPTION, SUFFIX

Step: TypeAlias = int | float
"""A step; only flax writes files of steps that are not whole."""

_NAME = re.compile(
    rf"(?P<prefix>.*?)([0-9]+(?P<suffix>{re.escape(SUFFIX)})?|[0-9]+\.[0-9]+)", re.DOTALL
)

_ENDS_WITH_DIGIT = re.compile(r"[0-9]@*\Z")
"""A prefix after which a step would not be seen to begin: an `@` parts the two."""

MAX_STEP = 10**100


@dataclasses.dataclass(frozen=True)
class History:
    """The checkpoints of one prefix in a directory.

    Attributes:
        directory: the directory that contains them.
        prefix: the beginning of their names. If it ends with a digit, an `@` separates it from
            the step, so that step 0 of `net1` is not step 10 of `net`.
    """

    directory: Directory
    prefix: str

    @classmethod
    def of(cls, root: Directory, prefix: str) -> "History":
        """Return the history of a prefix, which may lead into a sub-folder, below a root.

        Raises:
            CheckpointError: the prefix is no text, or leaves the root.
        """
        if not isinstance(prefix, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise CheckpointError(f"prefix: expected a str, found {prefix!r}")
        try:
            # With a step it is a name, even if the prefix is empty or ends with `/`.
            path = root.path / root.checked_name(prefix + "0")
        except UnsafePathError as error:
            raise CheckpointError(f"prefix {prefix!r}: {error}") from None
        return cls(Directory(path.parent), path.name.removesuffix("0"))

    def paths(self) -> dict[Step, pathlib.Path]:
        """Return the path of each step's checkpoint, by ascending steps.

        If a step has a file of ours and one of another format, ours counts.
        """
        names = self.directory.names()
        found = self._steps(names, self._beginning)
        if not found and self._beginning != self.prefix:
            # flax and Orbax write no `@`; ours without one belongs to a shorter prefix.
            foreign = [name for name in names if self._is_foreign(name)]
            found = self._steps(foreign, self.prefix)
        return {step: self.directory.path / name for step, name in sorted(found.items())}

    def path(self, step: Step) -> pathlib.Path:
        """Return the path of our file of a step."""
        return self.directory.path / f"{self._beginning}{step}{SUFFIX}"

    def find(self, step: Any) -> pathlib.Path:
        """Return the path of the checkpoint of a step, or of the latest one.

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
        if asked is not None and self._is_taken(self.directory_path(asked).name):
            # Reading it will raise an error that says what is wrong with it.
            return self.directory_path(asked)
        what = "no checkpoint" if asked is None else f"no checkpoint of step {asked}"
        what += f" under the prefix {self.prefix!r}"
        here = self.directory.path
        if Directory(here.parent).kind_of(here.name) == "file":
            problem = "a file; open the experiment by the directory that the file is in"
        elif not self.directory.exists():
            problem = f"{what}, since there is no such directory"
        else:
            present = ", ".join(map(str, paths)) if paths else "none"
            problem = f"{what}; steps present: {present}"
            prefixes = [] if paths else prefixes_in(here)
            if prefixes:
                problem += f"; prefixes present: {', '.join(map(repr, prefixes))}"
        raise CheckpointNotFoundError(f"{self.directory}: {problem}")

    def directory_path(self, step: Step) -> pathlib.Path:
        """Return the path of a step that several processes, flax or Orbax have written."""
        return self.directory.path / f"{self._beginning}{step}"

    def step_of(self, path: pathlib.Path) -> Step:
        """Return the step of what `paths` has found."""
        return next(step for step, found in self.paths().items() if found == path)

    def remove(self, step: Step, but: pathlib.Path | None = None) -> None:
        """Remove the known checkpoints of a step, in every format, but for one path."""
        foreign = self.directory_path(step)
        # The last is what flax wrote beside its file for arrays of several processes.
        beside = foreign.with_name(f"{foreign.name}_gda")
        whole_float = foreign.with_name(f"{foreign.name}.0")
        for place in (self.path(step), foreign, whole_float):
            if place != but and is_checkpoint(self.directory, place.name):
                self.directory.remove_in_background(place.name)
        if not self._is_taken(foreign.name) and is_beside_flax(self.directory, beside.name):
            self.directory.remove_in_background(beside.name)

    @property
    def _beginning(self) -> str:
        return f"{self.prefix}@" if _ENDS_WITH_DIGIT.search(self.prefix) else self.prefix

    def _is_taken(self, name: str) -> bool:
        return self.directory.kind_of(name) is not None

    def _is_foreign(self, name: str) -> bool:
        is_ours = name.endswith(SUFFIX)
        return not is_ours and (self.directory / name).kind_of(DESCRIPTION) is None

    def _steps(self, names: Iterable[str], beginning: str) -> dict[Step, str]:
        """Return what may be checkpoints whose names have a given beginning."""
        found: dict[Step, str] = {}
        for name in names:
            if not name.startswith(beginning):
                continue
            is_ours = name.endswith(SUFFIX)
            step = _parse_step(name[len(beginning) :].removesuffix(SUFFIX), is_ours)
            is_first = step is not None and (step not in found or is_ours)
            if step is not None and is_first and may_be_checkpoint(self.directory, name):
                found[step] = name
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
    """Return the prefixes of the checkpoints in a directory, sorted.

    Only names with our suffix, or that begin with `checkpoint`, count: a number at the end of a
    name says little by itself.
    """
    found: set[str] = set()
    for name in Directory(directory).names():
        match = _NAME.fullmatch(name)
        is_called_so = match and (match["suffix"] or name.startswith("checkpoint"))
        if match and is_called_so and may_be_checkpoint(Directory(directory), name):
            prefix = match["prefix"]
            is_parted = prefix.endswith("@") and _ENDS_WITH_DIGIT.search(prefix)
            found.add(prefix[:-1] if is_parted else prefix)
    return sorted(found)


def steps_in(directory: pathlib.Path, prefix: str) -> list[int]:
    """Return the steps of the committed checkpoints of a prefix, ascending; whole ones only."""
    return [
        step for step in History.of(Directory(directory), prefix).paths() if isinstance(step, int)
    ]


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
        CheckpointError: it is not a whole number, or negative.
    """
    try:
        number = None if isinstance(step, bool | np.bool_) else whole_number(step)
    except RuntimeError as error:
        # Checked without JAX, since listing checkpoints does not need it.
        if not getattr(step, "is_deleted", bool)():
            raise
        # A donated array has not even a text.
        raise CheckpointError(f"step: expected a whole number, found no value: {error}") from None
    if number is None:
        raise CheckpointError(f"step: expected a whole number, found {step!r}")
    if number > MAX_STEP:
        # Python refuses to write out an int of several thousand digits.
        raise CheckpointError(
            f"step: expected at most 10**100, found an int of {number.bit_length()} bits"
        )
    if number < 0:
        raise CheckpointError(f"step: expected at least 0, found {max(number, -MAX_STEP)}")
    return number
