"""Decode many similar events at once.

A training loop writes the same tags repeatedly. Such events differ only in wall time, step and
values. So one of them is parsed and serves as a template; the others are rows of a matrix in which
all other bytes must be equal, and their numbers are columns.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from ._values import Plugins, is_float32, parse, set_float32

Bytes = npt.NDArray[np.uint8]

_ONE = np.float32(1.0)
_COMPLEMENT = (~_ONE.view(np.uint32)).view(np.float32)
"""Each byte of this number differs from that of the other."""

_TIME = slice(1, 9)
_STEP = 10
"""An event has its wall time after a key of one byte, and its step after another."""


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """The layout that many events share."""

    tags: tuple[str, ...]
    row: Bytes  # An event of this layout.
    fixed: Bytes  # The bits that are the same in all of them.
    step: slice  # The bytes of the step.
    values: npt.NDArray[np.int64]  # The bytes of the values, four for each.

    def matches(self, rows: Bytes) -> npt.NDArray[np.bool_]:
        """Return which rows have this layout."""
        return np.asarray(((rows ^ self.row) & self.fixed).any(axis=1)) == 0

    def decode(self, rows: Bytes) -> tuple[Any, Any, Any]:
        """Return the steps `(n,)`, wall times `(n,)` and values `(n, k)` of rows that match."""
        groups = rows[:, self.step].astype(np.uint64) & np.uint64(0x7F)
        shifts = np.arange(groups.shape[1], dtype=np.uint64) * np.uint64(7)
        steps = (groups << shifts).sum(axis=1, dtype=np.uint64).view(np.int64)
        wall_times = np.ascontiguousarray(rows[:, _TIME]).view("<f8")[:, 0]
        values = np.ascontiguousarray(rows[:, self.values]).view("<f4").astype(np.float64)
        return steps, wall_times, values


def template_of(payload: bytes, plugins: Plugins) -> Template | None:
    """Return the template of an event; None if it contains anything but float32 scalars."""
    event = parse(payload)
    scalars = event.summary.value
    if not (scalars and event.wall_time and event.SerializeToString() == payload):
        return None
    if not all(is_float32(value, plugins) for value in scalars):
        return None
    rows: list[Bytes] = []
    for number in (_ONE, _COMPLEMENT):
        for value in scalars:
            set_float32(value, number)
        rows.append(np.frombuffer(event.SerializeToString(), np.uint8))
    values = np.flatnonzero(rows[0] != rows[1])
    step_end = _STEP
    if event.step:
        # All bytes of a varint except the last have their highest bit set.
        step_end += 1 + next(n for n, byte in enumerate(payload[_STEP:]) if byte < 0x80)
    step = slice(_STEP, step_end)
    row = np.frombuffer(payload, np.uint8)
    fixed = np.full(len(row), 0xFF, np.uint8)
    fixed[_TIME], fixed[step], fixed[values] = 0, 0x80, 0
    return Template(tuple(value.tag for value in scalars), row, fixed, step, values)
