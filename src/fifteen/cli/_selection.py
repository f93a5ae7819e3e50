"""Selection: the experiments that a command is about."""

import dataclasses
import glob
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from fifteen.experiments import Experiment, Experiments, find_experiments
from fifteen.experiments._expression import Expression
from fifteen.experiments._fields import Fields, lookups_of
from fifteen.experiments._local_path import local_path
from fifteen.experiments._missing import UNREADABLE
from fifteen.experiments._walk import holds_experiment, natural
from fifteen.experiments.storage import Directory

from ._arguments import OptionalInt, OptionalText, Texts
from ._errors import CommandError, print_message

_ADDRESS = re.compile(r"(?!https?:)[\w+.-]+://")
"""What a root in an object store begins with, and neither a sentence nor a link to a page does."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Say which experiments a command is about, and in which order."""

    roots: Annotated[
        Positional[Texts], arg(metavar="[DIR|ROOT|GLOB ...]", help_behavior_hint="")
    ] = ()
    """experiments, directories above them, or globs; by default the current directory."""
    where: Annotated[OptionalText, arg(metavar="EXPRESSION", help_behavior_hint="")] = None
    """only those of which this is true, such as 'config.lr < 0.1 and min(train/loss) < 0.5'."""
    sort: Annotated[OptionalText, arg(metavar="NAME", help_behavior_hint="")] = None
    """what to sort by: a field, a scalar or an expression; those that lack it come last."""
    reverse: Annotated[bool, arg(help_behavior_hint="")] = False
    """sort in descending order."""
    limit: Annotated[OptionalInt, arg(metavar="N", help_behavior_hint="")] = None
    """only the first N."""

    def __str__(self) -> str:
        """Name the roots."""
        return " ".join(self.roots or (os.curdir,))

    def find(self, each: bool = False) -> Experiments:
        """Return the experiments.

        With `each`, one that is named stands for itself, without those inside it, and a directory
        above some is taken only if `where` or `limit` chooses from them.
        """
        found = self._named() if each else find_all(self.roots)
        chosen = self.choose(found if self.where is None and self.sort is None else found.load())
        if self.where is not None:
            _warn_of_unreadable(self.where, found.fields, set(chosen.fields))
        return chosen

    def choose(self, found: Experiments) -> Experiments:
        """Return those of some experiments that are asked for, in order."""
        if self.limit is not None and self.limit < 1:
            raise CommandError(f"--limit: expected at least 1, found {self.limit}")
        if self.where is not None:
            found = found.where(self.where)
        if self.sort is not None or self.reverse:
            found = found.sort(self.sort or "name", reverse=self.reverse)
        return found if self.limit is None else found[: self.limit]

    def find_some(self, each: bool = False) -> Experiments:
        """Return the experiments, of which there is at least one; see `find`."""
        found = self.find(each)
        if not found:
            raise CommandError(self.advice())
        return found

    def _named(self) -> Experiments:
        roots = self.roots or (os.curdir,)
        is_chosen = self.where is not None or self.limit is not None
        held: list[Experiment] = []
        top = None
        for root in roots:
            is_pattern = _is_glob(root)
            for path in map(local_path, _expand(root)):
                if (is_chosen or is_pattern) and not holds_experiment(path):
                    held += find_experiments(path)
                    # So that they have the same names as in `list`.
                    top = path if len(roots) == 1 and not is_pattern else None
                else:
                    held.append(Experiment(path, verbose=False).assert_exists())
        return Experiments({one.data_dir: one for one in held}.values(), top)

    def find_to_change(self, each: bool = False) -> tuple[list[Fields], bool]:
        """Return the experiments that a command may change, and whether none was left out.

        What `where` or `sort` could not read may be what would have spared an experiment.
        """
        fields = self.find_some(each).fields
        for field in fields:
            if field.unreadable:
                print_message(
                    "error",
                    f"{field.path}: stays as it is, since it was chosen by what cannot be "
                    f"read: {field.problems[0]}",
                )
            if field.name == os.curdir:  # Which says nothing of the one that is named.
                field.name = field.path.name
        certain = [field for field in fields if not field.unreadable]
        return certain, len(certain) == len(fields)

    def split(self) -> "tuple[Selection, list[str]]":
        """Return the selection without the texts among its roots, and those."""
        roots = [
            name
            for name in self.roots
            if name and (_ADDRESS.match(name) or pathlib.Path(name).is_dir() or glob.glob(name))
        ] or list(self.roots[:1])
        texts = [name for name in self.roots if name not in roots]
        return dataclasses.replace(self, roots=tuple(roots)), texts

    def reach(self) -> Callable[[pathlib.Path], bool]:
        """Return a function of a real path: whether it is one of the roots, or below one.

        There a command may change what it finds. A link is followed only if it is itself a root,
        and not one of a glob.
        """
        found: set[pathlib.Path] = set()
        for root in self.roots or (os.curdir,):
            for path in (local_path(one, "root") for one in _expand(root)):
                found.add(place_of(path))
                if not _is_glob(root):
                    found.add(Directory(path).real_path())
        return lambda real: not found.isdisjoint((real, *real.parents))

    def advice(self) -> str:
        """Say what to do if nothing is found."""
        if self.where is not None:
            return f"{self.where!r} is true of no experiment below {self}; relax it"
        return f"no experiments below {self}; pass a directory that is one, or has some below it"


Chosen = Annotated[Selection, OmitArgPrefixes, arg(name="")]


def _warn_of_unreadable(where: str, fields: list[Fields], chosen: set[Fields]) -> None:
    """Say which experiments are left out because what an expression names cannot be read."""
    names = Expression(where).names
    left = [
        field
        for field, lookup in zip(fields, lookups_of(fields), strict=True)
        if field not in chosen and any(lookup(name, "value") is UNREADABLE for name in names)
    ]
    if left:
        count = f"--where: {len(left)} left out, because files cannot be read"
        print_message("warning", f"{count}, such as {left[0].problems[0]}")


def place_of(path: pathlib.Path) -> pathlib.Path:
    """Return where a name really is, whatever it leads to."""
    return Directory(path.parent).real_path() / path.name


def find_all(roots: Sequence[str]) -> Experiments:
    """Return the experiments below directories and globs, each of them once."""
    if len(roots) <= 1 and not (roots and _is_glob(roots[0])):
        return find_experiments(*map(checked, roots or (os.curdir,)))
    paths = [path for root in roots for path in _expand(root)]
    found = {field.path: field for path in paths for field in find_experiments(path).fields}
    experiments = Experiments([Experiment(path, verbose=False) for path in found])
    for field in experiments.fields:
        field.root = found[field.path].root  # It is listed once for all experiments below it.
    return experiments


def _is_glob(root: str) -> bool:
    return glob.has_magic(root) and "://" not in root and not pathlib.Path(root).exists()


def _expand(root: str) -> list[str]:
    if not _is_glob(root):
        return [checked(root)]
    paths = sorted(filter(os.path.isdir, glob.glob(root)), key=natural)
    if not paths:
        raise CommandError(f"{root}: no directory matches this pattern; try it with `ls -d`")
    return paths


def names_in_one_directory(fields: Iterable[Fields]) -> list[str]:
    """Return what experiments are called if all of them are put into one directory."""
    names = [field.path.name for field in fields]
    if twice := [name for name in names if names.count(name) > 1]:
        raise CommandError(f"several of them are called {twice[0]!r}; take one of these at a time")
    return names


def checked(path: str) -> str:
    """Return a path, which is not empty as that of a variable that is not set."""
    if not path:
        raise CommandError("expected a path, found an empty text; is a variable not set?")
    return path
