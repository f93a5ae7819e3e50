"""EventLog: the log of one directory."""

import dataclasses
import functools
import math
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax

from ... import _console, _outcome, _shutdown, distributed
from ..._errors import LogDataError
from ..._log_data import TensorboardLogData
from ...storage import Directory
from .. import _protos
from . import _callback, _hparams, _snapshot, _validation
from ._background import BackgroundWriter
from ._snapshot import BYTES_PER_SCALAR, MANY_SCALARS
from ._validation import MAX_STEP, Steps, Values

if TYPE_CHECKING:
    import tensorboardX


class EventLog:
    """Log to one directory, which must exist; only the primary process writes."""

    def __init__(self, directory: Directory) -> None:
        self._writer = BackgroundWriter(directory)
        self._snapshots = _snapshot.Snapshots()
        self._hparams: Mapping[str, Any] | None = None
        self._writes = distributed.is_primary()
        self._has_callbacks = False
        self._has_end = False  # Whether the records not written yet include an end.
        _logs.add(self)
        if self._writes:
            # Not in the thread: a child forked during this import could never finish it.
            _protos.event_type()
            _protos.hparams_type()

    def log(
        self,
        log_data: TensorboardLogData,
        step: Any,
        scalars_every_n: Any = 1,
        histograms_every_n: Any = 1,
        at_run_time: Callable[..., None] | None = None,
    ) -> None:
        """Log scalars and histograms; see `Experiment.log`, which raises the same.

        When a traced function runs, it calls `at_run_time` with the other arguments; by default,
        that is this method.
        """
        if not self._writes:
            return
        if (
            type(step) is int
            and 0 <= step <= MAX_STEP
            and type(log_data) is TensorboardLogData
            and type(scalars_every_n) is type(histograms_every_n) is int
            and scalars_every_n == 1 == histograms_every_n
            and not log_data.histograms
            and type(log_data.scalars) is dict
            and len(log_data.scalars) < MANY_SCALARS
            and (entry := self._snapshots.of_known_tags(log_data.scalars, step)) is not None
        ):
            self._writer.put(entry)
        else:
            every_n = _validation.check_arguments(log_data, scalars_every_n, histograms_every_n)
            steps = _validation.to_steps(step)
            scalars, histograms = log_data.scalars, log_data.histograms
            if isinstance(steps, int):
                # If the step is on a device, the writing thread applies the intervals.
                scalars = {} if steps % every_n[0] else scalars
                histograms = {} if steps % every_n[1] else histograms
            if not scalars and not histograms:
                return
            if _callback.is_traced(scalars, histograms, steps):
                _validation.check(scalars, histograms, steps)
                self._has_callbacks = True
                traced = TensorboardLogData(dict(scalars), dict(histograms))
                _callback.log_at_run_time(at_run_time or self.log, traced, steps, *every_n)
            else:
                self._log(scalars, histograms, steps, every_n)

    def _log(self, scalars: Values, histograms: Values, steps: Steps, every_n: list[int]) -> None:
        is_stacked = not isinstance(steps, int) and steps.ndim == 1
        if histograms or is_stacked:
            # Check first: if one value is wrong, none is logged.
            _validation.check(scalars, histograms, steps)
        # A traced function may log concrete values, which must be packed now.
        with jax.ensure_compile_time_eval():
            if scalars and is_stacked:
                self._put_arrays("scalars", scalars, steps, every_n[0])
            elif scalars:
                entry = self._snapshots.of_scalars(scalars, steps, every_n[0])
                self._writer.put(entry, len(scalars) * BYTES_PER_SCALAR)
            if histograms:
                self._put_arrays("histograms", histograms, steps, every_n[1])

    def _put_arrays(self, kind: str, values: Values, steps: Steps, every_n: int) -> None:
        # Wait before copying, so that the copies stay within the bound of the queue.
        self._writer.wait_for_room(sum(getattr(value, "nbytes", 0) for value in values.values()))
        entry = _snapshot.of_arrays(kind, values, steps, every_n)
        self._writer.put(entry, entry.nbytes)

    def rewind(self, step: Any) -> None:
        """Hide what was logged after `step`; see `Experiment.rewind_logs`."""
        last = _validation.to_steps(step)
        if not isinstance(last, int) and last.ndim:
            raise LogDataError(f"step: expected one integer, found {step!r}")
        if self._writes:
            # After `MAX_STEP` there is nothing to hide.
            event = _protos.event_type()(
                wall_time=time.time(),
                step=min(int(last) + 1, MAX_STEP),
                session_log={"status": _protos.SESSION_START},
            )
            # Twice: TensorBoard takes the first one for the beginning of the run and hides nothing.
            # Its Rust data server ignores both, and hides old points of a tag once one of their
            # steps is logged again.
            for _ in range(2):
                self._writer.put_event(event)

    def log_hparams(self, hparams: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """Give the run its row in the HParams tab; see `Experiment.log_hparams`."""
        if not all(hparams):
            # `flatten` gives values without fields, such as 3 or an empty config, the name "".
            (whole,) = hparams.values()
            if not isinstance(whole, Mapping) and not dataclasses.is_dataclass(whole):
                raise LogDataError(
                    f"hparams: expected a dataclass or a mapping, found {type(whole).__name__}"
                )
            hparams = {}
        if isinstance(metrics, str):
            raise LogDataError(
                f"metrics: expected several tags, found the str {metrics!r}; pass [{metrics!r}]"
            )
        if not self._writes:
            return
        plain = {name: _hparams.to_plain(value) for name, value in hparams.items()}
        if odd := [k for k, v in plain.items() if isinstance(v, float) and not math.isfinite(v)]:
            _console.warn(
                "hparams: NaN or infinite, so TensorBoard can neither sort nor filter by them: "
                f"{', '.join(odd)}"
            )
        if self._hparams is not None and self._hparams != plain:
            _console.warn(
                "hparams: logged before with other values, and TensorBoard shows only the first "
                "ones; log all of them in one call"
            )
        self._hparams = self._hparams or plain
        self._put_summaries(_hparams.summaries(plain, metrics))

    def log_end(self, is_success: bool, reason: str = "") -> None:
        """Record how the script ended; later logs start another session."""
        if not self._writes:
            return
        if self._hparams is None:
            # TensorBoard shows the end of a session only if it has a start.
            self._put_summaries(_hparams.summaries({}, ()))
        self._put_summaries([_hparams.session_end(is_success, reason)])

    def _put_summaries(self, summaries: Sequence[Any]) -> None:
        for summary in summaries:
            event = _protos.event_type()(wall_time=time.time(), summary=summary)
            self._writer.put_event(event)

    @functools.cached_property
    def summary_writer(self) -> "tensorboardX.SummaryWriter":
        """A `tensorboardX.SummaryWriter` whose events go to the same file."""
        from ._summary_writer import JoinedSummaryWriter

        writer = self._writer if self._writes else None
        return JoinedSummaryWriter(self._writer.directory, writer)

    @property
    def has_reports(self) -> bool:
        return bool(self._writer.reports)

    def report(self) -> None:
        """Warn about problems of the writing thread."""
        while self._writer.reports:
            try:
                text = self._writer.reports.pop(0)
            except IndexError:  # Another thread warns about it.
                return
            _console.warn(text)

    def write(self) -> None:
        """Write everything handed over, without warnings."""
        self._await_callbacks()
        self._writer.flush()

    def flush(self) -> None:
        """Write everything handed over; raise `LogWriteError` if that fails."""
        try:
            self.write()
        finally:
            self.report()

    def follow(self, directory: Directory) -> None:
        """Continue in the moved directory, also with the user's `summary_writer`."""
        self._writer.directory = directory

    def close(self) -> None:
        """Flush, close the file and end the thread; raise `LogWriteError` if that fails."""
        self._await_callbacks()
        try:
            self._writer.close()
            self._has_end = False
        finally:
            self.report()

    def record_end(self, error: BaseException | None) -> None:
        """Record how the run has ended, unless nothing was logged since the last record."""
        self._await_callbacks()
        # If the user has deleted the directory, nothing more is written there.
        if self._writer.is_open and not self._has_end:
            self._has_end = True
            self.log_end(*_outcome.describe(error))

    def _await_callbacks(self) -> None:
        """Wait until logs inside `jit` have been handed over."""
        if self._has_callbacks:
            jax.effects_barrier()


_logs: "weakref.WeakSet[EventLog]" = weakref.WeakSet()


def _record_ends() -> None:
    for log in list(_logs):
        # A child of `multiprocessing` is still handling the error that ends it.
        log.record_end(_outcome.current_error(earlier=None))


# This runs before the writers, which registered earlier, are closed. A run that ends by a signal
# records no end.
_shutdown.register(_record_ends, lambda: None)
