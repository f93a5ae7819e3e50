"""A dead writing thread blocks nobody, and a bad entry does not stop the others."""

import os
import signal

import pytest

from fifteen.experiments import ExperimentWarning, LogWriteError, TensorboardLogData
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.events.writing._background import BackgroundWriter
from fifteen.experiments.events.writing._encoder import Encoder
from fifteen.experiments.storage import AppendedFile, Directory

SECONDS_UNTIL_HANGING = 60


@pytest.fixture
def no_hang():
    """Make a test that hangs fail."""

    def give_up(number, frame):
        pytest.fail("it hangs")

    old = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS_UNTIL_HANGING)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


class Bad:
    """An entry unknown to the encoder."""


class LargeBad(Bad):
    nbytes = 10


@pytest.mark.usefixtures("no_hang")
@pytest.mark.parametrize("bad", [Bad, LargeBad])
@pytest.mark.parametrize("raised", [MemoryError, KeyError, RuntimeError, SystemExit, TypeError])
def test_encoding_errors_are_reported_and_the_rest_is_written(tmp_path, monkeypatch, bad, raised):
    records = Encoder.records

    def raise_for_bad(self, entry, report):
        if isinstance(entry, Bad):
            yield b""
            raise raised("unexpected")
        yield from records(self, entry, report)

    if raised is not TypeError:
        monkeypatch.setattr(Encoder, "records", raise_for_bad)
    log = EventLog(Directory(tmp_path))
    for step in range(5):
        log.log(TensorboardLogData({"x": 1.0}), step, 1, 1)
        log._writer.put_large(bad())
    log._writer.flush()
    reports = log._writer.reports
    assert len(reports) == 5
    assert all("left out" in report and raised.__name__ in report for report in reports)
    with pytest.warns(ExperimentWarning, match="left out"):
        log.close()
    assert EventReader(Directory(tmp_path)).scalars()["x"].step.tolist() == list(range(5))


@pytest.mark.usefixtures("no_hang")
@pytest.mark.parametrize("raised", [RuntimeError, MemoryError, KeyboardInterrupt])
def test_write_errors_are_raised_by_flush_and_retried(tmp_path, monkeypatch, raised):
    log = EventLog(Directory(tmp_path))

    def fail(self, data):
        raise raised("unexpected")

    with monkeypatch.context() as patch:
        patch.setattr(AppendedFile, "write", fail)
        log.log(TensorboardLogData({"x": 1.0}), 1, 1, 1)
        for ask in (log._writer.flush, log._writer.close):
            with pytest.raises(LogWriteError, match=f"{raised.__name__}: unexpected"):
                ask()
    with pytest.warns(ExperimentWarning, match="cannot be written"):
        log.close()
    assert EventReader(Directory(tmp_path)).scalars()["x"].step.tolist() == [1]


@pytest.mark.usefixtures("no_hang")
def test_dead_thread_is_restarted(tmp_path, monkeypatch):
    log = EventLog(Directory(tmp_path))
    is_dead = False
    write = BackgroundWriter._write

    def die_once(self):
        nonlocal is_dead
        if not is_dead:
            is_dead = True
            raise SystemExit
        write(self)

    monkeypatch.setattr(BackgroundWriter, "_write", die_once)
    log.log(TensorboardLogData({"x": 1.0}), 1, 1, 1)
    log.flush()
    log.log(TensorboardLogData({"x": 1.0}), 2, 1, 1)
    log.close()
    assert EventReader(Directory(tmp_path)).scalars()["x"].step.tolist() == [1, 2]


@pytest.mark.usefixtures("no_hang")
def test_close_on_a_full_disk_raises_and_can_be_retried(tmp_path, monkeypatch):
    log = EventLog(Directory(tmp_path))
    log.log(TensorboardLogData({"x": 1.0}), 1, 1, 1)
    log.flush()

    def fail(self):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(BackgroundWriter, "_write_batches", fail)
    log.log(TensorboardLogData({"x": 1.0}), 2, 1, 1)
    with pytest.raises(LogWriteError, match="No space left"), pytest.warns(match="tried again"):
        log.close()
    monkeypatch.undo()
    log.close()
    assert EventReader(Directory(tmp_path)).scalars()["x"].step.tolist() == [1, 2]
