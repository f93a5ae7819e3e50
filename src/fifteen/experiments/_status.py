"""Status: whether an experiment is running, or how it has ended."""

import dataclasses
import time
from typing import Literal, TypeAlias

from .events.reading import SessionEnd
from .storage import OpenState

State: TypeAlias = Literal["running", "finished", "failed", "killed", "diverged", "unknown"]


@dataclasses.dataclass(frozen=True)
class Status:
    """Whether an experiment is running, or how it has ended.

    It is `running` if a living process has it open, `killed` if one died that had, `finished` or
    `failed` as the last script recorded at its end, `diverged` if it finished and a scalar is NaN
    or infinite, and `unknown` if there is no record.
    """

    state: State
    error: str = ""  # What ended the script.
    diverged_at: int | None = None  # From this step on, a scalar is only NaN or infinite.
    written: float = 0.0  # Seconds since the epoch.
    # Whether a process is known to run by its lease in an object store, and not by the kernel.
    is_by_lease: bool = False

    def __str__(self) -> str:
        diverged = "" if self.diverged_at is None else f"diverged at {self.diverged_at}"
        ago = f"{show_duration(max(0.0, time.time() - self.written))} ago"
        if self.state == "unknown":
            return diverged or f"last write {ago}"
        if self.state == "diverged":
            return diverged
        state = f"failed: {self.error}" if self.error else self.state
        if self.state == "running" and self.is_by_lease:
            state = f"running, last seen {ago}"
        return f"{state}, {diverged}" if diverged else state


def status_of(
    open_state: OpenState,
    end: SessionEnd | None,
    diverged_at: int | None,
    written: float,
    is_by_lease: bool,
) -> Status:
    state, error = "unknown", ""
    if open_state != "unknown":
        state = "running" if open_state == "open" else "killed"
    elif end is not None and not end.is_success:
        state, error = "failed", end.reason
    elif end is not None:
        state = "finished" if diverged_at is None else "diverged"
    return Status(state, error, diverged_at, written, is_by_lease)


def show_duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
