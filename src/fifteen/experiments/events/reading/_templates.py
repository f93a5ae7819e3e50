"""Decode many similar events at once.

A training loop writes the same tags repeatedly. Such events differ only in wall time, step and
values. So one of them is parsed and serves as a template; the others are rows of a matrix in which
all other bytes must be equal, and their numbers are columns.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ._values import Plugins, parse, set_float32

Bytes = npt.NDArray[np.uint8]
Matching = tuple[npt.NDArray[np.bool_], Any, Any, dict[str, Any]]

_ONE = np.float32(1.0)
_COMPLEMENT = (~_ONE.view(np.uint32)).view(np.float32)
"""Each byte of this number differs from that of the other."""

_TIME = slice(1, 9)
_STEP = 10
"""An event has its wall time after a key of one byte, and its step after another."""


def decode_alike(template: bytes, rows: Bytes, plugins: Plugins) -> Matching | None:
    """Decode the rows `(n, length)` that match an event; None if it is not only float32 scalars.

    Returns which rows match, and the steps, the wall times and the values by tag of those. Raises
    protobuf's `DecodeError` if the event is malformed.
    """
    event = parse(template, plugins)
    scalars = event.summary.value
    if not (scalars and event.wall_time and event.SerializeToString() == template):
        return None
    examples: list[Bytes] = []
    for number in (_ONE, _COMPLEMENT):
        if not all(set_float32(value, number, plugins) for value in scalars):
            return None
        examples.append(np.frombuffer(event.SerializeToString(), np.uint8))
    at_values = np.flatnonzero(examples[0] != examples[1])
    step_end = _STEP
    if event.step:
        # All bytes of a varint except the last have their highest bit set.
        step_end += 1 + next(n for n, byte in enumerate(template[_STEP:]) if byte < 0x80)
    at_step = slice(_STEP, step_end)
    fixed = np.full(len(template), 0xFF, np.uint8)
    fixed[_TIME], fixed[at_step], fixed[at_values] = 0, 0x80, 0
    is_different = ((rows ^ np.frombuffer(template, np.uint8)) & fixed).any(axis=1)
    is_match = np.asarray(is_different) == 0
    rows = rows[is_match]
    groups = rows[:, at_step].astype(np.uint64) & np.uint64(0x7F)
    shifts = np.arange(groups.shape[1], dtype=np.uint64) * np.uint64(7)
    steps = (groups << shifts).sum(axis=1, dtype=np.uint64).view(np.int64)
    wall_times = np.ascontiguousarray(rows[:, _TIME]).view("<f8")[:, 0]
    values = np.ascontiguousarray(rows[:, at_values]).view("<f4").astype(np.float64)
    # If a tag is twice in an event, its last value wins.
    columns = zip((value.tag for value in scalars), np.ascontiguousarray(values.T), strict=True)
    return is_match, steps, wall_times, dict(columns)
