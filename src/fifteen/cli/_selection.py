"""Selection: the experiments that a command is about."""

import dataclasses
import glob
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ._errors import CommandError
from ._types import OptionalInt, OptionalText, Texts

if TYPE_CHECKING:
    from fifteen.experiments import Experiment, Experiments


@dataclasses.dataclass(frozen=True)
class Selection:
    """Say which experiments a command is about, and in which order."""

    roots: Annotated[
        Positional[Texts], arg(metavar="[DIR|ROOT|GLOB ...]", help_behavior_hint="")
    ] = ()
    """Experiments, directories above them, or globs; by default the current directory."""
    where: Annotated[OptionalText, arg(metavar="EXPRESSION", help_behavior_hint="")] = None
    """Only those of which this is true, such as 'config.lr < 0.1 and min(train/loss) < 0.5'."""
    sort: Annotated[OptionalText, arg(metavar="NAME", help_behavior_hint="")] = None
    """What to sort by: a field, a scalar or an expression. Those that lack it come last."""
    reverse: Annotated[bool, arg(help_behavior_hint="")] = False
    """Sort in descending order."""
    limit: Annotated[OptionalInt, arg(metavar="N", help_behavior_hint="")] = None
    """Only the first N."""

    def __str__(self) -> str:
        """Name the roots."""
        return " ".join(self.roots or (os.curdir,))

    def find(self) -> "Experiments":
        """Return the experiments.

        Raises:
            CommandError: a root is not there, or `limit` is below 1.
            ExpressionError: `where` or `sort` cannot be read, or names what no experiment has.
        """
        found = find_all(self.roots)
        return self.choose(found if self.where is None and self.sort is None else found.load())

    def choose(self, found: "Experiments") -> "Experiments":
        """Return those of some experiments that are asked for, in order.

        Raises:
            CommandError, ExpressionError: as `find`.
        """
        if self.limit is not None and self.limit < 1:
            raise CommandError(f"--limit: expected at least 1, found {self.limit}")
        if self.where is not None:
            found = found.where(self.where)
        if self.sort is not None or self.reverse:
            found = found.sort(self.sort or "name", reverse=self.reverse)
        return found if self.limit is None else found[: self.limit]

    def find_some(self) -> "Experiments":
        """Return the experiments, of which there is at least one.

        Raises:
            CommandError: there is none.
        """
        found = self.find()
        if not found:
            raise CommandError(self.advice())
        return found

    def advice(self) -> str:
        """Say what to do if nothing is found."""
        if self.where is not None:
            return (
                f"no experiment below {self} is one of which {self.where!r} is true; ask for less"
            )
        return f"no experiments below {self}; pass a directory that is one, or has some below it"


def find_all(roots: Sequence[str]) -> "Experiments":
    """Return the experiments below directories and globs, each of them once."""
    from fifteen.experiments import Experiments, find_experiments

    if len(roots) <= 1 and not (roots and _is_glob(roots[0])):
        return find_experiments(*roots or (os.curdir,))
    paths = [path for root in roots for path in (_expand(root) if _is_glob(root) else [root])]
    found = [experiment for path in paths for experiment in find_experiments(path)]
    return Experiments({experiment.data_dir: experiment for experiment in found}.values())


def _is_glob(root: str) -> bool:
    return glob.has_magic(root) and not pathlib.Path(root).exists()


def _expand(pattern: str) -> list[str]:
    paths = [path for path in sorted(glob.glob(pattern)) if pathlib.Path(path).is_dir()]
    if not paths:
        raise CommandError(f"{pattern}: no directory matches this pattern; try it with `ls -d`")
    return paths


def open_experiment(directory: str | pathlib.Path) -> "Experiment":
    """Return the experiment in a directory.

    Raises:
        ExperimentNotFoundError: there is none.
    """
    from fifteen.experiments import Experiment

    return Experiment(directory, verbose=False).assert_exists()


def matching(patterns: Sequence[str], names: Iterable[str], what: str) -> list[str]:
    """Return the names that match any of the patterns, in their own order.

    Raises:
        CommandError: a pattern matches nothing; says what there is.
    """
    from fifteen.experiments._names import enumerate_names, matches

    names = list(names)
    chosen, idle = matches(patterns, names)
    if idle:
        raise CommandError(f"no {what} is called {idle[0]!r}; known: {enumerate_names(names)}")
    return chosen
