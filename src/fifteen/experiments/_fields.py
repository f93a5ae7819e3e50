"""Fields: the values of an experiment, by the names that users give."""

import functools
import itertools
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fifteen._text import encodable, message_of

from ._discovery import Contents, Summary, contents_of
from ._errors import ExperimentNotFoundError, ExpressionError, MetadataError
from ._expression import STATISTICS, Lookup, statistic_of
from ._missing import ABSENT, UNREADABLE
from ._names import ending_in, has_ending
from ._status import Status, status_of
from ._values import showable, to_plain
from .events.reading import Ends, EventReader, Timeline, diverged_at, read_ends
from .metadata import flatten_file
from .storage import Directory, OpenState

if TYPE_CHECKING:
    from ._experiment import Experiment
    from .events import ScalarSeries

PROVENANCE = "provenance"
"""The metadata that say where a run comes from: long, and different in each run."""

NOTES = "notes"
"""The metadata that people write beside a run."""

SHOWN_STATISTICS = ("last", "min", "max")
"""What tables show of a curve."""

_WINDOWS = 1 << 19, 1 << 24
_LATELY_SECONDS = 300

TOTALS = ("steps", "num_steps", "total_steps", "max_steps")
"""Fields of any metadata that say how many steps are planned."""

_BUILT_IN: dict[str, Callable[["Fields", Summary], Any]] = {
    "name": lambda field, _: field.name,
    "status": lambda field, _: field.status.state,
    "step": lambda _, summary: summary.latest_step,
    "progress": lambda field, _: field.progress,
    "elapsed": lambda field, _: field.elapsed,
    "speed": lambda field, _: field.speed,
    "diverged_at": lambda field, _: field.diverged_at,
    "checkpoints": lambda _, summary: sum(map(len, summary.checkpoints.values())),
    "size": lambda _, summary: summary.size,
    "age": lambda _, summary: max(0.0, time.time() - summary.modified),
    "changed": lambda _, summary: summary.modified,
    "tags": lambda field, _: field.note("tags"),
    "note": lambda field, _: field.note("note"),
}

BUILT_IN = tuple(_BUILT_IN)
"""Names of values that every experiment has. They come before fields and scalars of that name."""


class Statistics(NamedTuple):
    """The statistics of a curve; the smallest, largest and mean number are NaN if there is none."""

    len: int
    step: int
    first: float
    last: float
    min: float
    max: float
    mean: float

    @classmethod
    def of(cls, curve: "ScalarSeries") -> "Statistics":
        """Return the statistics of a curve with at least one point."""
        value = numbers = curve.value
        with np.errstate(invalid="ignore", over="ignore"):
            # The difference of infinities is NaN too.
            if math.isnan(np.add.reduce(value)) and not np.isnan(value).all():
                numbers = value[~np.isnan(value)]
            return cls(
                len=len(value),
                step=int(curve.step[-1]),
                first=float(value[0]),
                last=float(value[-1]),
                min=float(np.minimum.reduce(numbers)),
                max=float(np.maximum.reduce(numbers)),
                mean=float(np.add.reduce(numbers) / len(numbers)),
            )


class Fields:
    """The values of an experiment, read on first use and kept.

    Of curves, only the statistics and the ends are kept. The `root` is the directory below which
    the experiment was found, and `total` how many steps are planned if the metadata do not say it.
    """

    def __init__(
        self, path: pathlib.Path, name: str, experiment: "Experiment | None" = None
    ) -> None:
        self.path = self.root = path
        self.name = encodable(name)
        self.experiment = experiment  # Made once somebody asks for it.
        self.total: float | None = None
        self._directory = Directory(path)
        self.problems: list[str] = []  # A line for each thing that could not be read.
        self._metadata: dict[str, dict[str, Any]] = {}
        self.unreadable: set[str] = set()  # The names of metadata.

    @functools.cached_property
    def contents(self) -> Contents | None:
        """The summary without its path, which takes longer to send to a process than the rest."""
        try:
            with self._directory.listed():
                return contents_of(self.path, self.timeline.last_step)
        except (ExperimentNotFoundError, OSError) as error:
            self.problems.append(message_of(error))
            return None

    @functools.cached_property
    def summary(self) -> Summary | None:
        """A summary by names and the ends of files; None if the experiment has disappeared."""
        return self.contents and Summary(self.path, *self.contents)

    @functools.cached_property
    def metadata_names(self) -> list[str]:
        """The names of the metadata."""
        return self.summary.metadata if self.summary else []

    @functools.cached_property
    def own_metadata(self) -> list[str]:
        """The names of the metadata that describe the experiment."""
        return [name for name in self.metadata_names if name not in (PROVENANCE, NOTES)]

    def metadata(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Return the values of metadata by dotted names that begin with the metadata's name."""
        found = list(map(self._metadata_of, self.own_metadata if names is None else names))
        # Most experiments have one.
        return found[0] if len(found) == 1 else dict(itertools.chain(*map(dict.items, found)))

    @functools.cached_property
    def scalars(self) -> dict[str, Statistics]:
        """The statistics of all curves, by their tags."""
        curves = self.ends.curves if self.ends.is_complete else self.read_scalars()
        return {tag: Statistics.of(curve) for tag, curve in curves.items()}

    def read_scalars(self, tags: Iterable[str] | None = None) -> "dict[str, ScalarSeries]":
        """Read curves, without keeping them as the experiment's own reader does."""
        return EventReader(self._directory).scalars(tags)

    @functools.cached_property
    def open_state(self) -> OpenState:
        """Whether it is open; asked before it is read, since who has closed it has written all."""
        return self._directory.open_state()

    @functools.cached_property
    def ends(self) -> Ends:
        """The beginnings and the ends of the event files."""
        return read_ends(self._directory, _WINDOWS)

    @functools.cached_property
    def timeline(self) -> Timeline:
        """The times of its events, and how its script ended."""
        return self.ends.timeline

    @functools.cached_property
    def last(self) -> dict[str, float]:
        """The last values of the scalars, by their tags, except of one that is logged rarely."""
        return {tag: float(curve.value[-1]) for tag, curve in self.ends.curves.items()}

    @functools.cached_property
    def diverged_at(self) -> int | None:
        """The step from which on a scalar is only NaN or infinite."""
        bad = [tag for tag, value in self.last.items() if not math.isfinite(value)]
        if not bad or self.ends.is_complete:
            return diverged_at({tag: self.ends.curves[tag] for tag in bad})
        return diverged_at(self.read_scalars(bad))

    @functools.cached_property
    def status(self) -> Status:
        """Whether it is running, or how it has ended."""
        state = self.open_state
        written = self.summary.modified if self.summary else 0.0
        is_by_lease = self._directory.is_remote
        return status_of(state, self.timeline.end, self.diverged_at, written, is_by_lease)

    @property
    def elapsed(self) -> float | None:
        """The seconds from the first to the last event."""
        began, ended = self.timeline.first_time, self.timeline.last_time
        return None if began is None or ended is None else max(0.0, ended - began)

    @functools.cached_property
    def speed(self) -> float | None:
        """The steps per second in the last minutes."""
        curve = max(self.ends.curves.values(), key=len, default=None)
        if curve is None or len(curve) < 2:
            return None
        step, time = curve.step, curve.wall_time
        # Steps that are logged all at once have one time, so some before them count too.
        last, lately = time.searchsorted([time[-1], time[-1] - _LATELY_SECONDS]).tolist()
        start = max(0, min(lately, last - 1))
        seconds = float(time[-1] - time[start])
        return float(step[-1] - step[start]) / seconds if seconds > 0 else None

    @property
    def total_steps(self) -> float | None:
        """How many steps are planned, if it is known."""
        fields = self.metadata()
        named = [value for key, value in fields.items() if key.rpartition(".")[2] in TOTALS]
        numbers = [value for value in named if type(value) in (int, float)]
        total = next(iter(numbers), self.total)
        return total if total and 0 < total <= sys.float_info.max else None

    @property
    def progress(self) -> float | None:
        """The fraction of the planned steps that is done, from 0 to 1, if it is known."""
        step = None if self.summary is None else self.summary.latest_step
        total = self.total_steps
        # The last of n steps is n - 1 or n.
        return None if step is None or total is None else min(1.0, (step + 1) / total)

    @property
    def remaining(self) -> float | None:
        """The seconds that a running experiment still needs at that speed."""
        total, progress, speed = self.total_steps, self.progress, self.speed
        if self.status.state != "running" or total is None or progress is None or not speed:
            return None
        return total * (1 - progress) / speed

    def statistics(self) -> dict[str, float]:
        """Return the statistics that tables show, by names such as `loss:min`."""
        return {
            f"{tag}:{statistic}": getattr(found, statistic)
            for tag, found in self.scalars.items()
            for statistic in SHOWN_STATISTICS
        }

    def names(self) -> list[str]:
        """Return the names that `value` takes, except those in provenance and notes."""
        return [*self.metadata(), *self.scalars, *BUILT_IN]

    def value(self, name: str, wanted: str = "value") -> Any:
        """Return a value by its name; a `Missing` if there is none.

        A name is one of `BUILT_IN`, or the end of a dotted name in the metadata or of a scalar's
        tag, and may then be followed by what is wanted of a scalar: `loss:min`. By default that
        is its last value. It is an `ExpressionError` if several names end so.
        """
        if name in _BUILT_IN:
            found = self.name if name == "name" else UNREADABLE
            if self.summary is not None:
                found = _BUILT_IN[name](self, self.summary)
            found = ABSENT if found is None else found
            return found if wanted == "value" else statistic_of(found, wanted)
        value = self._field(name, self.metadata())
        if value is not ABSENT:
            return value if wanted == "value" else statistic_of(to_plain(value), wanted)
        head, _, tail = name.rpartition(":")
        if wanted == "value" and head and tail in STATISTICS:
            value = self._scalar(head, tail)
        if value is ABSENT:
            value = self._scalar(name, wanted)
        if value is ABSENT:
            more = [name for name in (PROVENANCE, NOTES) if name in self.metadata_names]
            value = self._field(name, self.metadata(more))
        if value is ABSENT and (self.unreadable or self.summary is None):
            return UNREADABLE
        return value

    def _field(self, name: str, values: dict[str, Any]) -> Any:
        key = ending_in(name, values, ".")
        return ABSENT if key is None else values[key]

    def _scalar(self, tag: str, wanted: str) -> Any:
        if wanted in ("value", "last"):
            found = ending_in(tag, self.last, "/")
            if found is not None:
                return self.last[found]
        found = ending_in(tag, self.scalars, "/")
        if found is None:
            return ABSENT
        return getattr(self.scalars[found], "last" if wanted == "value" else wanted)

    def note(self, name: str) -> Any:
        """Return a value of the notes, which users edit; tags as a list."""
        value = self.metadata([NOTES]).get(f"{NOTES}.{name}")
        if NOTES in self.unreadable:
            return UNREADABLE
        if name == "note" or isinstance(value, list):
            return value
        return [] if value is None else [value]

    def read_notes(self) -> None:
        """Read the notes ahead. Damage in them is a problem only of those who ask for them."""
        self._metadata_of(NOTES)
        if NOTES in self.unreadable:
            self.unreadable.remove(NOTES)
            self.problems.pop()
            del self._metadata[NOTES]

    def _metadata_of(self, name: str) -> dict[str, Any]:
        """Read a file as plain data, without its classes."""
        if name not in self._metadata and name in self.metadata_names:
            values: dict[str, Any] = {}
            try:
                values = flatten_file(self._directory, f"{name}.yaml")
            except (MetadataError, OSError) as error:
                self.unreadable.add(name)
                self.problems.append(message_of(error))
            head = encodable(name)
            self._metadata[name] = {
                f"{head}.{key}" if key else head: showable(value) for key, value in values.items()
            }
        return self._metadata.get(name, {})


def lookups_of(fields: Sequence[Fields]) -> list[Lookup]:
    """Return a lookup function for each experiment.

    A name that one of them has in full is not ambiguous in another, where several names end in it.
    A scalar of one is not unreadable in another whose metadata cannot be read.
    """

    @functools.cache
    def is_scalar(name: str) -> bool:
        tag = name.rpartition(":")[0] or name
        return (
            name not in BUILT_IN
            and any(has_ending(other.last, tag, "/") for other in fields)
            and not any(has_ending(other.metadata(), name, ".") for other in fields)
        )

    def lookup(field: Fields, name: str, wanted: str) -> Any:
        try:
            value = field.value(name, wanted)
            is_lacking = value is UNREADABLE and field.summary and is_scalar(name)
            return ABSENT if is_lacking else value
        except ExpressionError:
            if any(name in other.metadata() or name in other.last for other in fields):
                return ABSENT
            raise

    return [functools.partial(lookup, field) for field in fields]
