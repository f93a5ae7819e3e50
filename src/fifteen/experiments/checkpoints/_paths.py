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
from ._ownership import is_beside_flax, is_checkpoint, is_foreign, may_be_checkpoint
from ._reader import SHARDS, SUFFIX

Step: TypeAlias = int | float
"""A step; only flax writes files of steps that are not whole."""

_STEP = rf"(?:(0|[1-9][0-9]*)({re.escape(SUFFIX)})?|([0-9]+\.[0-9]+))"
"""How names end: with a step and our suffix, or with a step alone, as other libraries write it."""

_ANY_NAME = re.compile(rf"(.*?)(?<![0-9]){_STEP}", re.DOTALL)
_PARTED = re.compile(r"(.*[0-9]@*)@", re.DOTALL)
_ENDS_WITH_DIGIT = re.compile(r"[0-9]@*\Z")

MAX_STEP = 10**100


@dataclasses.dataclass(frozen=True)
class History:
    directory: Directory
    # The beginning of their names. If it ends with a digit, an `@` separates it from the step, so
    # that step 0 of `net1` is not step 10 of `net`.
    prefix: str

    @classmethod
    def of(cls, root: Directory, prefix: str) -> "History":
        """Return the history of a prefix below a root; the prefix may name a sub-directory."""
        if not isinstance(prefix, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise CheckpointError(f"prefix: expected a str, found {prefix!r}")
        try:
            # With a step appended, even an empty prefix, or one that ends with `/`, is a name.
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
            # flax and Orbax write no `@`. Our file without one belongs to a shorter prefix.
            foreign = [name for name in names if is_foreign(self.directory, name)]
            found = self._steps(foreign, self.prefix)
        return {step: self.directory.path / name for step, name in sorted(found.items())}

    def _steps(self, names: Iterable[str], beginning: str) -> dict[Step, str]:
        pattern = re.compile(re.escape(beginning) + _STEP)
        found: dict[Step, str] = {}
        for name in names:
            match = pattern.fullmatch(name)
            step = match and _step_in(match)
            is_ours = name.endswith(SUFFIX)
            if step is None or (step in found and not is_ours):
                continue
            if may_be_checkpoint(self.directory, name):
                found[step] = name
        return found

    def path(self, step: Step, suffix: str) -> pathlib.Path:
        """Return the path of a step; only a file of ours has a suffix."""
        return self.directory.path / f"{self._beginning}{step}{suffix}"

    @property
    def _beginning(self) -> str:
        return f"{self.prefix}@" if _ENDS_WITH_DIGIT.search(self.prefix) else self.prefix

    def find(self, step: Any) -> tuple[Step, pathlib.Path]:
        """Return a step, or the latest one for None, and the path of its checkpoint."""
        paths = self.paths()
        if step is None and paths:
            return list(paths.items())[-1]
        # flax's steps need not be whole.
        is_there = isinstance(step, float) and step in paths
        asked = step if step is None or is_there else as_step(step)
        if asked in paths:
            return asked, paths[asked]
        if asked is not None:
            path = self.path(asked, suffix="")
            if self.directory.kind_of(path.name) is not None:
                # Reading it will raise an error that says what is wrong with it.
                return asked, path
        raise CheckpointNotFoundError(f"{self.directory}: {self._problem(asked, list(paths))}")

    def _problem(self, step: Step | None, steps: list[Step]) -> str:
        here = self.directory.path
        if Directory(here.parent).kind_of(here.name) == "file":
            return "this is a file; open the experiment by the directory that contains it"
        problem = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        problem += f" under the prefix {self.prefix!r}"
        if not self.directory.is_present():
            return f"{problem}, because there is no such directory"
        problem += f"; steps present: {', '.join(map(str, steps)) or 'none'}"
        prefixes = [] if steps else prefixes_in(here)
        return problem + (f"; prefixes present: {', '.join(map(repr, prefixes))}" * bool(prefixes))

    def remove(self, step: Step, but: str = "") -> None:
        """Remove the checkpoints of a step in every known format, except the name `but`."""
        present = set(self.directory.names()) - {but}
        foreign = f"{self._beginning}{step}"
        for name in (f"{foreign}{SUFFIX}", foreign, f"{foreign}.0"):
            if name in present and is_checkpoint(self.directory, name):
                if not name.endswith(SUFFIX) and self.directory.kind_of(name) == "directory":
                    # First, since a store removes the rest in any order, and may be interrupted.
                    self.directory.remove(f"{name}/{SHARDS}")
                self.directory.remove_in_background(name)
        # Here flax wrote the arrays of several processes.
        beside = f"{foreign}_gda"
        is_left = beside in present and self.directory.kind_of(foreign) is None
        if is_left and is_beside_flax(self.directory, beside):
            self.directory.remove_in_background(beside)


def _step_in(match: "re.Match[str]") -> Step | None:
    whole, _, fraction = match.groups()[-3:]
    if whole is not None:
        return int(whole)
    number = float(fraction)
    # flax writes floats as Python does.
    if repr(number) != fraction:
        return None
    return int(number) if number.is_integer() else number


def prefixes_in(directory: pathlib.Path) -> list[str]:
    """Return the prefixes of the checkpoints in a directory, sorted.

    Only names that have our suffix or begin with `checkpoint` count: a number at the end of a name
    says little by itself.
    """
    found: set[str] = set()
    root = Directory(directory)
    for name in root.names():
        is_called_so = name.endswith(SUFFIX) or name.startswith("checkpoint")
        match = _ANY_NAME.fullmatch(name) if is_called_so else None
        if match and may_be_checkpoint(root, name):
            parted = _PARTED.fullmatch(match[1])
            found.add(parted[1] if parted else match[1])
    return sorted(found)


def steps_in(directory: pathlib.Path, prefix: str) -> list[int]:
    """Return the steps of the committed checkpoints of a prefix, ascending; whole ones only."""
    paths = History.of(Directory(directory), prefix).paths()
    return [step for step in paths if isinstance(step, int)]


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
    """Return a whole number from 0 to 10**100 as an int."""
    try:
        number = None if isinstance(step, bool | np.bool_) else whole_number(step)
    except RuntimeError as error:
        # Checked without JAX, since listing checkpoints does not need it.
        if not getattr(step, "is_deleted", bool)():
            raise
        # The repr of a donated array raises too.
        raise CheckpointError(f"step: expected a whole number, found no value: {error}") from None
    if number is None:
        raise CheckpointError(f"step: expected a whole number, found {step!r}")
    if number > MAX_STEP:
        # Python refuses to print an int of several thousand digits.
        raise CheckpointError(
            f"step: expected at most 10**100, found an int of {number.bit_length()} bits"
        )
    if number < 0:
        raise CheckpointError(f"step: expected at least 0, found {max(number, -MAX_STEP)}")
    return number
