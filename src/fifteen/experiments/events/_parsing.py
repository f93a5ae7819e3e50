"""Event: what one record of an event file says, and where in the record its numbers stand.

Field numbers are those of TensorFlow's `event.proto` and `summary.proto`. Only what a curve or a
histogram needs is decoded.
"""

import dataclasses
import struct
from typing import Any

import numpy as np

from . import _reading_tensor as tensors
from . import _reading_wire as wire
from ._reading_tensor import Buckets

_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")
_FLOAT32 = np.dtype("<f4")

_SCALARS, _HISTOGRAMS = "scalars", "histograms"
"""The plugins of TensorBoard whose tensors are read."""

_EXCLUSIVE = range(3, 11)
"""The fields of an event of which the last one counts: file version, summary, session log, ..."""

_START = 1
"""`SessionLog.START`."""


@dataclasses.dataclass(slots=True)
class Event:
    """What one record says.

    Attributes:
        wall_time: seconds since the epoch.
        step: the step.
        scalars: tag and value of each scalar.
        histograms: tag, edges and counts of each histogram.
        is_session_start: whether it marks that what came before at its step or later is void.
        time_at: where the wall time stands; None where the record leaves it out.
        step_at: where the step's varint begins and ends; None where the record leaves it out.
        places: for each scalar, where its number stands and of which type it is; None for one
            that has no fixed width.
        is_unclear: a tensor was left out since nothing has said yet what it is.
    """

    wall_time: float = 0.0
    step: int = 0
    scalars: list[tuple[str, float]] = dataclasses.field(default_factory=list[tuple[str, float]])
    histograms: list[tuple[str, Buckets]] = dataclasses.field(
        default_factory=list[tuple[str, Buckets]]
    )
    is_session_start: bool = False
    time_at: int | None = None
    step_at: tuple[int, int] | None = None
    places: list[tuple[int, np.dtype[Any]] | None] = dataclasses.field(
        default_factory=list[tuple[int, np.dtype[Any]] | None]
    )
    is_unclear: bool = False


def parse_event(data: bytes, plugins: dict[str, str] | None = None) -> Event:
    """Parse an `Event`.

    Args:
        data: the record, without its frame.
        plugins: which of TensorBoard's plugins a tag's tensors are for. Some writers say so only
            with the first one, so that what this record says of a new tag is added here.

    Raises:
        MalformedError: the bytes are no event.
    """
    known: dict[str, str] = {} if plugins is None else plugins
    event = Event()
    current = 0
    for field, kind, at, stop in wire.fields(data, 0, len(data)):
        if field in _EXCLUSIVE and field != current:
            current, event.is_session_start, event.is_unclear = field, False, False
            event.scalars, event.histograms, event.places = [], [], []
        if field == 1 and kind == wire.FIXED64:
            event.time_at = at
            (event.wall_time,) = _DOUBLE.unpack_from(data, at)
        elif field == 2 and kind == wire.VARINT:
            event.step_at, event.step = (at, stop), wire.int64(data, at, stop)
        elif field == 5 and kind == wire.BYTES:
            for inner, inner_kind, inner_at, inner_stop in wire.fields(data, at, stop):
                if inner == 1 and inner_kind == wire.BYTES:
                    _parse_value(data, inner_at, inner_stop, known, event)
        elif field == 7 and kind == wire.BYTES:
            event.is_session_start = wire.int_field(data, at, stop, 1) == _START
    return event


def _parse_value(data: bytes, start: int, end: int, plugins: dict[str, str], event: Event) -> None:
    tag = plugin = ""
    content, content_at, content_end = 0, 0, 0
    for field, kind, at, stop in wire.fields(data, start, end):
        if field == 1 and kind == wire.BYTES:
            tag = wire.text(data, at, stop)
        elif (field == 2 and kind == wire.FIXED32) or (
            field in (4, 5, 6, 8) and kind == wire.BYTES
        ):
            content, content_at, content_end = field, at, stop
        elif field == 9 and kind == wire.BYTES:
            plugin = _plugin(data, at, stop)
    if plugin:
        plugins.setdefault(tag, plugin)
    if content == 2:
        (number,) = _FLOAT.unpack_from(data, content_at)
        event.scalars.append((tag, number))
        event.places.append((content_at, _FLOAT32))
    elif content == 5:
        buckets = tensors.buckets_of_histogram(data, content_at, content_end)
        event.histograms.append((tag, buckets))
    elif content == 8:
        _parse_tensor(data, content_at, content_end, tag, plugins.get(tag), event)


def _parse_tensor(
    data: bytes, start: int, end: int, tag: str, plugin: str | None, event: Event
) -> None:
    if plugin is None:
        event.is_unclear = True
    if plugin not in (_SCALARS, _HISTOGRAMS):
        return
    array, place = tensors.tensor(data, start, end)
    if array is None:
        return
    if plugin == _SCALARS and array.size == 1:
        event.scalars.append((tag, float(array.reshape(-1)[0])))
        event.places.append(place)
    elif plugin == _HISTOGRAMS and (buckets := tensors.buckets_of_tensor(array)) is not None:
        event.histograms.append((tag, buckets))


def _plugin(data: bytes, start: int, end: int) -> str:
    """Return the name of the plugin that a `SummaryMetadata` names."""
    plugin = wire.bytes_field(data, start, end, 1)
    name = wire.bytes_field(data, *plugin, 1) if plugin is not None else None
    return wire.text(data, *name) if name is not None else ""
