"""The checkpoints of one prefix: which steps there are, and which of them to keep."""

import dataclasses
import operator
import os
import pathlib
import re
from typing import Any

import numpy as np

from .. import _directory, _freeing
from .._errors import CheckpointError, CheckpointNotFoundError, UnsafePathError
from . import _header, _orbax_description
from ._stored import SUFFIX, names_in

_NAME = re.compile(rf"(?P<prefix>.*?)(?P<step>\d+)(?P<suffix>{re.escape(SUFFIX)})?", re.DOTALL)

_MARKS = {"_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "checkpoint", "fifteen.json"}
"""What the directories of Orbax, flax and ours have in them, or in an item inside of them."""


_LAST_STEP = 10**100


@dataclasses.dataclass(frozen=True)
class History:
    """Name the checkpoints of one prefix in a directory.

    Attributes:
        directory: where they lie.
        prefix: what their names begin with, before the step.
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
        found: dict[int, pathlib.Path] = {}
        for name in names_in(self.directory):
            match = _NAME.fullmatch(name)
            if match and name.startswith(self.prefix):
                digits = name[len(self.prefix) :].removesuffix(SUFFIX)
                # A longer prefix, as in `checkpoint_best_3`, is another history.
                is_step = digits.isascii() and digits.isdecimal() and str(int(digits)) == digits
                counts = is_step and (int(digits) not in found or match["suffix"])
                if counts and _owner(self.directory / name, self.prefix) == self.prefix:
                    found[int(digits)] = self.directory / name
        return dict(sorted(found.items()))

    def path(self, step: int) -> pathlib.Path:
        """Return where our file of a step lies."""
        return self.directory / f"{self.prefix}{step}{SUFFIX}"

    def other_owner(self, step: int) -> str | None:
        """Return another prefix whose checkpoint lies where one of this step would; or None."""
        there = filter(os.path.lexists, (self.path(step), self.spread_path(step)))
        owners = {_owner(path, self.prefix) for path in there} - {self.prefix}
        return min(owners, default=None)

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
        present = ", ".join(map(str, paths)) if paths else "none"
        raise CheckpointNotFoundError(
            f"{self.directory}: {what} under the prefix {self.prefix!r}; steps present: {present}"
        )

    def spread_path(self, step: int) -> pathlib.Path:
        """Return where the directory of a step lies that several processes have written.

        What flax and Orbax write lies there too.
        """
        return self.directory / f"{self.prefix}{step}"

    def step_of(self, path: pathlib.Path) -> int:
        """Return the step of what `paths` has found."""
        return int(path.name[len(self.prefix) :].removesuffix(SUFFIX))

    def places(self, step: int) -> list[pathlib.Path]:
        """Return where something of a step may lie that is a checkpoint's, in any format."""
        ours, foreign = self.path(step), self.spread_path(step)
        # The last is what flax wrote beside its file for arrays of several processes.
        beside = foreign.with_name(f"{foreign.name}_gda")
        places = [ours, *([foreign] if _may_be_checkpoint(foreign) else [])]
        return [*(path for path in places if _owner(path, self.prefix) == self.prefix), beside]

    def remove(self, step: int) -> None:
        """Remove what lies there for a step, in every format."""
        for place in self.places(step):
            _freeing.remove_soon(place)


def _owner(path: pathlib.Path, prefix: str) -> str:
    """Return the prefix of a checkpoint by whose name it may be another one than a given prefix.

    Of what others have written, nobody can tell.
    """
    name = path.name.removesuffix(SUFFIX)
    shortest = name.rstrip("0123456789")
    is_certain = prefix == shortest and len(name) == len(prefix) + 1
    is_file, description = path.name.endswith(SUFFIX), path / _orbax_description.FILE
    if is_certain or not (is_file or description.exists()):
        return prefix
    told = _header.prefix_in(path) if is_file else _orbax_description.prefix_in(description)
    # Somebody may have renamed the file.
    fits = told is not None and re.fullmatch(rf"{re.escape(told)}[0-9]+", name, re.DOTALL)
    return told if told is not None and fits else shortest


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
            found.add(_owner(directory / name, match["prefix"]))
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
