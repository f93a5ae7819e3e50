"""EventLog: what `Experiment.log` hands over, and to whom."""

import contextlib
import dataclasses
import functools
import inspect
import pathlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .. import _processes, _shutdown
from .._errors import ExperimentWarning, LogDataError, LogWriteError
from .._log_data import TensorboardLogData
from . import _hparams, _problems, _protobuf, _tracing
from ._entries import Encoded, Histograms, StackedScalars, encode
from ._last_step import last_wall_time
from ._packing import pack, pack_arrays
from ._packing_arrays import own_step, pack_histograms, pack_stacked
from ._writer import EventWriter

if TYPE_CHECKING:
    import tensorboardX


_MANY = 64
"""Scalars of a step: of so many, few steps are to wait to be written."""
_LAST_STEP = 2**63 - 1
_LARGE_STEP = 2**31
"""Below it, nothing can be wrong with a step that is not negative."""


class EventLog:
    """Log to one directory from this process; on all but the first process, do nothing.

    Args:
        directory: where the event file goes. It must exist once something is logged.

    Examples:
        ```python
        import pathlib, tempfile

        from fifteen.experiments import TensorboardLogData
        from fifteen.experiments.events import EventLog, read_scalars

        directory = pathlib.Path(tempfile.mkdtemp())
        log = EventLog(directory)
        log.log(TensorboardLogData(scalars={"loss": 0.5}), 1, 1, 1)
        log.close()
        assert read_scalars(directory)["loss"].value.tolist() == [0.5]
        ```
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._writer = EventWriter(directory, encode)
        self._summary_writer: tensorboardX.SummaryWriter | None = None
        self._writes = _processes.is_primary()
        self._has_callbacks = False
        _shutdown.prepare()

    def log(
        self,
        log_data: TensorboardLogData,
        step: Any,
        scalars_every_n: int,
        histograms_every_n: int,
        quiet: bool = False,
        again: Callable[..., None] | None = None,
    ) -> None:
        """Take over scalars and histograms; see `Experiment.log`.

        Args:
            log_data: what to log.
            step: its step, or a vector of steps.
            scalars_every_n: log scalars only at steps that this divides.
            histograms_every_n: log histograms only at steps that this divides.
            quiet: do not warn of what the thread that writes has met.
            again: called as `again(log_data, step, scalars_every_n, histograms_every_n)` when a
                function that is only traced now runs; this method by default.

        Raises:
            LogDataError: a tag, value or step cannot be logged; lists all that is wrong.
        """
        if not self._writes:
            return
        if (
            type(step) is int
            and -1 < step < _LARGE_STEP
            and type(log_data) is TensorboardLogData
            and scalars_every_n == 1 == histograms_every_n
            and not log_data.histograms
            and type(log_data.scalars) is dict
            and len(log_data.scalars) < _MANY
            and (entry := pack_arrays(log_data.scalars, step)) is not None
        ):
            self._writer.put(entry)
        else:
            again = again or functools.partial(self.log, quiet=quiet)
            self._log_anything(log_data, step, scalars_every_n, histograms_every_n, quiet, again)
        if self._writer.notices:
            self._tell(quiet)

    def _log_anything(
        self,
        log_data: Any,
        step: Any,
        scalars_every_n: int,
        histograms_every_n: int,
        quiet: bool,
        again: Callable[..., None],
    ) -> None:
        try:
            scalars, histograms = log_data.scalars, log_data.histograms
            is_usual = type(scalars) is type(histograms) is dict
            is_usual = is_usual and type(scalars_every_n) is type(histograms_every_n) is int
            is_usual = is_usual and scalars_every_n >= 1 <= histograms_every_n
        except (AttributeError, TypeError):
            _problems.check_arguments(log_data, scalars_every_n, histograms_every_n)
            raise
        if not is_usual:
            _problems.check_arguments(log_data, scalars_every_n, histograms_every_n)
        scalars_every_n = min(int(scalars_every_n), _LAST_STEP)
        histograms_every_n = min(int(histograms_every_n), _LAST_STEP)
        is_int = type(step) is int
        if is_int:
            _problems.check_range(step)
            # Decided at once; where the step is on a device, the thread that writes decides.
            if step % scalars_every_n:
                scalars = {}
            if step % histograms_every_n:
                histograms = {}
        if not scalars and not histograms:
            return
        if _tracing.is_traced(scalars, histograms, step):
            _problems.check(scalars, histograms, step)
            self._has_callbacks = True
            _tracing.log_at_run_time(
                again,
                TensorboardLogData(scalars, histograms),
                step,
                scalars_every_n,
                histograms_every_n,
            )
            return
        if not is_int and isinstance(step, jax.Array) and step.dtype != np.uint64:
            _problems.check_steps(step.shape, step.dtype)
        elif not is_int:
            step = _problems.host_steps(step)
            if type(step) is int:
                self.log(log_data, step, scalars_every_n, histograms_every_n, quiet, again)
                return
        if scalars and histograms:
            # Before any of them is handed over: of what is wrong in part, nothing is logged.
            _problems.check(scalars, histograms, step)
        # Values that a traced function has from outside are there now, and are not to be traced.
        with jax.ensure_compile_time_eval():
            if scalars:
                self._log_scalars(scalars, step, scalars_every_n)
            if histograms:
                self._log_histograms(histograms, step, histograms_every_n)

    def _log_scalars(self, scalars: Mapping[str, Any], step: Any, every_n: int) -> None:
        if type(step) is int or step.ndim == 0:
            if len(scalars) >= _MANY:
                self._writer.expect(len(scalars))
            self._writer.put(pack(scalars, step, every_n))
        else:
            values = pack_stacked(scalars, len(step))
            self._writer.put_large(StackedScalars(values, time.time(), own_step(step), every_n))

    def _log_histograms(self, histograms: Mapping[str, Any], step: Any, every_n: int) -> None:
        stacked = None if type(step) is int or step.ndim == 0 else len(step)
        # Before they are copied, so that copies do not come together beyond the queue's bound.
        self._writer.wait_for_room(sum(getattr(one, "nbytes", 0) for one in histograms.values()))
        values = pack_histograms(histograms, stacked)
        self._writer.put_large(Histograms(values, time.time(), own_step(step), every_n))

    def rewind(self, step: Any, quiet: bool = False) -> None:
        """Mark that what was logged after `step` no longer counts."""
        last = _problems.host_steps(step)
        if type(last) is not int:
            raise LogDataError(f"step: expected one integer, found {step!r}")
        if self._writes:
            # After the last step that there can be, nothing is left to hide.
            first_hidden = min(last + 1, _LAST_STEP)
            # What was logged before it is told by the time, also on a host whose clock is ahead.
            now = max(time.time(), last_wall_time(self._directory))
            event = _protobuf.event(now, first_hidden, _protobuf.session_start())
            # Twice, since TensorBoard takes the first one it meets for the beginning of a run and
            # hides nothing. Its Rust data server ignores both: it hides what lies at or after a
            # step of a tag when it meets that step again.
            self._writer.put(Encoded(event))
            self._writer.put(Encoded(event))
            self._tell(quiet)

    def log_hparams(
        self, hparams: Mapping[str, Any], metrics: Sequence[str], quiet: bool = False
    ) -> None:
        """Give the run its row in the HParams tab.

        Args:
            hparams: a value for each name; what is no bool, number or str is written as text.
            metrics: tags of scalars that become columns; all, if none is named.
            quiet: do not warn of what the thread that writes has met.
        """
        if not all(hparams):
            # What has no names of its own is called nothing; and what has no values is kept whole.
            (whole,) = hparams.values()
            if not isinstance(whole, Mapping) and not dataclasses.is_dataclass(whole):
                raise LogDataError(
                    f"hparams: expected a dataclass or a mapping, found {type(whole).__name__}"
                )
            hparams = {}
        if isinstance(metrics, str):
            raise LogDataError(f"metrics: expected several tags, found the str {metrics!r}")
        if self._writes:
            for summary in _hparams.summaries(hparams, metrics):
                self._writer.put(Encoded(_protobuf.event(time.time(), 0, summary)))
            self._tell(quiet)

    @property
    def summary_writer(self) -> "tensorboardX.SummaryWriter":
        """A `tensorboardX.SummaryWriter` whose events go to the same file."""
        if self._summary_writer is None:
            from ._summary_writer import summary_writer

            self._summary_writer = summary_writer(
                self._directory, self._writer if self._writes else None
            )
        return self._summary_writer

    def write(self) -> None:
        """Write everything that has been handed over, and leave what there is to tell for later.

        Raises:
            LogWriteError: it cannot be written; it is kept and tried again.
        """
        self._await_callbacks()
        self._writer.flush()

    def flush(self, quiet: bool = False) -> None:
        """Write everything that has been handed over; raise `LogWriteError` if that fails."""
        try:
            self.write()
        finally:
            self._tell(quiet)

    def close(self, quiet: bool = False, hold: bool = False) -> None:
        """Flush and let go of the file and the thread; raise `LogWriteError` if that fails.

        Args:
            quiet: do not warn of what the thread that writes has met.
            hold: write nothing before `release` is called, and keep what is logged until then.
        """
        self._await_callbacks()
        try:
            self._writer.close(hold)
        finally:
            self._tell(quiet)

    def release(self) -> None:
        """Go on writing after `close(hold=True)`."""
        self._writer.release()

    def follow(self, directory: pathlib.Path) -> None:
        """Write where the directory has been moved to what a thread handed over meanwhile."""
        self._directory = self._writer.directory = directory
        # What cannot be written now is kept, and tried again.
        with contextlib.suppress(LogWriteError):
            self._writer.close()

    def _await_callbacks(self) -> None:
        # What was called inside `jit` is handed over only when the device gets there.
        if self._has_callbacks:
            jax.effects_barrier()

    def _tell(self, quiet: bool) -> None:
        notices, self._writer.notices = self._writer.notices, []
        if not quiet:
            for notice in notices:
                warnings.warn(notice, ExperimentWarning, stacklevel=_level_of_user())


def _level_of_user() -> int:
    """Return the `stacklevel` at which `warnings.warn` in the caller points at the user's line."""
    package = str(pathlib.Path(__file__).parents[1])
    level, frame = 1, inspect.currentframe()
    frame = frame and frame.f_back
    while frame and frame.f_code.co_filename.startswith((package, contextlib.__file__)):
        level, frame = level + 1, frame.f_back
    return level
