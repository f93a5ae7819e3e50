"""What is handed over to the thread that writes, and how it becomes records."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from . import _encoding, _protobuf, _records
from ._histogram import histogram
from ._writer import Entry

_BYTES_OF_AN_ENTRY = 2048
"""Roughly what an entry of scalars holds: a device array, a few Python objects."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scalars:
    """The scalars of one step; see `_packing.pack`."""

    tags: tuple[str, ...]
    host_values: list[float]
    vectors: "list[jax.Array]"
    wall_time: float
    step: "int | jax.Array"
    every_n: int

    @property
    def nbytes(self) -> int:
        return _BYTES_OF_AN_ENTRY + 8 * len(self.tags)


@dataclasses.dataclass(frozen=True, slots=True)
class StackedScalars:
    """The scalars of many steps; see `_packing.pack_stacked`."""

    values: "dict[str, Any]"
    wall_time: float
    steps: Any
    every_n: int

    @property
    def nbytes(self) -> int:
        return _BYTES_OF_AN_ENTRY + sum(value.nbytes for value in self.values.values())


@dataclasses.dataclass(frozen=True, slots=True)
class Histograms:
    """Arrays to be counted, of one step or of many; see `_packing.pack_histograms`."""

    values: "dict[str, Any]"
    wall_time: float
    steps: Any
    every_n: int

    @property
    def nbytes(self) -> int:
        return _BYTES_OF_AN_ENTRY + sum(value.nbytes for value in self.values.values())


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """An event that is encoded already."""

    event: bytes

    @property
    def nbytes(self) -> int:
        return _BYTES_OF_AN_ENTRY + len(self.event)


def encode(entries: list[Entry], notices: list[str]) -> bytes:
    """Return the records of all entries, in order; an `Encoder`."""
    groups = itertools.groupby(entries, _group)
    return b"".join(
        _encode_or_explain(list(group), notices, _ENCODERS[kind]) for (kind, _), group in groups
    )


def _group(entry: Entry) -> tuple[type[Entry], Any]:
    # Neighbours with the same scalars are encoded together; everything else by itself.
    return type(entry), entry.tags if isinstance(entry, Scalars) else id(entry)


def _encode_or_explain(
    group: list[Any], notices: list[str], encode_group: Callable[[list[Any], list[str]], bytes]
) -> bytes:
    try:
        return encode_group(group, notices)
    except Exception as error:
        if len(group) > 1:
            # One of them is to blame, and the others are written all the same.
            return b"".join(_encode_or_explain([one], notices, encode_group) for one in group)
        notices.append(f"an entry of the log could not be written and is left out: {error}")
        return b""


def _encode_scalars(group: list[Scalars], notices: list[str]) -> bytes:
    for entry in group:
        for vector in entry.vectors:
            vector.copy_to_host_async()
    steps = np.array([int(entry.step) for entry in group], np.int64)
    times = np.array([entry.wall_time for entry in group])
    values = np.empty((len(group), len(group[0].tags)), np.float32)
    for row, entry in zip(values, group, strict=True):
        _fill(row, entry)
    wanted = np.array(
        [step % entry.every_n == 0 for step, entry in zip(steps, group, strict=True)], bool
    )
    return _encoding.encode(group[0].tags, times[wanted], steps[wanted], values[wanted])


def _fill(row: npt.NDArray[np.float32], entry: Scalars) -> None:
    at = len(entry.host_values)
    with np.errstate(over="ignore"):
        row[:at] = entry.host_values
    for vector in entry.vectors:
        host = np.asarray(vector)
        row[at : at + len(host)] = host
        at += len(host)


def _encode_stacked(group: list[StackedScalars], notices: list[str]) -> bytes:
    (entry,) = group
    steps = np.asarray(entry.steps).astype(np.int64)
    wanted = steps % entry.every_n == 0
    values = np.stack([np.asarray(value) for value in entry.values.values()], axis=1)
    times = np.full(len(steps), entry.wall_time)
    return _encoding.encode(tuple(entry.values), times[wanted], steps[wanted], values[wanted])


def _encode_histograms(group: list[Histograms], notices: list[str]) -> bytes:
    (entry,) = group
    host = {tag: np.asarray(value) for tag, value in entry.values.items()}
    steps = np.asarray(entry.steps)
    if steps.ndim == 0:
        rows: Iterable[tuple[int, dict[str, Any]]] = [(int(steps), host)]
    else:
        rows = (
            (int(step), {tag: value[row] for tag, value in host.items()})
            for row, step in enumerate(steps)
        )
    return b"".join(
        _records.frame(_histogram_event(entry.wall_time, step, values, notices))
        for step, values in rows
        if step % entry.every_n == 0
    )


def _histogram_event(
    wall_time: float, step: int, values: dict[str, Any], notices: list[str]
) -> bytes:
    encoded: list[bytes] = []
    for tag, value in values.items():
        counted = histogram(value)
        if counted.not_finite:
            notices.append(
                f"histograms[{tag!r}] at step {step}: {counted.not_finite} of {value.size} values "
                "are NaN or infinite and are left out"
            )
        encoded.append(
            _protobuf.histogram_value(tag, counted.edges, counted.counts, counted.moments)
        )
    return _protobuf.event(wall_time, step, _protobuf.summary(encoded))


def _encode_encoded(group: list[Encoded], notices: list[str]) -> bytes:
    return b"".join(_records.frame(entry.event) for entry in group)


_ENCODERS: dict[type, Callable[[list[Any], list[str]], bytes]] = {
    Scalars: _encode_scalars,
    StackedScalars: _encode_stacked,
    Histograms: _encode_histograms,
    Encoded: _encode_encoded,
}
