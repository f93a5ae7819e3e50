"""What an experiment holds, by the names that a command line uses for it."""

import dataclasses
import fnmatch
import functools
import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ._errors import CommandError, tell
from ._table import ABSENT, UNREADABLE, Missing, to_plain

if TYPE_CHECKING:
    from fifteen.experiments import Experiment, ScalarSeries

PROVENANCE = "provenance"
"""The metadata that say where a run comes from: long, and different in each run."""

Statistic = Literal["last", "min", "max"]
STATISTICS: tuple[Statistic, ...] = ("last", "min", "max")


def open_experiment(directory: pathlib.Path) -> "Experiment":
    """Return the experiment in a directory.

    Raises:
        ExperimentNotFoundError: there is none.
    """
    from fifteen.experiments import Experiment

    return Experiment(directory, verbose=False).assert_exists()


class Fields:
    """Read an experiment's metadata and scalars when they are first asked for."""

    def __init__(self, experiment: "Experiment") -> None:
        self.experiment = experiment
        self.unreadable: set[str] = set()
        """Metadata that could not be read."""
        self._metadata: dict[str, dict[str, Any]] = {}

    @functools.cached_property
    def metadata_names(self) -> list[str]:
        """The names of the metadata."""
        return self.experiment.metadata_names()

    def metadata(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the values of metadata by dotted names that begin with the metadata's name."""
        return {key: value for name in names for key, value in self._metadata_of(name).items()}

    @functools.cached_property
    def scalars(self) -> "dict[str, ScalarSeries]":
        """The curves by their tags."""
        # A handle that is not verbose would keep back its warnings of damaged files.
        return dataclasses.replace(self.experiment, verbose=True).read_scalars()

    def names(self) -> list[str]:
        """Return what `value` takes, but for the many fields of the provenance."""
        return [*self.metadata(self._own_metadata()), *self.scalars]

    def value(self, name: str) -> Any:
        """Return a value by its name; `ABSENT` or `UNREADABLE` if there is none.

        Args:
            name: the end of a dotted name in the metadata (`config.optimizer.lr`, `lr`), or of a
                scalar's tag (`train/loss`, `loss`), alone or followed by `:min`, `:max` or `:last`.

        Raises:
            CommandError: several names end so.
        """
        values = self.metadata(self._own_metadata())
        key = _ending_in(name, values, ".")
        if key is not None:
            return values[key]
        tag, _, wanted = name.rpartition(":")
        for known in STATISTICS:
            if wanted == known and (found := _ending_in(tag, self.scalars, "/")) is not None:
                return statistic(self.scalars[found], known)
        if (found := _ending_in(name, self.scalars, "/")) is not None:
            return statistic(self.scalars[found], "last")
        values = self.metadata([PROVENANCE])
        key = _ending_in(name, values, ".")
        if key is not None:
            return values[key]
        return UNREADABLE if self.unreadable else ABSENT

    def path_of(self, name: str) -> pathlib.Path:
        """Return the file of metadata."""
        return self.experiment.data_dir / f"{name}.yaml"

    def _own_metadata(self) -> list[str]:
        return [name for name in self.metadata_names if name != PROVENANCE]

    def _metadata_of(self, name: str) -> dict[str, Any]:
        """Read a file as plain data, whatever classes it was written from."""
        from fifteen.experiments import MetadataError, flatten

        if name in self.metadata_names and name not in self._metadata:
            values: dict[str, Any] = {}
            try:
                values = flatten(self.path_of(name))
            except (MetadataError, OSError) as error:
                self.unreadable.add(name)
                tell("error", error)
            self._metadata[name] = {
                f"{name}.{key}" if key else name: to_plain(value)
                if getattr(value, "ndim", 1) == 0
                else value
                for key, value in values.items()
            }
        return self._metadata.get(name, {})


def _ending_in(name: str, names: Iterable[str], separator: str) -> str | None:
    """Return the one of the names that is, or ends in, a name."""
    matches = [key for key in names if key == name or key.endswith(separator + name)]
    if name in matches:
        return name
    if len(matches) > 1:
        raise CommandError(f"{name!r} may be any of {', '.join(matches)}; write more of it")
    return matches[0] if matches else None


def sorted_by(rows: list[list[Any]], index: int, reverse: bool) -> list[list[Any]]:
    """Return rows in the order of a column.

    Numbers come before texts. Either way NaN comes after all values, then None, then what is
    missing.
    """
    from fifteen.experiments._walk import natural

    def rank(row: list[Any]) -> int:
        value = row[index]
        is_nan = isinstance(value, float) and math.isnan(value)
        return 3 if isinstance(value, Missing) else 2 if value is None else int(is_nan)

    def order(row: list[Any]) -> tuple[bool, Any]:
        value = row[index]
        is_number = isinstance(value, int | float)
        return not is_number, value if is_number else natural(to_plain(value))

    values = sorted((row for row in rows if not rank(row)), key=order, reverse=reverse)
    return values + sorted(filter(rank, rows), key=rank)


def statistic(curve: "ScalarSeries", wanted: Statistic) -> float:
    """Return the last, smallest or largest value of a curve; NaN is neither small nor large."""
    if wanted == "last":
        return float(curve.value[-1])
    numbers = curve.value[curve.value == curve.value]
    if not len(numbers):
        return float("nan")
    return float(numbers.min() if wanted == "min" else numbers.max())


def matching(patterns: Sequence[str], names: Iterable[str], what: str) -> list[str]:
    """Return the names that match any of the patterns, in their own order.

    Raises:
        CommandError: a pattern matches nothing; says what there is.
    """
    names = list(names)
    chosen: set[str] = set()
    for pattern in patterns:
        matches = [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            raise CommandError(
                f"no {what} is called {pattern!r}; there is: {enumerate_names(names)}"
            )
        chosen.update(matches)
    return [name for name in names if name in chosen]


def enumerate_names(names: Sequence[str]) -> str:
    """Write what there is to choose from, cut if it is long."""
    if not names:
        return "none at all"
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
