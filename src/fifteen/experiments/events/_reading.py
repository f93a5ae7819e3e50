"""Reading back what the event files of a directory hold."""

import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import _directory, _notices
from .._errors import LogDataError
from . import _reading_cache
from ._reading_file import EventFile, Histogram
from ._reading_order import Curve, Order, Piece, join
from ._reading_rows import Points
from ._series import HistogramSeries, ScalarSeries


def read_scalars(
    directory: pathlib.Path, tags: Iterable[str] | None = None
) -> dict[str, ScalarSeries]:
    """Read the scalars of all event files in a directory.

    The files may be those of this package, flax, tensorboardX, PyTorch or TensorFlow, and may
    still be written to. No point is sampled away. Of a step that was logged twice, what was
    written last counts, and what `rewind_logs` made void is left out. Bytes that are damaged are
    skipped with an `ExperimentWarning` that names the file and the place; the end of a file that
    is not whole (yet) is skipped silently. What was read is remembered, so that the next call
    reads only what is new.

    Args:
        directory: where the files lie; directories in it are other runs. None there, no series.
        tags: which tags to return, of those that are there; all by default.

    Returns:
        A series for each tag, sorted by tag.

    Raises:
        LogDataError: `tags` is a single string.

    Examples:
        >>> read_scalars(pathlib.Path("runs/digits"), tags=["loss"])
        {'loss': ScalarSeries(1000 points, steps 0 to 999, last value 0.0213)}
    """
    wanted = _as_set(tags)
    with _reading_cache.lock:
        files = _read_files(directory)
        order = Order(files)
        parts = [
            (number, columns.points())
            for number, file in enumerate(files)
            for columns in file.columns.values()
        ]
        sources = _rows_of_tags([part.tags for _, part in parts], wanted)
        curves: dict[tuple[int, ...], Curve] = {}
        series: dict[str, ScalarSeries] = {}
        for tag in sorted(sources):
            # Tags that were always logged together share their steps.
            indices = tuple(index for index, _ in sources[tag])
            if indices not in curves:
                pieces = [_piece(*parts[index]) for index in indices]
                curves[indices] = order.curve(pieces)
            curve = curves[indices]
            if len(curve.step):
                value = join([parts[index][1].value[row] for index, row in sources[tag]])
                chosen = value if curve.chosen is None else value[curve.chosen]
                series[tag] = ScalarSeries(*map(_frozen, (curve.step, curve.wall_time, chosen)))
        return series


def read_histograms(
    directory: pathlib.Path, tags: Iterable[str] | None = None
) -> dict[str, HistogramSeries]:
    """Read the histograms of all event files in a directory, as `read_scalars` reads scalars.

    Args:
        directory: where the files lie.
        tags: which tags to return, of those that are there; all by default.

    Returns:
        A series for each tag, sorted by tag.

    Raises:
        LogDataError: `tags` is a single string.

    Examples:
        >>> read_histograms(pathlib.Path("runs/digits"))
        {'weights': HistogramSeries(10 histograms, steps 0 to 900)}
    """
    wanted = _as_set(tags)
    with _reading_cache.lock:
        files = _read_files(directory)
        order = Order(files)
        series: dict[str, HistogramSeries] = {}
        for tag in sorted({tag for file in files for tag in file.histograms}):
            if wanted is not None and tag not in wanted:
                continue
            found = [
                (number, file.histograms[tag])
                for number, file in enumerate(files)
                if tag in file.histograms
            ]
            curve = order.curve([_piece_of_histograms(*each) for each in found])
            joined = [histogram.buckets for _, histograms in found for histogram in histograms]
            if curve.chosen is not None:
                joined = [joined[index] for index in curve.chosen.tolist()]
            if joined:
                series[tag] = HistogramSeries(
                    _frozen(curve.step),
                    _frozen(curve.wall_time),
                    tuple(_frozen(edges) for edges, _ in joined),
                    tuple(_frozen(counts) for _, counts in joined),
                )
        return series


def _as_set(tags: Iterable[str] | None) -> set[str] | None:
    if isinstance(tags, str):
        raise LogDataError(f"tags: expected several tags, found the str {tags!r}; pass [{tags!r}]")
    return None if tags is None else set(tags)


def _read_files(directory: pathlib.Path) -> list[EventFile]:
    """Read the event files of a directory, in the order of their names.

    That is TensorBoard's order, and the order in which they were begun, whatever the clocks were.
    """
    found: list[tuple[str, EventFile]] = []
    for name in _directory.list_names(directory):
        if "tfevents" not in name or name.endswith(".profile-empty"):
            continue
        path = directory / name
        try:
            file = _reading_cache.read_file(path)
        except OSError as error:
            _warn(f"{path}: cannot be read, and is left out: {error.strerror or error}")
            continue
        if file is None:
            continue
        if report := file.report(path):
            _warn(report)
        if file.first_wall_time is not None:
            found.append((name, file))
    return [file for _, file in sorted(found, key=lambda item: item[0])]


def _rows_of_tags(
    tag_sets: list[tuple[str, ...]], wanted: set[str] | None
) -> dict[str, list[tuple[int, int]]]:
    """Return, for each tag, which sets of tags it is in, and where in them."""
    rows: dict[str, list[tuple[int, int]]] = {}
    for index, tags in enumerate(tag_sets):
        for row, tag in enumerate(tags):
            if wanted is None or tag in wanted:
                rows.setdefault(tag, []).append((index, row))
    return rows


def _piece(number: int, points: Points) -> Piece:
    return Piece(number, points.place, points.step, points.wall_time)


def _piece_of_histograms(number: int, histograms: list[Histogram]) -> Piece:
    return Piece(
        number,
        np.array([histogram.place for histogram in histograms], np.int64),
        np.array([histogram.step for histogram in histograms], np.int64),
        np.array([histogram.wall_time for histogram in histograms], np.float64),
    )


def _warn(message: str) -> None:
    # At the line that called the method of `Experiment` that called `read_scalars`.
    _notices.warn(message, stacklevel=6)


def _frozen(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view
