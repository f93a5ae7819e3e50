"""Several processes on a bucket: each uploads its part, and a manifest commits all of them."""

import contextlib
import itertools
import random
import signal
import time

import distributed_processes
import numpy as np
import pytest
from distributed_processes import MESH

from fifteen.experiments import CheckpointDamagedError, Experiment
from fifteen.experiments.storage import Directory

pytestmark = pytest.mark.slow

COMMON = """
from fifteen.experiments import Experiment, TensorboardLogData

def state(value=0, spec=P("x")):
    rows = np.arange(48, dtype=np.float32).reshape(8, 6) + value
    keys = jax.jit(
        lambda: jax.random.split(jax.random.key(value), 8),
        out_shardings=NamedSharding(mesh, P("x")),
    )()
    return {
        "w": spread(rows, spec),
        "half": spread(rows.astype(jnp.bfloat16), spec),
        "tiny": spread((rows % 8).astype(jnp.int4), spec),
        "whole": spread(rows + 1, P()),
        "zero": spread(np.float32(value), P()),
        "empty": spread(np.zeros((0, 3), np.int8), P()),
        "keys": keys,
        "host": np.arange(3) + value,
        "local": jnp.arange(4) + value,
        "step": value,
        "name": "text",
    }

def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, one), other in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected)):
        assert type(one) is type(other), (path, one, other)
        if isinstance(one, jax.Array):
            assert one.sharding.is_equivalent_to(other.sharding, one.ndim), path
            if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
                one, other = jax.random.key_data(one), jax.random.key_data(other)
            assert one.dtype == other.dtype and one.shape == other.shape, path
            for a, b in zip(one.addressable_shards, other.addressable_shards):
                assert np.asarray(a.data).tobytes() == np.asarray(b.data).tobytes(), path
        else:
            assert np.array_equal(one, other), path
"""


@pytest.fixture
def run(bucket):
    with distributed_processes.pool(2, 2, MESH + COMMON) as pool:
        begin = f"experiment = Experiment({bucket!r}, verbose=False)\n"
        yield lambda script: pool.run(begin + distributed_processes.textwrap.dedent(script), "/")


def names(bucket, step=3):
    return sorted(
        path.name for path in (Experiment(bucket).data_dir / f"checkpoint_{step}").iterdir()
    )


def test_checkpoint_of_two_processes_is_restored_with_any_sharding(run, bucket):
    script = """
    print(experiment.save_checkpoint(state(7), 3))
    assert_same(experiment.restore_checkpoint(state()), state(7))
    other = state(spec=P(None, None)) | {"w": spread(np.zeros((8, 6), np.float32), P("x", None))}
    found = experiment.restore_checkpoint(other)
    assert_same(found, state(7, spec=P(None, None)) | {"w": state(7)["w"]})
    small = Mesh(np.array(jax.devices()[:2]), ("x",))
    target = {"w": spread(np.zeros((8, 6), np.float32), P(None, "x"), small)}
    found = experiment.restore_checkpoint(target, partial=True)
    assert_same(found, {"w": spread(np.asarray(np.arange(48).reshape(8, 6) + 7, np.float32),
                                    P(None, "x"), small)})
    """
    assert run(script) == [f"{bucket}/checkpoint_3\n"] * 2
    alone = Experiment(bucket, verbose=False)
    found = alone.restore_checkpoint(None)
    np.testing.assert_array_equal(found["w"], np.arange(48.0).reshape(8, 6) + 7)
    np.testing.assert_array_equal(found["tiny"].astype(int), (np.arange(48) + 7).reshape(8, 6) % 8)
    assert (found["step"], found["name"], found["zero"]) == (7, "text", 7)
    assert str(alone.checkpoint_leaves()["keys"]) == "key<fry>[8]"
    kinds = [name.partition(".")[2] for name in names(bucket)]
    assert kinds == ["0.safetensors", "1.safetensors", "json"]


def test_run_of_two_processes(run, bucket):
    script = """
    with experiment.assert_new():
        experiment.write_metadata("config", {"lr": 0.1})
        for step in range(1, 7):
            experiment.log(TensorboardLogData({"loss": 1.0 / step}), step)
            experiment.save_checkpoint(state(step), step, keep=2, blocking=step % 2 == 0)
        print(experiment.checkpoint_steps())
        experiment.save_checkpoint(state(50), 5, keep=2, overwrite=True)
        assert_same(experiment.restore_checkpoint(state()), state(50))
        print(experiment.checkpoint_steps())
    """
    assert run(script) == ["[5, 6]\n[5]\n"] * 2
    alone = Experiment(bucket, verbose=False).assert_exists()
    assert alone.read_metadata("config") == {"lr": 0.1}
    assert alone.read_scalars()["loss"].step.tolist() == [1, 2, 3, 4, 5, 6]
    assert alone.checkpoint_steps() == [5]
    assert len(names(bucket, 5)) == 3


def test_run_continues_with_one_process_and_with_two_again(run, bucket):
    run("experiment.save_checkpoint({'w': state(1)['w']}, 1); experiment.close()")
    alone = Experiment(bucket, verbose=False)
    restored = alone.restore_checkpoint({"w": np.zeros((8, 6), np.float32)})
    alone.save_checkpoint({"w": restored["w"] + 1}, 2)
    alone.close()
    assert Directory(alone.data_dir).names() == ["checkpoint_2.safetensors"]
    run("assert_same(experiment.restore_checkpoint({'w': state()['w']}), {'w': state(2)['w']})")


def test_error_in_one_process_is_raised_in_all_and_changes_nothing(run, bucket):
    script = """
    experiment.save_checkpoint(state(1), 1)
    for blocking in (True, False):
        try:
            bad = {"b": object() if INDEX else 3} if blocking else {}
            from fifteen.experiments.checkpoints._shards import _save
            write = _save.write
            def failing(*rest):
                raise OSError(5, "cut")
            _save.write = failing if INDEX and not blocking else write
            experiment.save_checkpoint(state(2) | bad, 2, blocking=blocking)
            experiment.flush()
        except Exception as error:
            print(type(error).__name__)
        _save.write = write
    print(experiment.checkpoint_steps())
    experiment.save_checkpoint(state(3), 3)
    """
    assert run(script) == ["CheckpointError\nOSError\n[1]\n"] * 2
    # The failed save left nothing.
    assert Directory(Experiment(bucket).data_dir).names() == ["checkpoint_3"]


def test_second_program_is_refused_and_removes_nothing(run, bucket):
    first = Experiment(bucket, verbose=False)
    first.save_checkpoint({"w": np.zeros(3)}, 1)
    # As during a save.
    inside = Directory(first.data_dir / "checkpoint_2")
    with inside.replace("0123abcd.0.safetensors") as file:
        file.write(b"x")
    script = """
    try:
        experiment.save_checkpoint(state(2), 2)
    except Exception as error:
        print(type(error).__name__)
    """
    assert run(script) == ["ExperimentLockedError\n"] * 2
    assert "0123abcd.0.safetensors" in inside.names()
    assert first.checkpoint_steps() == [1]
    first.close()
    run("experiment.save_checkpoint(state(2), 2); experiment.close()")
    assert Directory(first.data_dir).names() == ["checkpoint_2"]
    assert len(inside.names()) == 3


def test_damage_is_detected(run, bucket):
    run("experiment.save_checkpoint(state(1), 3)")
    alone = Experiment(bucket, verbose=False)
    first, _, manifest = names(bucket)
    path = alone.data_dir / "checkpoint_3"
    inside = Directory(path)
    data = {name: bytearray((path / name).read_bytes()) for name in (first, manifest)}
    for name, problem in ((first, "bytes are not those"), (manifest, "shards.json is damaged")):
        damaged = data[name][:-9] + bytes([data[name][-9] ^ 1]) + data[name][-8:]
        inside.put(name, bytes(damaged))
        with pytest.raises(CheckpointDamagedError, match=problem):
            alone.restore_checkpoint(None)
        inside.put(name, bytes(data[name]))
    inside.remove(first)
    with pytest.raises(CheckpointDamagedError, match=r"0\.safetensors is missing"):
        alone.restore_checkpoint(None)


SAVING = """
experiment = Experiment({address!r}, verbose=False)
print("ready", flush=True)
for step in range({start}, 10_000):
    tree = {{"w": spread(np.full((8, 60_000), step, np.float32)), "step": step}}
    experiment.save_checkpoint(tree, step if {keeps} else 1, keep=2, overwrite=True)
"""


def is_newer(experiment, last, keeps):
    """Return whether a checkpoint is newer; those that save remove the old ones meanwhile."""
    if keeps:
        return experiment.checkpoint_steps()[-1:] > [last]
    # Without a file, or on Azure with a file that changes.
    with contextlib.suppress(CheckpointDamagedError, OSError):
        return experiment.restore_checkpoint(None)["step"] > last
    return False


@pytest.mark.parametrize("keeps", [True, False])
def test_kill_leaves_the_last_checkpoint_intact(bucket, keeps):
    randomly = random.Random(int(keeps))
    alone = Experiment(bucket, verbose=False)
    last = 0
    for trial in range(5):
        script = MESH + COMMON + SAVING.format(address=bucket, start=last + 1, keeps=keeps)
        processes = distributed_processes.start(script, "/", 2, 1)
        try:
            for process in processes:
                assert process.stdout.readline() == "ready\n", process.stderr.read()
            deadline = time.monotonic() + 60
            while not is_newer(alone, last, keeps):
                assert time.monotonic() < deadline
            time.sleep(randomly.uniform(0, 0.5))
            victims = [processes[trial % 2], *processes]
            victims[0].send_signal(signal.SIGKILL)
            if trial == 4:
                time.sleep(1)
        finally:
            for process in processes:
                process.kill()
                process.communicate()
        found = alone.restore_checkpoint(None)
        assert found["step"] > last
        last = found["step"]
        assert found["w"].shape == (8, 60_000)
        assert set(found["w"].ravel().tolist()) == {last}
        if keeps:
            assert alone.checkpoint_steps()[-1] == last
    # The next save removes the leftovers of killed processes.
    script = MESH + COMMON + SAVING.format(address=bucket, start=last + 1, keeps=True)
    distributed_processes.run(script.replace("10_000", str(last + 2)), "/", 2, 1)
    directories = [path for path in alone.data_dir.iterdir() if "checkpoint" in path.name]
    assert all((path / "fifteen-shards.json").is_file() for path in directories)
    assert all(len(list(path.iterdir())) == 3 for path in itertools.islice(directories, 1, None))
