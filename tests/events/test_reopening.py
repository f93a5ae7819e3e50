"""Logs that are closed, cleared or moved while still in use."""

import os
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from fifteen.experiments import Experiment, ExperimentMovedError, TensorboardLogData


def scalars(**values):
    return TensorboardLogData(scalars=values)


def steps(experiment, tag="x"):
    found = experiment.read_scalars()
    return found[tag].step.tolist() if tag in found else []


@pytest.fixture
def experiment(tmp_path):
    made = Experiment(tmp_path / "run", verbose=False)
    yield made
    made.close()


def logging_function(experiment):
    @jax.jit
    def function(x, step):
        experiment.log(scalars(x=x), step=step)
        return x + 1

    return lambda step: function(jnp.float32(step), step).block_until_ready()


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("events of")]


def event_files(directory):
    return [name for name in os.listdir(directory) if "tfevents" in name]


@pytest.mark.parametrize("end", ["close", "clear"])
def test_compiled_function_logs_after_close(experiment, end):
    function = logging_function(experiment)
    function(0)
    getattr(experiment, end)()
    function(1)
    experiment.log(scalars(x=2.0), 2)
    experiment.flush()
    assert steps(experiment) == ([0, 1, 2] if end == "close" else [1, 2])
    # If two files grow at once, TensorBoard reads only one of them.
    assert len(event_files(experiment.data_dir)) == (2 if end == "close" else 1)
    experiment.close()
    assert not threads()


def test_compiled_function_logs_after_move(experiment, tmp_path):
    function = logging_function(experiment)
    function(0)
    moved = experiment.move(tmp_path / "moved")
    with pytest.raises(Exception, match=ExperimentMovedError.__name__):
        function(1)
    assert steps(moved) == [0]
    assert not experiment.data_dir.exists()


def test_close_inside_a_callback(experiment):
    def close(step):
        if step == 3:
            experiment.close()

    @jax.jit
    def run():
        def body(carry, step):
            experiment.log(scalars(x=step * 1.0), step)
            jax.experimental.io_callback(close, None, step, ordered=True)
            return carry, None

        return jax.lax.scan(body, 0, jnp.arange(10))[0]

    run().block_until_ready()
    experiment.flush()
    assert steps(experiment) == list(range(10))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["close", "clear"])
def test_log_while_another_thread_closes(experiment, end):
    done = threading.Event()
    last = [0]

    def log():
        for step in range(10**9):
            is_last = done.is_set()
            last[0] = step
            experiment.log(scalars(x=float(step)), step)
            if is_last:
                return

    thread = threading.Thread(target=log)
    thread.start()
    for _ in range(15):
        time.sleep(0.02)
        getattr(experiment, end)()
    done.set()
    thread.join()
    experiment.flush()
    found = steps(experiment)
    assert found[-1] == last[0]
    if end == "close":
        assert found == list(range(last[0] + 1))
    experiment.close()
    assert not threads()


@pytest.mark.slow
def test_flushed_values_are_read_while_another_thread_closes(experiment):
    done = threading.Event()

    def close():
        while not done.is_set():
            experiment.close()

    thread = threading.Thread(target=close)
    thread.start()
    try:
        for step in range(60):
            experiment.log(scalars(x=1.0), step)
            experiment.flush()
            assert steps(experiment) == list(range(step + 1))
    finally:
        done.set()
        thread.join()


def test_summary_writer_works_after_close(experiment):
    writer = experiment.summary_writer
    experiment.close()
    writer.add_scalar("x", 1.0, 1)
    experiment.flush()
    assert steps(experiment) == [1]


def test_reading_works_while_writing_fails(experiment, monkeypatch):
    experiment.log(scalars(x=1.0), 1)
    experiment.flush()
    from fifteen.experiments.storage import AppendedFile

    def fail(self, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(AppendedFile, "write", fail)
        experiment.log(scalars(x=2.0), 2)
        assert steps(experiment) == [1]
    experiment.flush()
    assert steps(experiment) == [1, 2]


@pytest.mark.slow
def test_forked_child_does_not_wait_for_its_parents_locks(run_script):
    # A child would wait for coverage's own lock.
    unwatched = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    script = """
import faulthandler, os, sys, tempfile, threading
from fifteen.experiments import Experiment, TensorboardLogData
base = tempfile.mkdtemp()
kept = Experiment(f"{base}/kept", verbose=False)
kept.log(TensorboardLogData({"x": 1.0}), 0)

def use_handles():
    while True:
        Experiment(f"{base}/other", verbose=False)

def clear():
    while True:
        kept.clear()

threading.Thread(target=use_handles, daemon=True).start()
threading.Thread(target=clear, daemon=True).start()
for number in range(60):
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(20, exit=True)
        own = Experiment(f"{base}/child{number}", verbose=False)
        own.log(TensorboardLogData({"x": 1.0}), 0)
        own.close()
        own.save_checkpoint({"x": 1}, 1)
        kept.checkpoint_steps()
        os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7, (number, status)
os._exit(0)
"""
    done = run_script(script, env=unwatched)
    assert done.returncode == 0, done.stderr
