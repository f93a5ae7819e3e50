"""Nobody waits for a writing thread that has died, and one bad entry keeps no other from the disk."""

import os
import signal

import pytest

from fifteen.experiments import LogWriteError, TensorboardLogData
from fifteen.experiments.events import EventLog, _writer, read_scalars
from fifteen.experiments.events._entries import encode

SECONDS_UNTIL_HANGING = 60


@pytest.fixture
def no_hang():
    """End a test that waits for ever, so that it fails."""

    def give_up(number, frame):
        pytest.fail("it hangs")

    old = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS_UNTIL_HANGING)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


class Bad:
    """An entry that no encoder expects."""


class LargeBad(Bad):
    nbytes = 10


@pytest.mark.usefixtures("no_hang")
@pytest.mark.parametrize("bad", [Bad, LargeBad])
@pytest.mark.parametrize("error", [MemoryError, KeyError, AttributeError, RuntimeError])
def test_whatever_encoding_raises_is_told_and_the_rest_is_written(tmp_path, bad, error):
    def raising(entries, notices):
        if any(isinstance(entry, Bad) for entry in entries):
            raise error("unexpected")
        return encode(entries, notices)

    writer = _writer.EventWriter(tmp_path, raising)
    log = EventLog(tmp_path)
    log._writer = writer
    for step in range(5):
        log.log(TensorboardLogData({"x": 1.0}), step, 1, 1)
        writer.put(bad())
    writer.flush()
    assert len(writer.notices) == 5
    assert all("left out" in notice and error.__name__ in notice for notice in writer.notices)
    log.close(quiet=True)
    assert read_scalars(tmp_path)["x"].step.tolist() == list(range(5))


@pytest.mark.usefixtures("no_hang")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_started_again(tmp_path, monkeypatch):
    log = EventLog(tmp_path)
    dying = [True]
    write = _writer.EventWriter._write

    def die_once(self):
        if dying.pop() if dying else False:
            raise SystemExit
        write(self)

    monkeypatch.setattr(_writer.EventWriter, "_write", die_once)
    log.log(TensorboardLogData({"x": 1.0}), 1, 1, 1)
    log.flush()
    log.log(TensorboardLogData({"x": 1.0}), 2, 1, 1)
    log.close()
    assert read_scalars(tmp_path)["x"].step.tolist() == [1, 2]


@pytest.mark.usefixtures("no_hang")
def test_closing_on_a_disk_that_fills_between_flush_and_close_raises(tmp_path, monkeypatch):
    log = EventLog(tmp_path)
    log.log(TensorboardLogData({"x": 1.0}), 1, 1, 1)
    flush = _writer.EventWriter.flush

    def fail(self):
        raise OSError(28, os.strerror(28))

    def fill_disk(self):
        flush(self)
        log.log(TensorboardLogData({"x": 1.0}), 2, 1, 1)
        monkeypatch.setattr(_writer.EventWriter, "_write_batch", fail)

    monkeypatch.setattr(_writer.EventWriter, "flush", fill_disk)
    with pytest.raises(LogWriteError, match="No space left"), pytest.warns(match="tried again"):
        log.close()
    monkeypatch.undo()
    log.close()
    assert read_scalars(tmp_path)["x"].step.tolist() == [1, 2]
