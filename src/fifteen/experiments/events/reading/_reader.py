"""EventReader: the curves of one directory."""

import contextlib
import fnmatch
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import _console
from ..._errors import LogDataError
from ...storage import Directory
from .._series import HistogramSeries, ScalarSeries
from .._tfrecord import HEADER
from ._curve import Curve, Points, Starts, visible
from ._event_file import MALFORMED, EventFile, event_files
from ._timeline import Timeline, session_end
from ._values import Image, Text, parse, strings_of

_FILE_STEP = 1 << 44
"""More bytes than a file has: the position of an event is that of its file, times this, plus its
offset in the file."""
_MAX_NAMED = 10


class EventReader:
    """Read the event files of a directory, repeatedly while they grow.

    The files may be those of this package, flax, tensorboardX, PyTorch or TensorFlow. Points are
    never sampled. If a step was logged twice, the last write wins, and points that `rewind_logs`
    hides are left out. Damaged bytes are skipped with an `ExperimentWarning` that names file and
    place; an incomplete record at the end of a file is skipped silently.
    """

    def __init__(self, directory: Directory, window: int | None = None) -> None:
        """Read whole files, or once, without warnings, the ends of those larger than the window."""
        self._directory = directory
        self._window = window
        self.problems: dict[str, str] = {}
        """Problems found by the last read, by file name."""
        # Reentrant: a handler of warnings may read too.
        self._lock = threading.RLock()
        self._forget()

    @property
    def is_complete(self) -> bool:
        """Whether the files were read completely: none has a problem or exceeds the window."""
        window = self._window
        return window is None or (
            not self.problems and all(file.end <= window for file in self._files.values())
        )

    @property
    def timeline(self) -> Timeline:
        """The timeline of the files, as far as they have been read."""
        with self._lock:
            files = list(self._files.values())
            events = [file.last_event for file in files if file.last_event is not None]
            last = events[-1] if events else None
            curves = [curve for (kind, _), curve in self._curves.items() if kind in _SERIES]
            points = [curve.points for curve in curves if curve.count]
            last_points = [(p.position.max(), p.step[p.position.argmax()]) for p in points]
            return Timeline(
                min(files[0].first_times, default=None) if files else None,
                None if last is None else last.wall_time,
                int(max(last_points)[1]) if points else None,
                None if last is None else session_end(last),
            )

    def scalars(
        self, tags: Iterable[str] | None = None, *, warns: bool = False
    ) -> dict[str, ScalarSeries]:
        """Return a series for each tag, sorted by tag.

        In `tags`, `*` matches any text. `warns` makes missing tags a warning.
        """
        return self._series("scalars", tags, warns)

    def histograms(
        self, tags: Iterable[str] | None = None, *, warns: bool = False
    ) -> dict[str, HistogramSeries]:
        """Return a series for each tag; see `scalars`."""
        return self._series("histograms", tags, warns)

    def texts(self) -> dict[str, list[Text]]:
        """Return the texts of the last steps of each tag."""
        return {
            tag: [Text(step, time, data.decode(errors="replace")) for step, time, data in found]
            for tag, found in self._last("texts", 100).items()
        }

    def images(self) -> dict[str, list[Image]]:
        """Return the images of the last steps of each tag."""
        return self._last("images", 10)

    def _series(self, kind: str, tags: Iterable[str] | None, warns: bool) -> dict[str, Any]:
        with self._lock:
            curves = self._curves_of(kind, tags, warns)
            for curve in curves.values():
                if curve.series is None:
                    curve.series = _SERIES[kind](curve.points)
            return {tag: curve.series for tag, curve in curves.items()}

    def _last(self, kind: str, count: int) -> dict[str, list[Image]]:
        """Return the texts or images of the last events, which are read from the files again."""
        with self._lock:
            curves = self._curves_of(kind)
            names = list(self._files)
            found: dict[str, list[Image]] = {}
            for tag, curve in curves.items():
                images = found[tag] = []
                rows = (column[-count:].tolist() for column in curve.points)
                for position, step, wall_time, size in zip(*rows, strict=True):
                    number, offset = divmod(position, _FILE_STEP)
                    start = offset + HEADER.size
                    # The file may have been deleted or replaced.
                    with contextlib.suppress(OSError, *MALFORMED):
                        with self._directory.open(names[number]) as file:
                            event = parse(file.read(start, start + int(size)), {})
                        strings = strings_of(event, kind, tag)
                        images += [Image(step, wall_time, data) for data in strings]
            return found

    def _curves_of(
        self, kind: str, tags: Iterable[str] | None = None, warns: bool = False
    ) -> dict[str, Curve]:
        """Read new events; return the curves that match, sorted by tag."""
        if isinstance(tags, str):
            raise LogDataError(
                f"tags: expected several tags, found the str {tags!r}; pass [{tags!r}]"
            )
        try:
            self._update()
        except BaseException:
            self._forget()
            raise
        found = sorted(key for key, curve in self._curves.items() if key[0] == kind and curve.count)
        curves = {tag: self._curves[kind, tag] for _, tag in found}
        if tags is None:
            return curves
        patterns = tuple(tags)
        wanted = curves.keys() & set(patterns)
        absent = [tag for tag in patterns if tag not in wanted and not set(tag) & set("*?[")]
        if warns and absent and curves:
            more = f" and {len(curves) - _MAX_NAMED} more" if len(curves) > _MAX_NAMED else ""
            there = ", ".join(map(repr, list(curves)[:_MAX_NAMED]))
            missing = ", ".join(map(repr, absent))
            _console.warn(f"{self._directory}: no {kind} {missing}; there are {there}{more}")
        wanted.update(*(fnmatch.filter(curves, pattern) for pattern in patterns))
        return {tag: curve for tag, curve in curves.items() if tag in wanted}

    def _forget(self) -> None:
        self._files: dict[str, EventFile] = {}
        self._starts: Starts = []
        self._curves: dict[tuple[str, str], Curve] = defaultdict(Curve)  # By kind and tag.

    def _update(self) -> None:
        """Read new events of all files, or everything if one has been deleted or rewritten."""
        names = event_files(self._directory)
        if names[: len(self._files)] != list(self._files):
            self._forget()
        self.problems = {}
        for name in names:
            if name not in self._files:
                self._files[name] = EventFile(self._window, len(self._files) * _FILE_STEP)
            found = self._files[name]
            try:
                with self._directory.open(name) as file:
                    is_continued = found.update(file)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._warn(name, f"cannot be read, and is left out: {error.strerror or error}")
                continue
            if not is_continued:
                self._forget()
                self._update()
                return
            if report := found.report():
                self._warn(name, report)
        self._add_new()

    def _warn(self, name: str, problem: str) -> None:
        self.problems[name] = f"{self._directory}/{name}: {problem}"
        # A window begins inside a record, which looks like damage.
        if self._window is None:
            _console.warn(self.problems[name])

    def _add_new(self) -> None:
        """Add what has been read to the curves."""
        found = [file.take_new() for file in self._files.values()]
        if starts := [start for _, starts_of_file in found for start in starts_of_file]:
            self._starts = sorted(self._starts + starts)
            for curve in self._curves.values():
                curve.hide(self._starts)
        for points_of_file, _ in found:
            for key, parts in points_of_file.items():
                self._curves[key].add([visible(part, self._starts) for part in parts])


class Ends(NamedTuple):
    """The beginnings and the ends of event files."""

    timeline: Timeline
    curves: dict[str, ScalarSeries]  # The last points.
    is_complete: bool  # Whether that is all there is.


def read_ends(directory: Directory, windows: Sequence[int] = (1 << 13, 1 << 19, 1 << 24)) -> Ends:
    """Read the beginning and the end of each of a directory's event files, each opened once.

    The window grows until there are scalars or histograms in it, so `last_step` is None only if
    nothing has been logged, or other events that are larger than the largest window come after it.
    """
    reader = EventReader(directory, windows[0])
    curves = reader.scalars()
    found = Ends(reader.timeline, curves, reader.is_complete)
    if found.is_complete or found.timeline.last_step is not None or len(windows) == 1:
        return found
    return read_ends(directory, windows[1:])


def _scalar_series(points: Points) -> ScalarSeries:
    return ScalarSeries(*map(_read_only, points[1:]))


def _histogram_series(points: Points) -> HistogramSeries:
    edges, counts = (tuple(map(_read_only, parts)) for parts in zip(*points.value, strict=True))
    return HistogramSeries(_read_only(points.step), _read_only(points.wall_time), edges, counts)


def _read_only(array: Any) -> Any:
    view: np.ndarray[Any, Any] = array.view()
    view.setflags(write=False)
    return view


_SERIES = {"scalars": _scalar_series, "histograms": _histogram_series}
