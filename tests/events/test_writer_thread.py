"""The writing thread ends when it is idle or dies, and nothing is lost or waits for ever."""

import _thread
import itertools
import os
import random
import resource
import signal
import sys
import threading
import time

import pytest

from fifteen.experiments import ExperimentWarning, LogWriteError, TensorboardLogData
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.events.writing import EventLog, _background
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


@pytest.mark.usefixtures("no_hang")
@pytest.mark.parametrize(
    "raised", [MemoryError, KeyError, RuntimeError, SystemExit, AttributeError]
)
def test_encoding_errors_are_reported_and_the_rest_is_written(tmp_path, monkeypatch, raised):
    records = Encoder.records

    def raise_for_bad(self, entry, report):
        if isinstance(entry, Bad):
            yield b""
            raise raised("unexpected")
        yield from records(self, entry, report)

    if raised is not AttributeError:
        monkeypatch.setattr(Encoder, "records", raise_for_bad)
    log = EventLog(Directory(tmp_path))
    for step in range(5):
        log.log(TensorboardLogData({"x": 1.0}), step, 1, 1)
        log._writer.put(Bad())
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

    def die_once(self, is_closing):
        nonlocal is_dead
        if not is_dead:
            is_dead = True
            raise SystemExit
        write(self, is_closing)

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


@pytest.fixture
def soon_idle(monkeypatch):
    monkeypatch.setattr(_background, "SECONDS_BETWEEN_WRITES", 0.01)
    monkeypatch.setattr(_background, "SECONDS_UNTIL_IDLE", 0.05)


def wait_until(condition):
    while not condition():
        time.sleep(0.005)


def log_step(log, step):
    log.log(TensorboardLogData({"x": float(step)}), step, 1, 1)


def is_idle(log):
    writer = log._writer
    return not (writer._entries or writer._is_starting or writer._thread)


def read_steps(directory):
    return EventReader(Directory(directory)).scalars()["x"].step.tolist()


@pytest.mark.usefixtures("no_hang", "soon_idle")
def test_idle_thread_ends_and_the_next_log_starts_another(tmp_path):
    log = EventLog(Directory(tmp_path))
    for step in range(5):
        log_step(log, step)
        wait_until(lambda: is_idle(log))
        # Without a flush.
        assert read_steps(tmp_path) == list(range(step + 1))
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.usefixtures("no_hang", "soon_idle")
def test_close_after_the_thread_has_ended_closes_the_file(tmp_path):
    log = EventLog(Directory(tmp_path))
    for step in range(2):
        log_step(log, step)
        wait_until(lambda: is_idle(log))
        log.flush()
        assert log._writer._thread == {}
        assert log._writer.is_open
        log.close()
        assert not log._writer.is_open
    assert read_steps(tmp_path) == [0, 1]
    assert len(os.listdir(tmp_path)) == 2


def test_log_is_not_open_if_the_thread_closes_its_file_meanwhile(tmp_path, monkeypatch):
    """A caller that was interrupted while it waited has left its request to close."""
    log = EventLog(Directory(tmp_path))
    log.log(TensorboardLogData({"x": 1.0}), 1)
    log.flush()
    is_gone = AppendedFile.is_gone

    def close_before(file):
        monkeypatch.setattr(AppendedFile, "is_gone", is_gone)
        log.close()
        return is_gone(file)

    monkeypatch.setattr(AppendedFile, "is_gone", close_before)
    log.record_end(None)
    log.close()
    assert EventReader(Directory(tmp_path)).timeline.end is None


@pytest.mark.slow
@pytest.mark.usefixtures("no_hang", "soon_idle")
def test_many_idle_logs_have_no_threads(tmp_path):
    before = _thread._count()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], 4096), limits[1]))
    logs = []
    for number in range(1000):
        (tmp_path / str(number)).mkdir()
        logs.append(EventLog(Directory(tmp_path / str(number))))
        log_step(logs[-1], number)
    wait_until(lambda: _thread._count() <= before)
    assert all(log._writer.is_open for log in logs)
    for log in logs:
        log.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [read_steps(tmp_path / str(number)) for number in range(1000)] == [
        [number] for number in range(1000)
    ]


@pytest.mark.usefixtures("no_hang")
def test_error_keeps_the_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(_background, "SECONDS_BETWEEN_WRITES", 0.01)
    monkeypatch.setattr(_background, "SECONDS_UNTIL_IDLE", 0.0)
    write, failures = AppendedFile.write, []

    def fail_at_first(file, data):
        if len(failures) < 20:
            failures.append(OSError(28, os.strerror(28)))
            raise failures[-1]
        return write(file, data)

    monkeypatch.setattr(AppendedFile, "write", fail_at_first)
    log = EventLog(Directory(tmp_path))
    log_step(log, 1)
    # Without a flush or another log.
    wait_until(lambda: len(failures) == 20 and is_idle(log))
    assert read_steps(tmp_path) == [1]
    log._writer.reports.clear()


@pytest.mark.usefixtures("no_hang")
def test_threads_that_log_while_others_end(tmp_path, monkeypatch):
    monkeypatch.setattr(_background, "SECONDS_BETWEEN_WRITES", 0.0002)
    monkeypatch.setattr(_background, "SECONDS_UNTIL_IDLE", 0.0)
    log = EventLog(Directory(tmp_path))
    started, start, failures = itertools.count(), _thread.start_new_thread, []

    def count_and_start(*arguments):
        next(started)
        return start(*arguments)

    def run(number):
        generator = random.Random(number)
        try:
            for step in range(1000):
                log.log(TensorboardLogData({f"t{number}": float(step)}), step, 1, 1)
                act = generator.random()
                if act < 0.01:
                    log.close()
                elif act < 0.02:
                    log.flush()
                elif act < 0.5:
                    time.sleep(generator.uniform(0, 0.001))
        except BaseException as error:
            failures.append(error)

    monkeypatch.setattr(_thread, "start_new_thread", count_and_start)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # The last entries are written without a flush.
        wait_until(lambda: is_idle(log))
    finally:
        sys.setswitchinterval(interval)
    assert not failures
    found = EventReader(Directory(tmp_path)).scalars()
    assert {tag: series.step.tolist() for tag, series in found.items()} == {
        f"t{number}": list(range(1000)) for number in range(4)
    }
    assert next(started) > 100


@pytest.fixture
def no_threads(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)


@pytest.mark.usefixtures("no_hang", "no_threads")
def test_callers_write_if_no_thread_can_start(tmp_path):
    log = EventLog(Directory(tmp_path))
    for step in range(3):
        log_step(log, step)
        assert read_steps(tmp_path) == list(range(step + 1))
    log.flush()
    log.close()
    assert not log._writer.is_open
    log = EventLog(Directory(tmp_path / "absent"))
    log_step(log, 0)
    with (
        pytest.raises(LogWriteError, match="No such file"),
        pytest.warns(ExperimentWarning, match="cannot be written"),
    ):
        log.flush()
    log_step(log, 1)
    with pytest.raises(LogWriteError, match="No such file"):
        log.close()
    (tmp_path / "absent").mkdir()
    log.close()
    assert read_steps(tmp_path / "absent") == [0, 1]


@pytest.mark.usefixtures("no_hang", "no_threads")
def test_signal_handler_may_flush_while_its_thread_writes(tmp_path, monkeypatch):
    log = EventLog(Directory(tmp_path))
    write, depth = AppendedFile.write, 0

    def interrupted(file, data):
        nonlocal depth
        depth += 1
        if depth < 3:
            log_step(log, depth)
            log.flush()
        return write(file, data)

    monkeypatch.setattr(AppendedFile, "write", interrupted)
    log_step(log, 0)
    log.close()
    assert read_steps(tmp_path) == [0, 1, 2]


IDLE = """
from fifteen.experiments.events.writing import _background
_background.SECONDS_BETWEEN_WRITES = 0.01
_background.SECONDS_UNTIL_IDLE = 0.05
log = EventLog(Directory(directory))
def log_idly(step):
    log.log(scalars(x=float(step)), step, 1, 1)
    writer = log._writer
    while writer._entries or writer._is_starting or writer._thread: time.sleep(0.01)
log_idly(0)
log_idly(1)
"""


@pytest.mark.parametrize("refuse", [False, True])
def test_exit_after_idleness_loses_nothing(tmp_path, run_script, refuse):
    # As while the interpreter exits, since Python 3.12.
    refusing = """
import _thread
def refuse(*_): raise RuntimeError("can't create new thread at interpreter shutdown")
_thread.start_new_thread = refuse
"""
    outcome = run_script(
        IDLE
        + "import atexit\natexit.register(lambda: log.log(scalars(x=2.0), 2, 1, 1))\n"
        + refusing * refuse
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert read_steps(tmp_path) == [0, 1, 2]
    [path] = tmp_path.iterdir()
    assert b"_hparams_/session_end_info" in path.read_bytes()


@pytest.mark.parametrize("step", [1, 2])
def test_signal_after_idleness_loses_nothing(tmp_path, run_script, step):
    outcome = run_script(
        IDLE + f"if {step} == 2: log.log(scalars(x=2.0), 2, 1, 1)\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)"
    )
    assert outcome.returncode == -signal.SIGTERM, outcome.stderr
    assert read_steps(tmp_path) == list(range(step + 1))


def test_fork_after_idleness_loses_nothing(tmp_path, run_script):
    outcome = run_script(
        "import warnings; warnings.simplefilter('ignore')\n"
        + IDLE
        + """
child = os.fork()
log.log(scalars(**{"x" if child else "y": 2.0}), 2, 1, 1)
log.close()
if not child: os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    )
    assert outcome.returncode == 0, outcome.stderr
    assert read_steps(tmp_path) == [0, 1, 2]
    assert EventReader(Directory(tmp_path)).scalars()["y"].step.tolist() == [2]
    assert len(os.listdir(tmp_path)) == 2
