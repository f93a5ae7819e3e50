"""What an experiment holds, by the names that a command line uses for it."""

import contextlib
import fnmatch
import functools
import pathlib
import warnings
from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ._errors import CommandError
from ._table import ABSENT, to_plain

if TYPE_CHECKING:
    from fifteen.experiments import ScalarSeries

PROVENANCE = "provenance"
"""The metadata that say where a run comes from: long, and different in each run."""

Statistic = Literal["last", "min", "max"]
STATISTICS: tuple[Statistic, ...] = ("last", "min", "max")


class Fields:
    """Read an experiment's metadata and scalars when they are first asked for.

    Args:
        directory: the experiment's directory.

    Raises:
        ExperimentNotFoundError: there is no experiment.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        from fifteen.experiments import Experiment

        self.experiment = Experiment(directory).assert_exists()
        self.metadata_names = self.experiment.metadata_names()
        self.unreadable: set[str] = set()
        """Metadata that could not be read."""
        self._metadata: dict[str, dict[str, Any]] = {}

    def metadata(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the values of metadata by dotted names that begin with the metadata's name."""
        return {key: value for name in names for key, value in self._metadata_of(name).items()}

    @functools.cached_property
    def scalars(self) -> "dict[str, ScalarSeries]":
        """The curves by their tags."""
        with _unprinted():
            return self.experiment.read_scalars()

    def names(self) -> list[str]:
        """Return what `value` takes, but for the many fields of the provenance."""
        return [*self.metadata(self._own_metadata()), *self.scalars]

    def value(self, name: str) -> Any:
        """Return a value by its name, or `ABSENT`.

        Args:
            name: the end of a dotted name in the metadata (`config.optimizer.lr`, `lr`), or a
                scalar's tag, with `:min`, `:max` or `:last` behind it or nothing.

        Raises:
            CommandError: several names in the metadata end so.
        """
        values = self.metadata(self._own_metadata())
        key = _ending_in(name, values)
        if key is not None:
            return values[key]
        tag, _, wanted = name.rpartition(":")
        for known in STATISTICS:
            if wanted == known and tag in self.scalars:
                return statistic(self.scalars[tag], known)
        if name in self.scalars:
            return statistic(self.scalars[name], "last")
        if PROVENANCE in self.metadata_names:
            values = self.metadata([PROVENANCE])
            key = _ending_in(name, values)
        return ABSENT if key is None else values[key]

    def path_of(self, name: str) -> pathlib.Path:
        """Return the file of metadata."""
        return self.experiment.data_dir / f"{name}.yaml"

    def _own_metadata(self) -> list[str]:
        return [name for name in self.metadata_names if name != PROVENANCE]

    def _metadata_of(self, name: str) -> dict[str, Any]:
        """Read a file as plain data, whatever classes it was written from.

        What cannot be read is told of, and the rest goes on.
        """
        from fifteen.experiments import ExperimentWarning, MetadataError, flatten

        if name in self.metadata_names and name not in self._metadata:
            values: dict[str, Any] = {}
            try:
                values = flatten(self.path_of(name))
            except (MetadataError, OSError) as error:
                self.unreadable.add(name)
                warnings.warn(str(error), ExperimentWarning, stacklevel=2)
            self._metadata[name] = {
                f"{name}.{key}" if key else name: value
                if getattr(value, "ndim", 0)
                else to_plain(value)
                for key, value in values.items()
            }
        return self._metadata.get(name, {})


def _ending_in(name: str, names: Iterable[str]) -> str | None:
    """Return the one dotted name that is, or ends in, a name."""
    matches = [key for key in names if key == name or key.endswith(f".{name}")]
    if name in matches:
        return name
    if len(matches) > 1:
        raise CommandError(f"{name!r} may be any of {', '.join(matches)}; write more of it")
    return matches[0] if matches else None


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
    """Write what there is to choose from, cut where it is long."""
    if not names:
        return "none at all"
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


@contextlib.contextmanager
def _unprinted() -> Generator[None]:
    """Keep an experiment's lines out of our output, but let its warnings through.

    A handle that is not verbose would keep back the warnings too, and a damaged file is what the
    reader of a table has to know of.
    """
    with contextlib.redirect_stdout(None):
        yield
