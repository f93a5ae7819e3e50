"""EventLog: what `Experiment.log` hands over, and to whom."""

import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
from jax.core import Tracer
from jax.experimental import io_callback

from .. import _processes
from .._errors import LogDataError
from .._log_data import TensorboardLogData
from . import _hparams, _packing, _protobuf, _steps
from ._entries import Encoded, Histograms, Scalars, StackedScalars, encode
from ._writer import EventWriter

if TYPE_CHECKING:
    import tensorboardX


class EventLog:
    """Log to one directory from this process; on all but the first process, do nothing.

    Args:
        directory: where the event file goes. It must exist once something is logged.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._writer = EventWriter(directory, encode)
        self._summary_writer: tensorboardX.SummaryWriter | None = None
        self._writes = _processes.is_primary()

    def log(
        self,
        log_data: TensorboardLogData,
        step: Any,
        scalars_every_n: int,
        histograms_every_n: int,
        quiet: bool = False,
    ) -> None:
        """Take over scalars and histograms; see `Experiment.log`.

        Args:
            log_data: what to log.
            step: its step, or a vector of steps.
            scalars_every_n: log scalars only at steps that this divides.
            histograms_every_n: log histograms only at steps that this divides.
            quiet: do not warn of what the thread that writes has met.

        Raises:
            LogDataError: a tag, value or step cannot be logged; lists all that is wrong.
        """
        if not self._writes:
            return
        if scalars_every_n < 1 or histograms_every_n < 1:
            raise LogDataError(
                "log_scalars_every_n and log_histograms_every_n: expected at least 1, found "
                f"{scalars_every_n} and {histograms_every_n}"
            )
        if _is_traced(log_data, step):
            self._log_at_run_time(log_data, step, scalars_every_n, histograms_every_n, quiet)
            return
        if isinstance(step, jax.Array):
            _steps.check_steps(step.shape, step.dtype)
        elif type(step) is not int:
            step = _steps.host_steps(step)
        scalars, histograms = log_data.scalars, log_data.histograms
        if type(step) is int:
            # Decided at once; where the step is on a device, the thread that writes decides.
            scalars = scalars if step % scalars_every_n == 0 else {}
            histograms = histograms if step % histograms_every_n == 0 else {}
        if scalars:
            self._log_scalars(scalars, step, scalars_every_n, quiet)
        if histograms:
            self._log_histograms(histograms, step, histograms_every_n, quiet)

    def _log_scalars(
        self, scalars: Mapping[str, Any], step: Any, every_n: int, quiet: bool
    ) -> None:
        now = time.time()
        if type(step) is int or step.ndim == 0:
            tags, host_values, vectors, step = _packing.pack(scalars, step)
            self._writer.put(Scalars(tags, host_values, vectors, now, step, every_n), quiet)
        else:
            values = _packing.pack_stacked(scalars, len(step))
            self._writer.put(StackedScalars(values, now, _own(step), every_n), quiet)

    def _log_histograms(
        self, histograms: Mapping[str, Any], step: Any, every_n: int, quiet: bool
    ) -> None:
        stacked = None if type(step) is int or step.ndim == 0 else len(step)
        values = _packing.pack_histograms(histograms, stacked)
        self._writer.put(Histograms(values, time.time(), _own(step), every_n), quiet)

    def _log_at_run_time(
        self,
        log_data: TensorboardLogData,
        step: Any,
        scalars_every_n: int,
        histograms_every_n: int,
        quiet: bool,
    ) -> None:
        def log(log_data: TensorboardLogData, step: Any) -> None:
            self.log(log_data, step, scalars_every_n, histograms_every_n, quiet)

        try:
            # What is logged is not differentiated, and the callback has no derivative.
            io_callback(log, None, *jax.lax.stop_gradient((log_data, step)), ordered=True)
        except ValueError as error:
            if "vmap" not in str(error):
                raise
            raise LogDataError(
                "log: cannot be called under vmap, where there is no order of steps; return the "
                "TensorboardLogData from the mapped function and log it outside"
            ) from None

    def rewind(self, step: Any, quiet: bool = False) -> None:
        """Mark that what was logged after `step` no longer counts."""
        last = _steps.host_steps(step)
        if type(last) is not int:
            raise LogDataError(f"step: expected one integer, found {step!r}")
        if self._writes:
            event = _protobuf.event(time.time(), last + 1, _protobuf.session_start())
            self._writer.put(Encoded(event), quiet)

    def log_hparams(
        self, hparams: Mapping[str, Any], metrics: Sequence[str], quiet: bool = False
    ) -> None:
        """Give the run its row in the HParams tab.

        Args:
            hparams: a value for each name; what is no bool, number or str is written as text.
            metrics: tags of scalars that become columns.
            quiet: do not warn of what the thread that writes has met.
        """
        if self._writes:
            for summary in _hparams.summaries(hparams, metrics):
                self._writer.put(Encoded(_protobuf.event(time.time(), 0, summary)), quiet)

    @property
    def summary_writer(self) -> "tensorboardX.SummaryWriter":
        """A `tensorboardX.SummaryWriter` whose events go to the same file."""
        if self._summary_writer is None:
            from ._summary_writer import summary_writer

            self._summary_writer = summary_writer(
                self._directory, self._writer if self._writes else None
            )
        return self._summary_writer

    def flush(self, quiet: bool = False) -> None:
        """Write everything that has been handed over; raise `LogWriteError` if that fails."""
        self._writer.flush(quiet)

    def flush_soon(self) -> None:
        """Have everything written, without waiting for it."""
        self._writer.flush_soon()

    def close(self, quiet: bool = False) -> None:
        """Flush and let go of the file and the thread; raise `LogWriteError` if that fails."""
        self._writer.close(quiet)


def _is_traced(log_data: TensorboardLogData, step: Any) -> bool:
    for value in log_data.scalars.values():
        if isinstance(value, Tracer):
            return True
    for value in log_data.histograms.values():
        if isinstance(value, Tracer):
            return True
    return isinstance(step, Tracer)


def _own(step: Any) -> Any:
    """Return a step that the caller cannot donate or change any more."""
    if isinstance(step, jax.Array):
        return _packing.copy_on_device(step)
    return step
