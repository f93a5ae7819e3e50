"""The step and the time last logged in a directory, from the ends of its event files."""

import contextlib
import os
import pathlib
from collections.abc import Iterable

from .. import _directory
from . import _parsing, _reading_frames

_FIRST_WINDOW = 1 << 10
_LARGEST_WINDOW = 1 << 24


def last_step(paths: list[pathlib.Path]) -> int | None:
    """Return the step of the scalars or histograms logged last, without reading whole files.

    Args:
        paths: a directory's event files.

    Returns:
        The step, a rewind honoured; None where nothing has been logged, or only long ago before
        16 MiB of other events.
    """
    limit: int | None = None
    # The order of their names, in which they are read, whatever their times are after a copy.
    for path in sorted(paths, key=lambda path: path.name, reverse=True):
        step, limit = _last_of_file(path, limit)
        if step is not None:
            return step
    return None


def last_wall_time(directory: pathlib.Path) -> float:
    """Return the time that the ends of a directory's event files tell, or 0.

    It is by the clock of whoever wrote there, which may be ahead of this host's.
    """
    paths = [directory / name for name in _directory.list_names(directory) if "tfevents" in name]
    return max(map(_wall_time_of_file, paths), default=0.0)


def _wall_time_of_file(path: pathlib.Path) -> float:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        window = _FIRST_WINDOW
        while window <= _LARGEST_WINDOW:
            file.seek(max(0, size - window))
            data = file.read(window)
            frames = _reading_frames.find_frames(data, len(data))
            for start, end in _backwards(frames):
                with contextlib.suppress(ValueError):
                    return _parsing.parse_event(data[start:end]).wall_time
            if window >= size:
                break
            window *= 8
    return 0.0


def _last_of_file(path: pathlib.Path, limit: int | None) -> tuple[int | None, int | None]:
    """Return the last step of a file, and the step above which later files hide everything."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            window = _FIRST_WINDOW
            while True:
                start = max(0, size - window)
                file.seek(start)
                try:
                    step, lowest = _last_of_records(file.read(size - start), limit, {})
                except _UnclearError:
                    file.seek(0)
                    data = file.read(size)
                    return _last_of_records(data, limit, _plugins_of(data))
                if step is not None or start == 0 or window >= _LARGEST_WINDOW:
                    return step, lowest
                window *= 8
    except OSError:
        return None, limit


class _UnclearError(Exception):
    """What a tensor is for was said before the bytes that were looked at."""


def _last_of_records(
    data: bytes, limit: int | None, plugins: dict[str, str]
) -> tuple[int | None, int | None]:
    # The data may begin in the middle of a record, and its last one may be torn.
    frames = _reading_frames.find_frames(data, len(data))
    for start, end in _backwards(frames):
        try:
            event = _parsing.parse_event(data[start:end], plugins)
        except ValueError:
            continue
        if event.is_unclear and not plugins:
            raise _UnclearError
        if event.is_session_start:
            limit = _smaller(limit, event.step - 1)
        elif event.scalars or event.histograms:
            return _smaller(limit, event.step), limit
    return None, limit


def _plugins_of(data: bytes) -> dict[str, str]:
    """Return which of TensorBoard's plugins the tensors of each tag are for, in a whole file."""
    plugins = {"": ""}
    frames = _reading_frames.find_frames(data, len(data))
    for start, end in zip(frames.starts.tolist(), frames.ends.tolist(), strict=True):
        with contextlib.suppress(ValueError):
            _parsing.parse_event(data[start:end], plugins)
    return plugins


def _backwards(frames: _reading_frames.Frames) -> Iterable[tuple[int, int]]:
    return zip(frames.starts[::-1].tolist(), frames.ends[::-1].tolist(), strict=True)


def _smaller(limit: int | None, step: int) -> int:
    return step if limit is None else min(limit, step)
