"""The event file, its queue, and failing disks."""

import contextlib
import itertools
import os
import resource
import shutil
import subprocess
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fifteen.experiments import (
    Experiment,
    ExperimentWarning,
    LogWriteError,
    TensorboardLogData,
)
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.events.writing import EventLog, _background
from fifteen.experiments.storage import AppendedFile, Directory


def scalars(**values):
    return TensorboardLogData(scalars=values)


def steps(directory, tag="x"):
    return EventReader(Directory(directory)).scalars()[tag].step.tolist()


def accumulated_steps(directory, tag="x"):
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    return [event.step for event in accumulator.Scalars(tag)]


def test_one_event_per_step_in_one_file(tmp_path):
    log = EventLog(Directory(tmp_path))
    for step in range(10):
        log.log(scalars(a=1.0, b=2.0), step, 1, 1)
    log.close()
    [path] = tmp_path.iterdir()
    content = path.read_bytes()
    assert content.count(b"\x01a\x15") == content.count(b"\x01b\x15") == 10
    accumulator = EventAccumulator(str(tmp_path)).Reload()
    [a, b] = (accumulator.Scalars(tag) for tag in "ab")
    assert [event.wall_time for event in a] == [event.wall_time for event in b]


@pytest.mark.slow
def test_events_are_written_within_a_second_without_flush(tmp_path):
    log = EventLog(Directory(tmp_path))
    log.log(scalars(x=1.0), 1, 1, 1)
    time.sleep(1)
    assert steps(tmp_path) == [1]
    log.log(scalars(x=1.0), 2, 1, 1)
    time.sleep(1)
    assert steps(tmp_path) == [1, 2]
    log.close()


def test_close_is_idempotent_and_a_later_log_opens_another_file(tmp_path):
    log = EventLog(Directory(tmp_path))
    log.close()
    assert list(tmp_path.iterdir()) == []
    for number in range(12):
        log.log(scalars(x=1.0), number, 1, 1)
        log.close()
        log.close()
        assert len(list(tmp_path.iterdir())) == number + 1
    # Files of one second keep the order in which TensorBoard reads them.
    assert accumulated_steps(tmp_path) == list(range(12))
    assert f"events of {tmp_path.name}" not in [thread.name for thread in threading.enumerate()]


def test_two_logs_in_one_second(tmp_path):
    logs = [EventLog(Directory(tmp_path)) for _ in range(3)]
    for step in range(30):
        logs[step % 3].log(TensorboardLogData({f"tag{step % 3}": 1.0}), step, 1, 1)
    for log in logs:
        log.close()
    assert len(list(tmp_path.iterdir())) == 3
    assert [len(series.step) for series in EventReader(Directory(tmp_path)).scalars().values()] == [
        10,
        10,
        10,
    ]


def test_new_file_sorts_after_all_others(tmp_path):
    future = tmp_path / f"events.out.tfevents.{int(time.time()) + 1000}.elsewhere.1.v2"
    future.write_bytes(b"")
    (tmp_path / "events.out.tfevents.odd").write_bytes(b"")
    (tmp_path / "events.out.tfevents.99999999999999.odd").write_bytes(b"")
    log = EventLog(Directory(tmp_path))
    log.log(scalars(x=1.0), 1, 1, 1)
    log.close()
    [own] = {path for path in tmp_path.iterdir() if path.stat().st_size}
    assert own.name > future.name


def test_deleted_file_is_created_again(tmp_path):
    log = EventLog(Directory(tmp_path))
    log.log(scalars(x=1.0), 1, 1, 1)
    log.flush()
    for path in tmp_path.iterdir():
        path.unlink()
    log.log(scalars(x=2.0), 2, 1, 1)
    log.close()
    assert steps(tmp_path) == [2]


def test_many_threads_may_log(tmp_path):
    log = EventLog(Directory(tmp_path))

    def run(name):
        for step in range(500):
            log.log(TensorboardLogData({name: jnp.float32(step)}), step, 1, 1)

    threads = [threading.Thread(target=run, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    found = EventReader(Directory(tmp_path)).scalars()
    assert {tag: series.value.tolist() for tag, series in found.items()} == {
        f"t{number}": list(range(500)) for number in range(4)
    }


@contextlib.contextmanager
def small_tmpfs(path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs takes rights that this process does not have")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_full_disk_loses_nothing_once_freed(tmp_path):
    with small_tmpfs(tmp_path) as directory:
        log = EventLog(Directory(directory))
        log.log(scalars(x=0.0), 0, 1, 1)
        log.flush()
        ballast = directory / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(512))
        for step in range(1, 400):
            log.log(scalars(x=float(step)), step, 1, 1)
        with (
            pytest.raises(LogWriteError, match=r"No space left.*kept in memory and tried again"),
            pytest.warns(ExperimentWarning, match="No space left") as warned,
        ):
            log.flush()
        assert len(warned) == 1
        # Warned once, but raised by every flush.
        log.log(scalars(x=400.0), 400, 1, 1)
        for ask in (log.flush, log.close):
            with pytest.raises(LogWriteError):
                ask()
        ballast.unlink()
        log.log(scalars(x=401.0), 401, 1, 1)
        log.close()
        assert accumulated_steps(directory) == list(range(402))
        assert len(list(directory.iterdir())) == 1


def close_at_last(log):
    for _ in range(1000):
        with contextlib.suppress(LogWriteError):
            log.close()
            return
    raise AssertionError("it is never written")


def test_partial_writes_are_completed(tmp_path, monkeypatch):
    write, writes = AppendedFile.write, itertools.count(1)

    def write_a_few_bytes(file, data):
        number = next(writes)
        if number % 3 == 2:
            raise OSError(28, "No space left on device")
        return write(file, data if number == 1 else data[:7])

    monkeypatch.setattr(AppendedFile, "write", write_a_few_bytes)
    log = EventLog(Directory(tmp_path))
    for step in range(20):
        log.log(scalars(x=float(step)), step, 1, 1)
    with pytest.warns(ExperimentWarning, match="cannot be written"):
        close_at_last(log)
    assert accumulated_steps(tmp_path) == list(range(20))


def test_missing_directory_is_an_error_and_is_not_created(tmp_path):
    log = EventLog(Directory(tmp_path / "absent"))
    log.log(scalars(x=1.0), 1, 1, 1)
    with (
        pytest.warns(ExperimentWarning, match="absent: what was logged cannot be written"),
        pytest.raises(LogWriteError, match=r"No such file or directory.*absent"),
    ):
        log.close()
    assert not (tmp_path / "absent").exists()
    (tmp_path / "absent").mkdir()
    log.close()
    assert steps(tmp_path / "absent") == [1]


def test_quiet_experiment_prints_and_warns_nothing(tmp_path, recwarn):
    experiment = Experiment(tmp_path / "run", verbose=False)
    experiment.log(TensorboardLogData(histograms={"h": np.array([np.nan])}), 1)
    experiment.flush()
    shutil.rmtree(tmp_path / "run")
    experiment.log(scalars(x=1.0), 1)
    with pytest.raises(LogWriteError, match="make the directory again"):
        experiment.flush()
    experiment.log_hparams({"rate": float("nan")})
    (tmp_path / "run").mkdir()
    experiment.close()
    assert not recwarn.list


def test_warning_points_at_the_users_line(tmp_path):
    log = EventLog(Directory(tmp_path))
    log.log(TensorboardLogData(histograms={"h": np.array([np.nan])}), 1, 1, 1)
    with pytest.warns(ExperimentWarning) as warned:
        log.close()
    assert warned[0].filename == __file__


@pytest.mark.slow
def test_slow_disk_makes_log_wait(tmp_path, monkeypatch):
    write, slow = AppendedFile.write, threading.Event()

    def write_slowly(file, data):
        slow.wait()
        return write(file, data)

    monkeypatch.setattr(AppendedFile, "write", write_slowly)
    log = EventLog(Directory(tmp_path))
    logged = []

    def run():
        for step in range(3 * _background.MAX_ENTRIES):
            log.log(scalars(x=float(step)), step, 1, 1)
            logged.append(step)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(2)
    assert _background.MAX_ENTRIES <= len(logged) <= 2 * _background.MAX_ENTRIES
    slow.set()
    thread.join()
    log.close()
    assert steps(tmp_path) == list(range(3 * _background.MAX_ENTRIES))


MEMORY = """
import resource
log = EventLog(Directory(directory))
make = jax.jit(lambda x: [x + k for k in range(4)])
values = [make(float(k)) for k in range(64)]
weights = jnp.zeros(200_000)
def run(steps):
    for step in steps:
        log.log(TensorboardLogData({str(k): v for k, v in enumerate(values[step % 64])},
                                   {"w": weights} if step % 100 == 0 else {}), step, 1, 1)
run(range(2000))
log.flush()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before = resident()
resource.setrlimit(resource.RLIMIT_AS, (int(open("/proc/self/statm").read().split()[0])
                   * resource.getpagesize() + (256 << 20),) * 2)
most = 0
for start in range(2000, COUNT, 2000):
    run(range(start, start + 2000))
    most = max(most, resident())
log.close()
print((most - before) >> 20)
"""


@pytest.mark.parametrize(
    "count",
    [pytest.param(50_000, marks=pytest.mark.slow), pytest.param(1_000_000, marks=pytest.mark.soak)],
)
def test_memory_stays_bounded(tmp_path, run_script, count):
    environment = os.environ | {"XLA_FLAGS": ""}
    outcome = run_script(MEMORY.replace("COUNT", str(count)), env=environment, timeout=900)
    assert outcome.returncode == 0, outcome.stderr
    assert int(outcome.stdout) < 64
    assert len(steps(tmp_path, "0")) == count


WIDE = """
import threading
from fifteen.experiments.storage import AppendedFile

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

def log_all():
    for start in range(10**9):
        if stacked:
            values = {f"group/tag{at}": np.ones(20_000, np.float32) for at in range(100)}
            log.log(TensorboardLogData(values), range(start, start + 20_000), 1, 1)
        else:
            log.log(TensorboardLogData({f"group/tag{at}": at / 7 for at in range(500)}), start, 1, 1)

log = EventLog(Directory(directory))
log.log(scalars(x=1.0), 0, 1, 1)
log.flush()
write, before, most = AppendedFile.write, resident(), 0

def write_slowly(self, data):
    time.sleep(0.5)
    return write(self, data[:1 << 16])

AppendedFile.write = write_slowly
threading.Thread(target=log_all, daemon=True).start()
for _ in range(60):
    time.sleep(0.1)
    most = max(most, resident())
print(most - before, flush=True)
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [False, True])
def test_memory_stays_bounded_with_large_calls_and_a_slow_disk(run_script, stacked):
    outcome = run_script(f"stacked = {stacked}\n" + WIDE)
    assert outcome.returncode == 0, outcome.stderr
    assert int(outcome.stdout) < 64


def test_file_size_limit_is_reported(tmp_path):
    # A quota fails like this limit, as an error of `write`.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = EventLog(Directory(tmp_path))
    log.log(scalars(x=0.0), 0, 1, 1)
    log.flush()
    [path] = tmp_path.iterdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
    try:
        for step in range(1, 5):
            log.log(scalars(x=float(step)), step, 1, 1)
        with pytest.raises(LogWriteError, match="File too large"), pytest.warns(ExperimentWarning):
            log.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.close()
    assert accumulated_steps(tmp_path) == list(range(5))
