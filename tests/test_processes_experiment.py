"""One experiment used by several real processes."""

import os
import pathlib
import sys

import numpy as np
import pytest

from fifteen.experiments import Experiment
from fifteen.experiments.storage import Directory

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import distributed_processes
from distributed_processes import MESH

pytestmark = pytest.mark.slow

COMMON = """
from fifteen.experiments import Experiment, TensorboardLogData

def outcome(action):
    try:
        action()
    except Exception as error:
        return type(error).__name__
"""


@pytest.fixture(scope="module")
def pools():
    with (
        distributed_processes.pool(1, 2, MESH + COMMON) as one,
        distributed_processes.pool(2, 2, MESH + COMMON) as two,
        distributed_processes.pool(4, 1, MESH + COMMON) as four,
    ):
        yield {1: one, 2: two, 4: four}


@pytest.fixture
def run(pools, tmp_path):
    return lambda script, count=2: pools[count].run(script, tmp_path / "run")


@pytest.mark.parametrize("count", [2, 4])
def test_all_processes_call_and_one_writes(run, tmp_path, count):
    script = """
    with Experiment(directory).assert_new() as experiment:
        experiment.write_metadata("config", {"lr": 0.1})
        experiment.write_provenance()
        experiment.log_hparams({"lr": 0.1})
        state = {"w": spread(np.arange(8.0))}
        for step in range(5):
            log_data = TensorboardLogData(scalars={"loss": float(step)}, histograms={"h": np.arange(3.0)})
            experiment.log(log_data, step=step)
            experiment.summary_writer.add_text("note", "hello", step)
            state = jax.tree.map(lambda leaf: leaf + 1, state)
            experiment.save_checkpoint(state, step=step, keep=2, blocking=step % 2 == 0)
        experiment.flush()
        experiment.assert_exists()
        print(outcome(experiment.assert_new))
        print(experiment.checkpoint_steps())
    print(outcome(lambda: Experiment(directory).restore_checkpoint(state, step=77)))
    """
    outputs = run(script, count)
    lines = [output.splitlines() for output in outputs]
    told = [line for line in lines[0] if line.startswith("[Experiment]")]
    assert any("Saved checkpoint to" in line for line in told)
    for output in lines:
        quiet = [line for line in output if not line.startswith("[Experiment]")]
        assert quiet == ["ExperimentExistsError", "[3, 4]", "CheckpointNotFoundError"]
    assert all(not line.startswith("[Experiment]") for output in lines[1:] for line in output)
    names = sorted(os.listdir(tmp_path / "run"))
    assert [name for name in names if "tfevents" not in name] == [
        "checkpoint_3",
        "checkpoint_4",
        "config.yaml",
        "provenance.yaml",
    ]
    experiment = Experiment(tmp_path / "run", verbose=False)
    assert experiment.read_metadata("config", dict[str, float]) == {"lr": 0.1}
    np.testing.assert_array_equal(experiment.read_scalars()["loss"].value, np.arange(5.0))
    restored = experiment.restore_checkpoint({"w": np.zeros(8)})
    np.testing.assert_array_equal(restored["w"], np.arange(8.0) + 5)


@pytest.mark.parametrize("count", [2, 4])
def test_clear_and_move_run_once_for_all_processes(run, tmp_path, count):
    script = """
    experiment = Experiment(directory, verbose=False).assert_new()
    state = {"w": spread(np.arange(8.0))}
    experiment.save_checkpoint(state, step=1, blocking=False)
    experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
    moved = experiment.move(directory.with_name("moved"))
    print(outcome(lambda: experiment.save_checkpoint(state, step=2)))
    experiment = moved
    print(experiment.checkpoint_steps())
    np.testing.assert_array_equal(
        np.asarray(experiment.restore_checkpoint(state)["w"].addressable_shards[0].data),
        np.asarray(state["w"].addressable_shards[0].data),
    )
    print(outcome(lambda: experiment.move(directory.with_name("moved") / "inside")))
    experiment.save_checkpoint(state, step=2, blocking=False)
    experiment.clear().assert_new()
    experiment.save_checkpoint(state, step=1)
    print(outcome(lambda: Experiment("/", verbose=False).clear()))
    """
    for output in run(script, count):
        expected = ["ExperimentMovedError", "[1]", "UnsafePathError", "UnsafePathError"]
        assert output.splitlines() == expected
    assert sorted(os.listdir(tmp_path)) == ["moved"]
    # The processes are alive and have it open, which a hidden file marks.
    assert Directory(tmp_path / "moved").names() == ["checkpoint_1"]


def test_error_in_one_process_is_raised_in_all(run, tmp_path):
    script = """
    from fifteen.experiments import _session
    experiment = Experiment(directory, verbose=False)
    state = {"w": spread(np.arange(8.0))}
    experiment.save_checkpoint(state, step=1)
    close = _session.Session.close
    def failing(self, *rest):
        if INDEX == 1:
            raise OSError(5, "Input/output error")
        close(self, *rest)
    _session.Session.close = failing
    print(outcome(lambda: experiment.move(directory.with_name("moved"))))
    _session.Session.close = close
    print(experiment.checkpoint_steps())
    def failing_logs():
        if INDEX == 1:
            raise OSError(5, "Input/output error")
    checkpoints = experiment._session.checkpoints
    write_logs, checkpoints._before_commit = checkpoints._before_commit, failing_logs
    print(outcome(lambda: experiment.save_checkpoint(state, step=2)))
    checkpoints._before_commit = write_logs
    print(experiment.checkpoint_steps())
    """
    for output in run(script):
        assert output.splitlines() == ["OSError", "[1]", "OSError", "[1]"]
    assert os.listdir(tmp_path) == ["run"]


def test_experiment_is_shared_by_one_and_many_processes(run):
    script = """
    experiment = Experiment(directory, verbose=False)
    state = {"w": spread(np.zeros(8)), "count": 0}
    first = len(experiment.checkpoint_steps())
    if first:
        state = experiment.restore_checkpoint(state)
        experiment.rewind_logs(state["count"])
    for _ in range(3):
        state = {"w": state["w"] + 1, "count": state["count"] + 1}
        experiment.log(TensorboardLogData(scalars={"count": state["count"]}), step=state["count"])
        experiment.save_checkpoint(state, step=state["count"], keep=100)
    experiment.close()
    print(experiment.checkpoint_steps()[-1], float(state["w"].addressable_shards[0].data[0]))
    """
    for runs, count in enumerate((1, 2, 4, 1, 4), start=1):
        for output in run(script, count):
            assert output.split() == [str(3 * runs), str(3.0 * runs)]
    # A single process reads the data of any number of processes.
    script = """
    experiment = Experiment(directory, verbose=False)
    print(experiment.checkpoint_steps() == list(range(1, 16)))
    print(experiment.read_scalars()["count"].value.tolist() == list(range(1, 16)))
    """
    assert run(script, 1)[0].split() == ["True", "True"]


def test_signal_to_one_process_makes_all_save_the_same_step(tmp_path):
    script = """
    import signal, time
    from jax.experimental import multihost_utils
    from fifteen.experiments import Experiment, TensorboardLogData
    state = jnp.zeros(4)
    with Experiment(directory) as experiment:
        for step in range(1, 10_000):
            experiment.log(TensorboardLogData({"loss": step}), step)
            if step == 3 and INDEX == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            if multihost_utils.reached_preemption_sync_point(step):
                experiment.save_checkpoint(state, step)
                print(step)
                break
            if step > 3:
                time.sleep(0.01)  # as long as a step takes
    """
    outputs = distributed_processes.run(script, tmp_path / "run", 2)
    with_step = [int(output.split()[-1]) for output in outputs]
    experiment = Experiment(tmp_path / "run", verbose=False)
    assert with_step == experiment.checkpoint_steps() * 2
    assert experiment.read_scalars()["loss"].step.tolist() == list(range(1, with_step[0] + 1))
