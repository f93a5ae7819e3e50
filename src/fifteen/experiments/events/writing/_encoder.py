"""Encoder: log entries to records."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from .. import _protos, _tfrecord
from ._histogram import histogram
from ._snapshot import Arrays, Scalars

_MAX_LAYOUTS = 256


class Encoder:
    """Encode entries. One thread at a time may use it."""

    def __init__(self) -> None:
        self._event_of = functools.lru_cache(_MAX_LAYOUTS)(_event_of)

    def prepare(self, entries: Iterable[Any]) -> None:
        """Start copying vectors from an accelerator, so that the copies overlap."""
        for entry in entries:
            vector = entry.vector if isinstance(entry, Scalars) else None
            if isinstance(vector, jax.Array) and not vector.is_deleted():
                vector.copy_to_host_async()

    def records(self, entry: Any, report: Callable[[str], None]) -> Iterator[bytes]:
        """Yield the records of an entry: a serialized event, `Scalars` or `Arrays`.

        Raises errors of reading the values, for instance of a failed computation.
        """
        if isinstance(entry, bytes):
            yield _tfrecord.frame(entry)
        elif isinstance(entry, Scalars):
            yield from self._scalars(entry)
        elif entry.kind == "scalars":
            yield from self._stacked_scalars(entry)
        else:
            yield from _histograms(entry, report)

    def _scalars(self, entry: Scalars) -> Iterator[bytes]:
        step, numbers = entry.step, list(entry.host_values)
        vector = entry.vector
        if vector is not None:
            words = np.frombuffer(vector, np.uint32) if isinstance(vector, bytes) else _host(vector)
            if step is None:
                step, words = int(words[-2:].astype("<u4").view("<i8")[0]), words[:-2]
                if step % entry.every_n:
                    return
            numbers += words.view(np.float32).tolist()
        yield self._record(entry.wall_time, step or 0, entry.tags, numbers)

    def _stacked_scalars(self, entry: Arrays) -> Iterator[bytes]:
        steps, wanted = _wanted_steps(entry)
        with np.errstate(over="ignore", invalid="ignore"):
            columns = [_host(value).astype(np.float32) for value in entry.values.values()]
        tags = tuple(entry.values)
        for row in wanted:
            numbers = [column[row].item() for column in columns]
            yield self._record(entry.wall_time, int(steps[row]), tags, numbers)

    def _record(
        self, wall_time: float, step: int, tags: tuple[str, ...], numbers: Sequence[float]
    ) -> bytes:
        # Refilling a message is much faster than creating one.
        event, values = self._event_of(tags)
        event.wall_time, event.step = wall_time, step
        for value, number in zip(values, numbers, strict=True):
            value.simple_value = number
        return _protos.record(event)


def _event_of(tags: tuple[str, ...]) -> tuple[Any, list[Any]]:
    """Return a new event, and the values in it."""
    event = _protos.event_type()()
    return event, [event.summary.value.add(tag=tag) for tag in tags]


def describe(entry: Any) -> str:
    """Name an entry in a message."""
    if isinstance(entry, Scalars):
        kind, tags, step = "scalars", entry.tags, entry.step
    elif isinstance(entry, Arrays):
        kind, tags, step = entry.kind, entry.values, None if np.ndim(entry.steps) else entry.steps
    else:
        return "other events"
    names = f"{', '.join(map(repr, tags)):.200}"
    return f"{kind} {names}" + ("" if step is None else f" at step {step}")


def _host(value: Any) -> Any:
    # The user's transfer guard must not apply to our transfers.
    with jax.transfer_guard("allow"):
        return np.asarray(value)


def _wanted_steps(entry: Arrays) -> tuple[Any, list[int]]:
    """Return all steps, `(n,)`, and the rows of those to log."""
    steps = np.atleast_1d(_host(entry.steps)).astype(np.int64)
    return steps, np.flatnonzero(steps % entry.every_n == 0).tolist()


def _histograms(entry: Arrays, report: Callable[[str], None]) -> Iterator[bytes]:
    steps, wanted = _wanted_steps(entry)
    if not wanted:
        # The arrays stay on the device.
        return
    # One row per step, also if there is only one.
    rows = {tag: _host(value).reshape(len(steps), -1) for tag, value in entry.values.items()}
    for row in wanted:
        event = _protos.event_type()(wall_time=entry.wall_time, step=int(steps[row]))
        left_out: list[str] = []
        for tag, values in rows.items():
            counted = histogram(values[row])
            # The format has right edges only, so the leftmost one is that of an empty bucket.
            buckets = {"bucket_limit": counted.edges, "bucket": [0.0, *counted.counts]}
            event.summary.value.add(tag=tag, histo={**counted.moments, **buckets})
            if counted.not_finite:
                left_out.append(f"{counted.not_finite} of {values[row].size} in {tag!r}")
        if left_out:
            report(
                f"histograms at step {event.step}: NaN or infinite values are left out: "
                f"{', '.join(left_out)}"
            )
        yield _protos.record(event)
