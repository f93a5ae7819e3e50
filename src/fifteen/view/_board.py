"""Board: what the page asks for, answered from the files as they are now."""

import base64
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fifteen.experiments import Experiments
from fifteen.experiments._fields import BUILT_IN, Fields, to_plain
from fifteen.experiments._missing import Missing
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.storage import Directory

from ._curves import downsample, limits, smoothed
from ._media import read_media
from ._options import Options
from ._runs import Scalars, draw_line, grouping, groups, read_scalars, reader_of

Answer = dict[str, Any]

SMOOTHING = (0, 0.6, 0.9, 0.99)
_BUILT_IN = [name for name in BUILT_IN if name != "age"]
_STATISTICS = ("last", "min", "max")
_SHOWN_BUILT_IN = {"name", "status", "step"}
_MAX_SHOWN_FIELDS = 6
_MAX_SHOWN_TAGS = 4
_MAX_GROUPING_FIELDS = 20
_MAX_READERS = 128
_MAX_HISTOGRAMS = 60
_MAX_TEXT = 300
_MAX_TEXT_SHOWN = 20_000
_WAIT = 0.4
"""Seconds between two looks at the files, which may take no more than a fifth of the time."""
_TELLING = ("loss", "acc", "reward", "return", "error", "score")


class Board:
    """Answer what the page asks; the files are looked at again at most every second.

    Args:
        find: returns the experiments that there are now.
        title: what the page is called.
    """

    def __init__(self, find: Callable[[], Experiments], title: str) -> None:
        self.title = title
        self._find = find
        self._runs: dict[str, Fields] = {}
        self._stamps: dict[str, object] = {}
        self._versions: dict[str, int] = {}
        self._version = 0
        self._columns: list[Answer] = []
        self._next_look = 0.0
        # The readers of the curves that are shown, so that only what is new is read.
        self._readers: dict[str, EventReader] = {}
        self._lock = threading.Lock()

    def table(self, since: int = 0) -> Answer:
        """Return all runs, but values only of those that have changed since a version."""
        with self._lock:
            self._look()
            if since == self._version:
                return {"version": self._version}
            return self._table(since)

    def curves(self, runs: Sequence[str], tags: Sequence[str], over: str, points: int) -> Answer:
        """Return the curves of runs by run and tag; with `over`, of each run's whole group."""
        with self._lock:
            parts = self._members(over) if over else {}
            answer: Answer = {}
            for name in runs:
                members = [run for run in parts.get(name, [name]) if run in self._runs]
                scalars = [self._reader(run).scalars() for run in members]
                answer[name] = encode_curves(scalars, tags, points)
            return answer

    def details(self, name: str) -> Answer:
        """Return a run's histograms, texts and images, and what could not be read."""
        with self._lock:
            run = self._runs.get(name)
            return {} if run is None else details_of(run, self._reader(name))

    def _look(self) -> None:
        """Read again what has changed on disk."""
        if time.monotonic() < self._next_look:
            return
        start = time.monotonic()
        found = {run.name: run for run in self._find().fields}
        version = self._version + 1
        changed = set(self._runs) != set(found)
        for name, run in found.items():
            try:
                directory = Directory(run.experiment.data_dir)
                stamp = (directory.usage(), directory.open_state())
            except OSError:  # It was removed since.
                continue
            if stamp != self._stamps.get(name):
                self._stamps[name], self._versions[name], changed = stamp, version, True
                read_scalars(run, self._readers.get(name))
            else:
                found[name] = self._runs[name]
        self._runs = found
        self._version = version if changed else self._version
        taken = time.monotonic() - start
        self._next_look = time.monotonic() + max(_WAIT, 4 * taken)

    def _table(self, since: int) -> Answer:
        runs = Experiments._of(self._runs.values())  # pyright: ignore[reportPrivateUsage]
        answer = table_of(runs, self.title)
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
        runs = Experiments._of(self._runs.values())  # pyright: ignore[reportPrivateUsage]
        return members_of(list(self._runs), groups(runs, grouping(runs.differing_fields(), over)))

    def _reader(self, name: str) -> EventReader:
        reader = self._readers.pop(name, None) or reader_of(self._runs[name])
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
    telling = sorted(tags, key=_how_telling)[:_MAX_SHOWN_TAGS]
    columns = [{"name": name, "kind": "built-in", "shown": name in shown} for name in _BUILT_IN]
    columns += [{"name": name, "kind": "field", "shown": name in shown} for name in fields]
    columns += [
        {"name": f"{tag}:{what}", "kind": "scalar", "shown": what == "last" and tag in telling}
        for tag in tags
        for what in _STATISTICS
    ]
    rows: Answer = {}
    for run, table in zip(runs.fields, tables, strict=True):
        values = [run.value(name) for name in _BUILT_IN] + [table.get(name) for name in fields]
        for tag in tags:
            found = run.scalars.get(tag)
            values += [found and getattr(found, what) for what in _STATISTICS]
        rows[run.name] = [_plain(value) for value in values]
    return {
        "title": title,
        "columns": columns,
        "rows": rows,
        "order": [run.name for run in runs.fields],
        "tags": tags,
        "telling": telling,
        "problems": {run.name: run.problems for run in runs.fields if run.problems},
        "smoothing": SMOOTHING,
        "groups": {
            field: numbers
            for field in differing[:_MAX_GROUPING_FIELDS]
            if len(set(numbers := groups(runs, grouping(differing, field)))) < len(numbers)
        },
    }


def _how_telling(tag: str) -> tuple[int, str]:
    for rank, word in enumerate(_TELLING):
        if word in tag.lower():
            return rank, tag
    return len(_TELLING), tag


def encode_curves(scalars: Sequence[Scalars], tags: Sequence[str], points: int) -> Answer:
    """Return the curves of a run, or the means of a group, smoothed in each way, by tag."""
    answer: Answer = {}
    for tag in tags:
        raw = draw_line(scalars, tag, Options())
        if raw is None:
            continue
        levels = [smoothed(raw, weight) for weight in SMOOTHING]
        # All ways of smoothing at the same places, so that they need the x axis only once.
        kept = np.isin(raw.x, downsample(raw, points).x)
        answer[tag] = {
            "step": encode(raw.x[kept], "<f8"),
            "y": [encode(level.y[kept], "<f4") for level in levels],
            "limits": limits({"": raw}),
            "diverged": raw.diverged_at,
            "count": raw.count,
        }
        if raw.low is None:
            series = next(one[tag] for one in scalars if tag in one)
            start = min(float(curve.wall_time[0]) for curve in scalars[0].values())
            answer[tag]["time"] = encode(series.wall_time[kept] - start, "<f4")
        else:
            for name in ("low", "high"):
                answer[tag][name] = [encode(getattr(level, name)[kept], "<f4") for level in levels]
    return answer


def details_of(run: Fields, reader: EventReader) -> Answer:
    """Return what the page shows of a single run."""
    histograms: Answer = {}
    for tag, series in reader.histograms().items():
        count = len(series)
        chosen = np.unique(np.linspace(0, count - 1, min(count, _MAX_HISTOGRAMS)).round())
        histograms[tag] = [
            {
                "step": int(series.step[number]),
                "edges": encode(series.edges[number], "<f8"),
                "counts": encode(series.counts[number], "<f4"),
            }
            for number in chosen.astype(int).tolist()
        ]
    texts, images = read_media(run.experiment.data_dir)
    return {
        "path": str(run.experiment.data_dir),
        "histograms": histograms,
        "texts": [(tag, step, text[:_MAX_TEXT_SHOWN]) for tag, step, text in texts],
        "images": images,
    }


def encode(values: npt.NDArray[Any], dtype: str) -> str:
    """Return the bytes of an array in base64."""
    return base64.b64encode(values.astype(dtype).tobytes()).decode("ascii")


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
