"""Board: what the page asks for, answered from the files as they are now."""

import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any

from fifteen.experiments import Experiments, ExpressionError, FifteenError, _console
from fifteen.experiments._experiments import experiments_of
from fifteen.experiments._fields import Fields
from fifteen.experiments._missing import Missing
from fifteen.experiments._tables import tables_of, tag_of
from fifteen.experiments._values import differ, to_plain

from ._columns import by_information
from ._encoding import SMOOTHING, Answer, Sampling, details_of, encode_curves
from ._follower import Follower, read_scalars, reader_of
from ._runs import grouping, groups, members_of

_SHOWN_BUILT_IN = {"name", "status", "step"}
_MAX_SHOWN_FIELDS = 6
_MAX_SHOWN_TAGS = 4
_MAX_GROUPING_FIELDS = 20
_MAX_TEXT = 300
_WAIT = 0.4
"""Seconds between two looks at all files, which may take no more than a fifth of the time."""


class Board:
    """Answer what the page asks from the files; those that the page draws are looked at most often.

    `find` returns the experiments that there are now, and `choose` those that are shown, in order.
    """

    def __init__(
        self,
        find: Callable[[], Experiments],
        choose: Callable[[Experiments], Experiments],
        title: str,
    ) -> None:
        self.title = title
        self._find = find
        self._choose = choose
        self._known: dict[str, Fields] = {}
        self._runs: dict[str, Fields] = {}  # Those of them that are shown.
        self._versions: dict[str, int] = {}
        self._version = 0
        self._columns: list[Answer] = []
        self._next_look = 0.0
        self._follower = Follower()  # Its readers are those of the curves that are drawn.
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        with self._lock, _console.quiet():  # The page shows what cannot be read.
            yield

    def table(self, since: int = 0) -> Answer:
        """Return all runs, but values only of those that have changed since a version."""
        with self._alone():
            self._look()
            if since == self._version:
                return {"version": self._version}
            return self._table(since)

    def where(self, expression: str) -> Answer:
        """Return the names of the runs of which an expression is true, or what is wrong with it."""
        with self._alone():
            try:
                return {"runs": [run.name for run in self._shown().where(expression).fields]}
            except ExpressionError as error:
                return {"error": str(error)}

    def curves(
        self, runs: Sequence[str], tags: Sequence[str], over: str, sampling: Sampling
    ) -> Answer:
        """Return the curves of runs by run and tag; with `over`, of each run's whole group."""
        with self._alone():
            shown = self._shown()
            keys = grouping(shown.differing_fields(), over) if over else []
            numbers = groups(shown, keys) if over else range(len(shown))
            members = members_of(self._runs.values(), numbers)
            number_of = dict(zip(self._runs, numbers, strict=True))
            answer: Answer = {}
            for name in runs:
                group = members[number_of[name]] if name in number_of else []
                scalars = [self._follower.reader(run).scalars() for run in group]
                answer[name] = encode_curves(scalars, tags, sampling)
            return answer

    def details(self, name: str) -> Answer:
        """Return a run's histograms, texts and images, and what could not be read."""
        with self._alone():
            run = self._runs.get(name)
            return {} if run is None else details_of(run, self._follower.reader(run))

    def _shown(self) -> Experiments:
        return experiments_of(self._runs.values())

    def _look(self) -> None:
        """Read again what has changed on disk."""
        start = time.monotonic()
        is_complete = start >= self._next_look
        found: list[Fields] = []
        with contextlib.suppress(FifteenError, OSError):  # The root has been removed.
            found = self._find().fields if is_complete else self._drawn()
        try:
            with self._follower.looking(found) as looked:
                read = map(self._read, looked, found)
                runs = {run.name: run for run in read if run is not None}
        except OSError:  # The network is gone; what was found stays.
            return
        changed = [name for name, run in runs.items() if run is not self._known.get(name)]
        if is_complete:
            self._known = runs
            taken = time.monotonic() - start
            self._next_look = time.monotonic() + max(_WAIT, 4 * taken)
        elif not changed:
            return
        self._known |= runs
        version = self._version + 1
        self._versions |= dict.fromkeys(changed, version)
        try:
            shown = self._choose(experiments_of(self._known.values())).fields
        except ExpressionError:  # No experiment is left that has what was asked for.
            shown = []
        last, self._runs = list(self._runs), {run.name: run for run in shown}
        if changed or last != list(self._runs):
            self._version = version

    def _drawn(self) -> list[Fields]:
        readers = self._follower.readers
        return [Fields(run.path, run.name) for run in self._known.values() if run.path in readers]

    def _read(self, run: Fields | None, found: Fields) -> Fields | None:
        if run is not None and run is found:
            reader = self._follower.readers.get(run.path) or reader_of(run)
            read_scalars(run, reader)
            run.problems += reader.problems.values()
        return run

    def _table(self, since: int) -> Answer:
        answer = table_of(self._shown(), self.title)
        if answer["columns"] != self._columns:
            # The position of a value in a row has changed.
            self._columns = answer["columns"]
            self._versions = dict.fromkeys(self._versions, self._version)
        answer["version"] = self._version
        for name in list(answer["rows"]):
            if self._versions[name] <= since:
                del answer["rows"][name]
        return answer


def table_of(runs: Experiments, title: str) -> Answer:
    kinds = tables_of(runs.fields)
    differing = [name for name, values in kinds["field"].items() if differ(values)]
    tags = sorted(set(map(tag_of, kinds["scalar"])))
    counts = Counter(tag for run in runs.fields for tag in run.last)
    informative = by_information(counts)[:_MAX_SHOWN_TAGS]
    shown = {*_SHOWN_BUILT_IN, *differing[:_MAX_SHOWN_FIELDS]}
    shown |= {f"{tag}:last" for tag in informative}
    values = [own for columns in kinds.values() for own in columns.values()]
    return {
        "title": title,
        "columns": [
            {"name": name, "kind": kind, "shown": name in shown}
            for kind, columns in kinds.items()
            for name in columns
        ],
        "rows": {
            run.name: list(map(_plain, row))
            for run, row in zip(runs.fields, zip(*values, strict=True), strict=True)
        },
        "order": [run.name for run in runs.fields],
        "tags": tags,
        "informative": informative,
        "problems": {run.name: run.problems for run in runs.fields if run.problems},
        "smoothing": SMOOTHING,
        "groups": {
            field: numbers
            for field in differing[:_MAX_GROUPING_FIELDS]
            if len(set(numbers := groups(runs, grouping(differing, field)))) < len(numbers)
        },
    }


def _plain(value: Any) -> Any:
    """Return what JSON has for a value; NaN and what is infinite as text."""
    if isinstance(value, Missing):
        return str(value) or None
    value = to_plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)[:_MAX_TEXT]
