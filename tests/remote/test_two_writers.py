"""Two processes that write to one address by mistake, and leases left by killed ones."""

import contextlib
import functools
import json
import os
import re
import signal
import time

import obstore
import obstore.store
import pytest
import warm

from fifteen.experiments import (
    Experiment,
    ExperimentLockedError,
    LogWriteError,
    TensorboardLogData,
    find_experiments,
)
from fifteen.experiments.storage import Directory
from fifteen.experiments.storage._remote import _lease

NAME = ".open.fifteen-tmp"
PATIENCE = 60
WRITER = """
import os, sys
from fifteen.experiments import Experiment, TensorboardLogData
from fifteen.experiments.storage._remote import _lease
_lease._SECONDS_BETWEEN_RENEWALS = 0.2
experiment = Experiment(sys.argv[1], verbose=False)
if sys.argv[2] == "log":
    experiment.log(TensorboardLogData(scalars={"loss": 0.5}), 1)
    experiment.flush()
else:
    experiment.save_checkpoint({"x": 1}, 1, prefix=f"p{os.getpid()}_")
print("ready", flush=True)
input()
"""


@pytest.fixture(autouse=True)
def sizes(monkeypatch, tmp_path):
    monkeypatch.setattr(_lease, "_SECONDS_BETWEEN_RENEWALS", 0.2)
    monkeypatch.setattr(_lease, "_SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(_lease, "_MAX_SECONDS_BEFORE_PUT", 2.0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@contextlib.contextmanager
def writer(address, what="log"):
    """Run a process that has an address open for writing."""
    with warm.Process(WRITER, address, what) as child:
        try:
            assert child.stdout.readline() == "ready\n", child.communicate()[1]
            yield child
        finally:
            child.kill()


def end(child):
    _, errors = child.communicate("\n", timeout=PATIENCE)
    assert child.returncode == 0, errors


def log(experiment, step):
    experiment.log(TensorboardLogData(scalars={"loss": 0.5}), step)


def log_until_refused(experiment, meanwhile=lambda: None):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            log(experiment, 7)
        except ExperimentLockedError as error:
            return str(error)
        meanwhile()
        time.sleep(0.01)
    raise AssertionError("it was not refused")


def names(address):
    store = obstore.store.from_url(address)
    return sorted(meta["path"] for meta in obstore.list(store).collect())


def put_lease(address, **holder):
    """Write the lease of a process on another machine or this one."""
    content = {"host": "tpu-7", "pid": 12, "since": "2026-01-01", "machine": "m", "token": "t"}
    content |= {"renewed": time.time()} | holder
    obstore.put(obstore.store.from_url(address), NAME, json.dumps(content).encode())


@pytest.mark.parametrize("what", ["log", "save"])
def test_second_writer_is_refused_and_changes_nothing(bucket, what):
    second = Experiment(bucket, verbose=False)
    with writer(bucket, what) as child:
        before = names(bucket)
        message = log_until_refused(second)
        host = re.escape(os.uname().nodename)
        assert re.fullmatch(
            rf"{bucket}: process {child.pid} on {host} has been writing here since "
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; end it, or use another address\. If it is dead, "
            r"this one is free after 60 s",
            message,
        )
        with pytest.raises(ExperimentLockedError):
            second.save_checkpoint({"x": 2}, 9)
        second.save_checkpoint({"x": 2}, 9, blocking=False)
        with pytest.raises(ExperimentLockedError):
            second.flush()
        with pytest.raises(LogWriteError, match=f"process {child.pid} on {host} has been writing"):
            second.close()
        assert names(bucket) == before
        # Notes may be written during a run.
        second.annotate(note="it runs")
        end(child)
    log(second, 8)
    second.save_checkpoint({"x": 2}, 9)
    second.close()
    assert 8 in second.read_scalars()["loss"].step
    assert NAME not in names(bucket)


def test_forked_process_error_recommends_spawn(bucket):
    script = f"""
import multiprocessing, warnings
from fifteen.experiments import Experiment, LogWriteError, TensorboardLogData
warnings.simplefilter("ignore")
experiment = Experiment({bucket!r}, verbose=False)
def work():
    for action in (lambda: experiment.write_metadata("a", 1), experiment.checkpoint_steps, log):
        try:
            action()
        except (RuntimeError, LogWriteError) as error:
            assert "start processes with multiprocessing.set_start_method('spawn')" in str(error)
        else:
            raise AssertionError
def log():
    experiment.log(TensorboardLogData(scalars={{"x": 1.0}}), 1)
    experiment.flush()
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join(60)
assert child.exitcode == 0, child.exitcode
log()
assert experiment.read_scalars()["x"].step.tolist() == [1]
"""
    ended = warm.run(script)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr


def test_memory_stores_have_leases_too(request):
    address = f"memory://{request.node.name}/run"
    experiment = Experiment(address, verbose=False)
    experiment.save_checkpoint({"x": 1}, 1)
    assert Directory(experiment.data_dir).open_state() == "open"
    experiment.close()
    assert Directory(experiment.data_dir).open_state() == "unknown"


def test_lease_of_a_killed_process_here_is_taken_over_at_once(bucket):
    with writer(bucket) as child:
        status = str(find_experiments(bucket).fields[0].status)
        assert re.fullmatch(r"running, last seen \d s ago", status), status
        child.kill()
        child.wait()
        assert find_experiments(bucket).fields[0].status.state == "killed"
        experiment = Experiment(bucket, verbose=False)
        begin = time.monotonic()
        experiment.save_checkpoint({"x": 2}, 2)
        log(experiment, 2)
        experiment.close()
        assert time.monotonic() - begin < _lease._SECONDS_TO_TAKE_OVER / 2
    assert experiment.read_scalars()["loss"].step.tolist() == [1, 2]


def test_stale_lease_of_another_machine_is_taken_over(bucket, monkeypatch):
    monkeypatch.setattr(_lease, "_SECONDS_TO_TAKE_OVER", 1.0)
    put_lease(bucket)
    experiment = Experiment(bucket, verbose=False)
    log(experiment, 1)
    experiment.save_checkpoint({"x": 2}, 2)
    holder = json.loads((experiment.data_dir / NAME).read_bytes())
    assert holder["pid"] == os.getpid()
    experiment.close()


def test_live_process_on_another_machine_is_detected(bucket):
    put_lease(bucket)
    experiment = Experiment(bucket, verbose=False)
    message = log_until_refused(experiment, lambda: put_lease(bucket))
    assert "process 12 on tpu-7 has been writing here since 2026-01-01;" in message
    assert Directory(experiment.data_dir).open_state() == "open"
    Directory(experiment.data_dir).remove(NAME)
    experiment.close()
    assert experiment.read_scalars()["loss"].step.tolist() == [7]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"pid": -1}', b"\xff"])
def test_invalid_lease_is_taken_over(bucket, monkeypatch, content):
    monkeypatch.setattr(_lease, "_SECONDS_TO_TAKE_OVER", 0.3)
    obstore.put(obstore.store.from_url(bucket), NAME, content)
    experiment = Experiment(bucket, verbose=False)
    experiment.save_checkpoint({"x": 2}, 2)
    experiment.close()


@pytest.mark.slow
def test_process_that_slept_too_long_loses_its_lease(bucket):
    experiment = Experiment(bucket, verbose=False)
    log(experiment, 1)
    experiment.flush()
    put_lease(bucket)
    assert "process 12 on tpu-7" in log_until_refused(experiment)
    with pytest.raises(LogWriteError):
        experiment.close()
    # The lease of the other process is kept.
    assert json.loads((experiment.data_dir / NAME).read_bytes())["pid"] == 12
    Directory(experiment.data_dir).remove(NAME)
    experiment.close()


def test_deleted_lease_is_written_again(bucket):
    experiment = Experiment(bucket, verbose=False)
    experiment.save_checkpoint({"x": 2}, 2)
    Directory(experiment.data_dir).remove(NAME)
    deadline = time.monotonic() + PATIENCE
    while NAME not in names(bucket):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    experiment.close()
    assert NAME not in names(bucket)


def test_only_one_of_many_gets_the_lease(bucket):
    children = [warm.Process(WRITER, bucket, "save") for _ in range(4)]
    first = [child.stdout.readline() for child in children]
    assert sorted(first) == ["", "", "", "ready\n"]
    for child, line in zip(children, first, strict=True):
        _, errors = child.communicate("\n", timeout=PATIENCE)
        assert ("ExperimentLockedError" in errors) == (line == ""), errors


@pytest.mark.slow
def test_random_faults_lose_no_lease(bucket, proxy):
    experiment = Experiment(bucket, verbose=False)
    proxy.fail_at_random(seed=1, rate=0.3)
    deadline = time.monotonic() + 5
    step = 0
    while time.monotonic() < deadline:
        step += 1
        experiment.save_checkpoint({"x": step}, step)
        log(experiment, step)
    proxy.fail_at_random(seed=1, rate=0)
    experiment.close()
    assert proxy.refused > 3
    assert experiment.read_scalars()["loss"].step.tolist() == list(range(1, step + 1))


def test_network_outage_is_not_a_second_writer(bucket, proxy, monkeypatch):
    impatient = functools.partial(obstore.store.from_url, retry_config={"max_retries": 0})
    monkeypatch.setattr("obstore.store.from_url", lambda url, **_: impatient(url))
    experiment = Experiment(bucket, verbose=False)
    experiment.save_checkpoint({"x": 1}, 1)
    proxy.turn_off()
    time.sleep(0.5)
    with pytest.raises(OSError, match=bucket):
        experiment.save_checkpoint({"x": 2}, 2)
    proxy.turn_on()
    experiment.save_checkpoint({"x": 3}, 3)
    experiment.close()
    assert experiment.checkpoint_steps() == [3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_terminated_run_is_resumed_at_once(bucket, number):
    with writer(bucket) as child:
        child.send_signal(number)
        child.communicate(timeout=PATIENCE)
    experiment = Experiment(bucket, verbose=False)
    experiment.save_checkpoint({"x": 2}, 2)
    experiment.close()
    assert experiment.checkpoint_steps() == [2]
