"""What is handed over to the thread that writes, and how it becomes records."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import jax
import numpy as np
import numpy.typing as npt

from . import _encoding, _protobuf, _records
from ._fetching import fetch
from ._histogram import histogram
from ._packing import Scalars
from ._writer import Entry

_SCALARS_AT_ONCE = 1 << 17


@dataclasses.dataclass(slots=True)
class _Arrays:
    """An array for each tag, of one step or with a leading axis of many."""

    values: "dict[str, Any]"
    wall_time: float
    steps: Any
    every_n: int

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in self.values.values())


class StackedScalars(_Arrays):
    """The scalars of many steps; see `_packing_arrays.pack_stacked`."""

    __slots__ = ()


class Histograms(_Arrays):
    """Arrays to be counted; see `_packing_arrays.pack_histograms`."""

    __slots__ = ()


@dataclasses.dataclass(slots=True)
class Encoded:
    """An event that is encoded already."""

    event: bytes

    @property
    def nbytes(self) -> int:
        return len(self.event)


def encode(entries: list[Entry], notices: list[str]) -> Iterator[bytes]:
    """Return the records of all entries, in order, some at a time; an `Encoder`."""
    # Scalars of many steps become several times larger than they were.
    for are_stacked, group in itertools.groupby(
        entries, lambda entry: type(entry) is StackedScalars
    ):
        if are_stacked:
            for entry in group:
                yield from _encode_stacked(cast(StackedScalars, entry), notices)
        else:
            yield _encode_together(list(group), notices)


def _encode_together(entries: list[Entry], notices: list[str]) -> bytes:
    # Scalars may come as the bare fields.
    entries = [Scalars._make(entry) if type(entry) is tuple else entry for entry in entries]
    records = [b""] * len(entries)
    groups: dict[Any, list[int]] = {}
    for at, entry in enumerate(entries):
        # Scalars of the same tags are encoded together, everything else by itself.
        key = _layout(entry) if type(entry) is Scalars else at
        groups.setdefault(key, []).append(at)
    # Whatever the script forbids its own code, values have to come to the host here.
    with jax.transfer_guard("allow"):
        for members in groups.values():
            group = [entries[at] for at in members]
            for at, record in zip(members, _encode_or_explain(group, notices), strict=True):
                records[at] = record
    return b"".join(records)


def _layout(entry: Scalars) -> tuple[Any, ...]:
    return entry.tags, len(entry.host_values), len(entry.vectors), entry.step is None


def _encode_or_explain(group: list[Any], notices: list[str]) -> list[bytes]:
    try:
        return _ENCODERS[type(group[0])](group, notices)
    except Exception as error:
        if len(group) > 1:
            # One of them is to blame, and the others are written all the same.
            return [_encode_or_explain([one], notices)[0] for one in group]
        notices.append(f"{_describe(group[0])} are left out: {error}")
        return [b""]


def _describe(entry: Any) -> str:
    if isinstance(entry, Encoded):
        return "other events"
    tags = ", ".join(map(repr, entry.tags if isinstance(entry, Scalars) else entry.values))
    kind = "histograms" if isinstance(entry, Histograms) else "scalars"
    step = getattr(entry, "step", None)
    return f"{kind} {tags:.200}" + ("" if step is None else f" at step {step}")


def _encode_scalars(group: list[Scalars], notices: list[str]) -> list[bytes]:
    tags, host_values, vectors, host_steps, every_n, wall_times = zip(*group, strict=True)
    with np.errstate(over="ignore"):
        host = np.array(host_values, np.float64).astype(np.float32)
    blocks = [fetch(column) for column in zip(*vectors, strict=True)]
    if host_steps[0] is None:
        words = np.ascontiguousarray(blocks[0][:, -2:]).astype("<u4")
        steps, blocks[0] = words.view("<i8")[:, 0], blocks[0][:, :-2]
    else:
        steps = np.array(host_steps, np.int64)
    on_device = [np.ascontiguousarray(block).view(np.float32) for block in blocks]
    values = np.concatenate([host, *on_device], axis=1)
    records = _encoding.encode(tags[0], np.array(wall_times), steps, values)
    if host_steps[0] is not None:
        return records
    return [
        record if step % every == 0 else b""
        for record, step, every in zip(records, steps.tolist(), every_n, strict=True)
    ]


def _encode_stacked(entry: StackedScalars, notices: list[str]) -> Iterator[bytes]:
    try:
        with jax.transfer_guard("allow"):
            steps = np.asarray(entry.steps).astype(np.int64)
            columns = [np.asarray(value) for value in entry.values.values()]
    except Exception as error:
        notices.append(f"{_describe(entry)} are left out: {error}")
        return
    wanted = np.flatnonzero(steps % entry.every_n == 0)
    at_once = max(1, _SCALARS_AT_ONCE // len(columns))
    for first in range(0, len(wanted), at_once):
        rows = wanted[first : first + at_once]
        values = np.stack([column[rows] for column in columns], axis=1)
        times = np.full(len(rows), entry.wall_time)
        yield b"".join(_encoding.encode(tuple(entry.values), times, steps[rows], values))


def _encode_histograms(group: list[Histograms], notices: list[str]) -> list[bytes]:
    (entry,) = group
    host = {tag: np.asarray(value) for tag, value in entry.values.items()}
    steps = np.asarray(entry.steps)
    rows: Iterable[tuple[int, dict[str, npt.NDArray[Any]]]]
    if steps.ndim == 0:
        rows = [(int(steps), host)]
    else:
        rows = (
            (int(step), {tag: value[row] for tag, value in host.items()})
            for row, step in enumerate(steps)
        )
    records = [
        _records.frame(_histogram_event(entry.wall_time, step, values, notices))
        for step, values in rows
        if step % entry.every_n == 0
    ]
    return [b"".join(records)]


def _histogram_event(
    wall_time: float, step: int, values: dict[str, Any], notices: list[str]
) -> bytes:
    encoded: list[bytes] = []
    left_out: list[str] = []
    for tag, value in values.items():
        counted = histogram(value)
        if counted.not_finite:
            left_out.append(f"{counted.not_finite} of {value.size} in {tag!r}")
        encoded.append(
            _protobuf.histogram_value(tag, counted.edges, counted.counts, counted.moments)
        )
    if left_out:
        notices.append(
            f"histograms at step {step}: NaN or infinite values are left out: {', '.join(left_out)}"
        )
    return _protobuf.event(wall_time, step, _protobuf.summary(encoded))


def _encode_encoded(group: list[Encoded], notices: list[str]) -> list[bytes]:
    return [_records.frame(entry.event) for entry in group]


_ENCODERS: dict[type, Callable[[list[Any], list[str]], list[bytes]]] = {
    Scalars: _encode_scalars,
    Histograms: _encode_histograms,
    Encoded: _encode_encoded,
}
