"""Board: what the page asks for, answered from the files as they are now."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from fifteen.experiments import Experiments, ExpressionError, FifteenError, _console
from fifteen.experiments._experiments import experiments_of
from fifteen.experiments._fields import BUILT_IN, SHOWN_STATISTICS, Fields
from fifteen.experiments._missing import Missing
from fifteen.experiments._values import to_plain
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.storage import Directory
from fifteen.view._columns import best_of

from ._encoding import SMOOTHING, Answer, Sampling, details_of, encode_curves
from ._runs import grouping, groups, read_scalars, reader_of

_BUILT_IN = [name for name in BUILT_IN if name != "age"]
_SHOWN_BUILT_IN = {"name", "status", "step"}
_MAX_SHOWN_FIELDS = 6
_MAX_SHOWN_TAGS = 4
_MAX_GROUPING_FIELDS = 20
_MAX_READERS = 128
_MAX_TEXT = 300
_WAIT = 0.4
"""Seconds between two looks at all files, which may take no more than a fifth of the time."""


class Board:
    """Answer what the page asks from the files; those that the page draws are looked at most often.

    Args:
        find: returns the experiments that there are now.
        choose: returns those of them that are shown, in order.
        title: what the page is called.
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
        self._stamps: dict[str, object] = {}
        self._versions: dict[str, int] = {}
        self._version = 0
        self._columns: list[Answer] = []
        self._next_look = 0.0
        # The readers of the curves that are shown, so that only what is new is read.
        self._readers: dict[str, EventReader] = {}
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
            parts = self._members(over) if over else {}
            answer: Answer = {}
            for name in runs:
                members = [run for run in parts.get(name, [name]) if run in self._runs]
                scalars = [self._reader(run).scalars() for run in members]
                answer[name] = encode_curves(scalars, tags, sampling)
            return answer

    def details(self, name: str) -> Answer:
        """Return a run's histograms, texts and images, and what could not be read."""
        with self._alone():
            run = self._runs.get(name)
            return {} if run is None else details_of(run, self._reader(name))

    def _shown(self) -> Experiments:
        return experiments_of(self._runs.values())

    def _look(self) -> None:
        """Read again what has changed on disk."""
        start = time.monotonic()
        version = self._version + 1
        if start < self._next_look:
            drawn = [self._known[name] for name in self._readers if name in self._known]
            changed = {self._read(Fields(run.path, run.name), version) for run in drawn}
            if True not in changed:
                return
        else:
            known, self._known = self._known, {}
            try:
                found = self._find().fields
            except (FifteenError, OSError):  # The root has been removed.
                found = []
            for run in found:
                if run.name not in known:
                    self._stamps.pop(run.name, None)  # It may have been away for a while.
                if not self._read(run, version) and run.name in known:
                    self._known[run.name] = known[run.name]
            taken = time.monotonic() - start
            self._next_look = time.monotonic() + max(_WAIT, 4 * taken)
        self._show(version)

    def _show(self, version: int) -> None:
        all_runs = experiments_of(self._known.values())
        try:
            shown = self._choose(all_runs).fields
        except ExpressionError:  # No experiment is left that has what was asked for.
            shown = []
        last, self._runs = list(self._runs), {run.name: run for run in shown}
        if last != list(self._runs) or version in self._versions.values():
            self._version = version

    def _read(self, run: Fields, version: int) -> bool:
        """Read a run unless nothing has changed since it was read last."""
        try:
            directory = Directory(run.path)
            stamp = (directory.usage(), directory.open_state())
        except OSError:  # It was removed since.
            return False
        if stamp == self._stamps.get(run.name):
            return False
        self._stamps[run.name], self._versions[run.name] = stamp, version
        reader = self._readers.get(run.name) or reader_of(run)
        read_scalars(run, reader)
        run.problems += reader.problems.values()
        self._known[run.name] = run
        return True

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

    def _members(self, over: str) -> dict[str, list[str]]:
        runs = self._shown()
        return members_of(list(self._runs), groups(runs, grouping(runs.differing_fields(), over)))

    def _reader(self, name: str) -> EventReader:
        reader = self._readers.pop(name, None) or reader_of(self._known[name])
        self._readers[name] = reader
        while len(self._readers) > _MAX_READERS:
            del self._readers[next(iter(self._readers))]
        return reader


def members_of(names: Sequence[str], numbers: Sequence[int]) -> dict[str, list[str]]:
    """Return the runs of each run's group."""
    parts: dict[int, list[str]] = {}
    for name, number in zip(names, numbers, strict=True):
        parts.setdefault(number, []).append(name)
    return {name: parts[number] for name, number in zip(names, numbers, strict=True)}


def table_of(runs: Experiments, title: str) -> Answer:
    """Return columns, rows and groups of runs."""
    tables = [run.metadata() for run in runs.fields]
    fields = list(dict.fromkeys(key for table in tables for key in table))
    tags = sorted({tag for run in runs.fields for tag in run.scalars})
    differing = runs.differing_fields()
    shown = set(differing[:_MAX_SHOWN_FIELDS]) | _SHOWN_BUILT_IN
    informative = sorted(tags, key=lambda tag: (not best_of(tag), tag))[:_MAX_SHOWN_TAGS]
    columns = [{"name": name, "kind": "built-in", "shown": name in shown} for name in _BUILT_IN]
    columns += [{"name": name, "kind": "field", "shown": name in shown} for name in fields]
    columns += [
        {"name": f"{tag}:{what}", "kind": "scalar", "shown": what == "last" and tag in informative}
        for tag in tags
        for what in SHOWN_STATISTICS
    ]
    rows: Answer = {}
    for run, table in zip(runs.fields, tables, strict=True):
        values = [run.value(name) for name in _BUILT_IN] + [table.get(name) for name in fields]
        for tag in tags:
            found = run.scalars.get(tag)
            values += [found and getattr(found, what) for what in SHOWN_STATISTICS]
        rows[run.name] = [_plain(value) for value in values]
    return {
        "title": title,
        "columns": columns,
        "rows": rows,
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
