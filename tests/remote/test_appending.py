"""Logs in object stores: complete, in order, without duplicates, and `log` never waits."""

import contextlib
import pathlib
import re
import shutil
import signal
import threading
import time

import appending
import pytest
import warm
from appending import Bucket, download, log_step
from running_tensorboard import running_tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from fifteen.experiments import ExperimentWarning, LogWriteError
from fifteen.experiments.events.writing import EventLog, _background
from fifteen.experiments.storage._remote import _appended

QUICK = {"retry_config": {"max_retries": 1}}
PATIENCE = 100


@pytest.fixture(autouse=True)
def sizes(monkeypatch, tmp_path):
    """Upload often, and spill into a directory that tests can read."""
    for name in vars(_appended):
        if name.startswith(("_MAX", "_SECONDS", "_FREE")):
            monkeypatch.setattr(_appended, name, getattr(_appended, name))
    monkeypatch.setattr(_background, "SECONDS_BETWEEN_WRITES", 0.02)
    appending.set_sizes(SECONDS_BETWEEN_PUTS=0.05, MAX_OBJECT_BYTES=4000)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def copy(tmp_path):
    (tmp_path / "copy").mkdir()
    return tmp_path / "copy"


def records(directory):
    """Return the step of each record, in TensorBoard's order of files."""
    return [
        event.step
        for path in sorted(directory.iterdir())
        for event in EventFileLoader(str(path)).Load()
        if any(value.tag == "loss" for value in event.summary.value)
    ]


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def spilled(tmp_path):
    return [path for path in (tmp_path / "temporary").rglob("*") if path.is_file()]


def test_logs_are_stored_after_flush(bucket, copy):
    objects = Bucket(bucket)
    log = EventLog(objects)
    for step in range(100):
        log_step(log, step)
        if step % 10 == 0:
            log.flush()
            assert download(objects, copy) == list(range(step + 1))
    log.close()
    assert records(copy) == list(range(91))
    assert download(objects, copy) == list(range(100)) == records(copy)


def test_idle_log_arrives_without_a_flush(bucket, copy, monkeypatch):
    monkeypatch.setattr(_background, "SECONDS_UNTIL_IDLE", 0.02)
    appending.set_sizes(SECONDS_BETWEEN_PUTS=0.3)
    objects = Bucket(bucket)
    log = EventLog(objects)
    for step in range(3):
        log_step(log, step)
        wait_until(lambda: appending.is_idle(log))
        while not objects.names() or len(download(objects, copy)) <= step:
            time.sleep(0.02)
    log.close()
    assert download(objects, copy) == [0, 1, 2] == records(copy)


def test_long_logs_are_several_complete_event_files(bucket, copy):
    objects = Bucket(bucket)
    log = EventLog(objects)
    for _ in range(20):
        for step in range(_ * 50, _ * 50 + 50):
            log_step(log, step)
        log.flush()
    log.close()
    assert download(objects, copy) == list(range(1000)) == records(copy)
    names = objects.names()
    assert len(names) > 5
    assert len({name.rpartition(".")[0] for name in names}) == 1
    for name in names:
        first = next(iter(EventFileLoader(str(copy / name)).Load()))
        assert first.file_version == "brain.Event:2"


def test_later_logs_sort_after_earlier_ones(bucket, copy):
    for start in range(5):
        log = EventLog(Bucket(bucket))
        log_step(log, start)
        log.close()
    assert download(Bucket(bucket), copy) == list(range(5)) == records(copy)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::fifteen.experiments.ExperimentWarning")
@pytest.mark.parametrize("seed", range(3))
def test_random_faults_lose_nothing(bucket, proxy, copy, seed):
    objects = Bucket(bucket, retry_config={"max_retries": seed})
    appending.set_sizes(MAX_SECONDS_BETWEEN_TRIES=0.1)
    log = EventLog(objects)
    proxy.fail_at_random(seed, 0.4)
    for step in range(600):
        log_step(log, step)
        time.sleep(0.002)
    with contextlib.suppress(LogWriteError):
        log.flush()
    proxy.fail_at_random(seed, 0)
    log.close()
    assert proxy.refused > 3
    assert download(objects, copy) == list(range(600)) == records(copy)


@pytest.mark.slow
def test_network_outage_loses_nothing(bucket, proxy, copy, tmp_path):
    appending.set_sizes(MAX_SECONDS_BETWEEN_TRIES=0.1, MAX_OBJECTS_IN_MEMORY=2)
    objects = Bucket(bucket, **QUICK)
    log = EventLog(objects)
    for step in range(100):
        log_step(log, step)
    log.flush()
    proxy.turn_off()
    for step in range(100, 1500):
        log_step(log, step)
        time.sleep(0.0005)
    wait_until(lambda: log.has_reports and len(spilled(tmp_path)) > 3)
    with pytest.warns(ExperimentWarning, match="cannot be sent.*is kept and tried again") as told:
        log.report()
    with pytest.raises(LogWriteError, match=r"missing there has been written to .*/fifteen-\w+;"):
        log.flush()
    time.sleep(0.5)
    assert len(told) == 1
    assert not log.has_reports
    proxy.turn_on()
    log.close()
    assert download(objects, copy) == list(range(1500)) == records(copy)
    assert spilled(tmp_path) == []


@pytest.mark.slow
def test_repeated_flush_during_a_network_outage(bucket, proxy, copy, tmp_path):
    appending.set_sizes(MAX_SECONDS_BETWEEN_TRIES=0.1, MAX_OBJECTS_IN_MEMORY=1)
    objects = Bucket(bucket, retry_config={"max_retries": 0})
    proxy.turn_off()
    log = EventLog(objects)
    is_done = threading.Event()

    def flush():
        while not is_done.is_set():
            with contextlib.suppress(LogWriteError):
                log._writer.flush()

    threads = [threading.Thread(target=flush) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(4000):
        log_step(log, step)
        time.sleep(0.0005)
    is_done.set()
    for thread in threads:
        thread.join()
    assert all("cannot be sent" in report for report in log._writer.reports)
    log._writer.reports.clear()
    proxy.turn_on()
    log.close()
    assert download(objects, copy) == list(range(4000)) == records(copy)
    assert spilled(tmp_path) == []


def test_log_without_threads_at_interpreter_exit(bucket, copy, monkeypatch):
    monkeypatch.setattr(_appended, "start_thread", lambda run: False)
    objects = Bucket(bucket)
    log = EventLog(objects)
    for step in range(100):
        log_step(log, step)
    log.close()
    assert download(objects, copy) == list(range(100)) == records(copy)


@pytest.mark.slow
def test_network_that_is_down_at_first(bucket, proxy, copy):
    appending.set_sizes(MAX_SECONDS_BETWEEN_TRIES=0.1)
    objects = Bucket(bucket, **QUICK)
    proxy.turn_off()
    log = EventLog(objects)
    for step in range(10_000):
        log_step(log, step)
    wait_until(lambda: log.has_reports)
    with pytest.warns(ExperimentWarning, match="cannot be sent"):
        log.report()
    proxy.turn_on()
    log.close()
    assert download(objects, copy) == list(range(10_000)) == records(copy)


@pytest.mark.slow
def test_log_waits_for_no_request(bucket, proxy, copy):
    objects = Bucket(bucket)
    proxy.hold()
    log = EventLog(objects)
    for step in range(3 * _background.MAX_ENTRIES):
        log_step(log, step)
        if step % 1000 == 0:
            time.sleep(0.05)
    assert proxy.requests == []
    proxy.release()
    log.close()
    assert download(objects, copy) == list(range(3 * _background.MAX_ENTRIES)) == records(copy)


@pytest.mark.slow
def test_upload_volume_is_proportional_to_the_log(bucket, proxy):
    appending.set_sizes(
        SECONDS_BETWEEN_PUTS=0.0, MAX_OBJECT_BYTES=1 << 20, FREE_REPEATED_BYTES=1000, MAX_REPEATS=4
    )
    objects = Bucket(bucket)
    log = EventLog(objects)
    for step in range(1000):
        log_step(log, step)
        if step % 5 == 0:
            log.flush()
    log.close()
    sizes = {name: len(objects.get(name)) for name in objects.names()}
    assert len(sizes) > 5
    assert len(proxy.sent("PUT")) > 100
    for name, size in sizes.items():
        # The allowed volume, the upload that exceeded it, and one more of the next object.
        assert sum(proxy.sent("PUT", name)) <= 1000 + (4 + 2) * size


def test_permanent_error_is_reported_at_once(bucket, absent, monkeypatch):
    log = EventLog(Bucket(absent))
    log_step(log, 0)
    with (
        pytest.raises(LogWriteError, match="404 Not Found"),
        pytest.warns(ExperimentWarning, match="cannot be sent.*404 Not Found"),
    ):
        log.flush()
    objects = Bucket(bucket)
    monkeypatch.setattr(log._writer._file, "_directory", objects)
    log.close()
    assert len(objects.names()) == 1


def steps_in_tensorboard(accumulator):
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return [event.step for event in accumulator.Scalars("loss")] if "loss" in tags else []


@pytest.mark.slow
@pytest.mark.s3
def test_tensorboard_reads_a_growing_curve_from_the_bucket(bucket):
    accumulator = EventAccumulator(bucket, size_guidance={"scalars": 0})
    objects = Bucket(bucket)
    log = EventLog(objects)
    for step in range(300):
        log_step(log, step)
        if step % 30 == 0:
            log.flush()
            assert steps_in_tensorboard(accumulator) == list(range(step + 1))
    log.close()
    assert steps_in_tensorboard(accumulator) == list(range(300))
    assert len(objects.names()) > 3


SCRIPT = f"""
import os, signal, sys, time
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import appending
from appending import Bucket, log_step
from fifteen.experiments.events.writing import EventLog
appending.set_sizes(SECONDS_BETWEEN_PUTS=1000.0)
log = EventLog(Bucket(sys.argv[1], retry_config={{"max_retries": 1}}))
"""


def start(script, bucket):
    return warm.Process(SCRIPT + script, bucket)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise SystemError", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT),
        ("time.sleep(2); log.log_end(True); sys.exit()", 0),
    ],
)
def test_exit_loses_nothing(bucket, copy, ending, code):
    child = start(f"for step in range(100): log_step(log, step)\n{ending}", bucket)
    _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == code, errors
    assert download(Bucket(bucket), copy) == list(range(100))


@pytest.mark.slow
def test_exit_does_not_hang_without_answers(bucket, proxy):
    script = """
import tempfile
from fifteen.experiments import Experiment, TensorboardLogData
from fifteen.experiments.storage._remote import _lease
appending.set_sizes(MAX_SECONDS_WITHOUT_PROGRESS=1.0)
assert _lease._MAX_SECONDS_TO_RELEASE
_lease._MAX_SECONDS_TO_RELEASE = 1.0
experiment = Experiment(sys.argv[1])
for step in range(10_000):
    experiment.log(TensorboardLogData({"loss": 1.0}), step)
print("all logged", flush=True)
"""
    proxy.hold()
    child = start(script, bucket)
    output, errors = child.communicate(timeout=PATIENCE)
    assert "all logged" in output
    named = re.search(
        r"LogWriteError at exit: .*://.*: .* written to (\S+); if this process ends", errors
    )
    assert named is not None, errors
    shutil.rmtree(named[1])
    assert proxy.requests == []


@pytest.mark.parametrize("ending", ["", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"])
@pytest.mark.parametrize("is_reached", [True, False])
def test_unsent_logs_are_saved_to_named_files_at_exit(bucket, proxy, copy, is_reached, ending):
    script = """
appending.set_sizes(MAX_SECONDS_WITHOUT_PROGRESS=1.0, MAX_OBJECT_BYTES=4000)
if READY:
    for step in range(50): log_step(log, step)
    log.flush()
print("ready", flush=True)
input()
for step in range(50, 200): log_step(log, step)
"""
    child = start(script.replace("READY", str(is_reached)) + ending, bucket)
    assert child.stdout.readline() == "ready\n", child.communicate()
    proxy.turn_off()
    _, errors = child.communicate("\n", timeout=PATIENCE)
    assert "Traceback" not in errors
    named = re.search(
        r"LogWriteError at exit: .*://.*: .* written to (\S+); if this process ends, copy it there",
        errors,
    )
    assert named is not None, errors
    proxy.turn_on()
    assert download(Bucket(bucket), copy) == (list(range(50)) if is_reached else [])
    for path in pathlib.Path(named[1]).iterdir():
        Bucket(bucket).put(path.name, path.read_bytes())
    shutil.rmtree(named[1])
    expected = list(range(0 if is_reached else 50, 200))
    assert download(Bucket(bucket), copy) == expected == records(copy)


def test_forked_child_does_not_touch_the_log(bucket, copy):
    script = """
import multiprocessing, warnings
warnings.simplefilter("ignore")
for step in range(50): log_step(log, step)
log.flush()
for step in range(50, 100): log_step(log, step)
children = [multiprocessing.get_context("fork").Process(target=print) for _ in range(3)]
for child in children: child.start()
for child in children: child.join(60)
assert [child.exitcode for child in children] == [0, 0, 0]
for step in range(100, 150): log_step(log, step)
log.close()
"""
    child = start(script, bucket)
    _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, errors
    assert download(Bucket(bucket), copy) == list(range(150)) == records(copy)


@pytest.mark.slow
def test_kill_loses_only_logs_since_the_last_upload(bucket, copy):
    script = """
appending.set_sizes(SECONDS_BETWEEN_PUTS=0.3)
for step in range(100): log_step(log, step)
input()
for step in range(100, 10**9):
    log_step(log, step)
    time.sleep(0.001)
"""
    objects = Bucket(bucket)
    child = start(script, bucket)
    # Nothing asks for it.
    wait_until(lambda: download(objects, copy) == list(range(100)))
    child.stdin.write("\n")
    child.stdin.flush()
    wait_until(lambda: len(download(objects, copy)) > 700)
    child.kill()
    child.communicate()
    found = download(objects, copy)
    assert found == list(range(len(found))) == records(copy)


@pytest.mark.slow
@pytest.mark.s3
def test_tensorboard_shows_one_curve(bucket):
    with running_tensorboard(bucket, fast=False) as board:
        log = EventLog(Bucket(bucket))
        for count in (100, 200, 300):
            for step in range(count - 100, count):
                log_step(log, step)
            log.flush()
            steps, _ = board.scalars("loss", count)
            assert steps == list(range(count))
        log.close()
