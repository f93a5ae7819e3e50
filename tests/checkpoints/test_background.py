"""Background saves store the values of the call, and report their errors."""

import _thread
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warm

from fifteen.experiments import CheckpointError
from fifteen.experiments.checkpoints._safetensors import _save


@pytest.fixture
def slow_disk(monkeypatch):
    """Delay every commit until the event is set."""
    go = threading.Event()
    write = _save.write

    def waiting(*arguments):
        assert go.wait(30)
        write(*arguments)

    monkeypatch.setattr(_save, "write", waiting)
    yield go
    go.set()


@pytest.fixture
def broken_disk(monkeypatch):
    def failing(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_save, "write", failing)


def donating():
    return jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 2, state), donate_argnums=0)


@pytest.mark.parametrize("is_sharded", [False, True])
def test_donated_buffers_are_saved_unchanged(handle, slow_disk, is_sharded):
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("a",))
    spec = jax.sharding.PartitionSpec("a") if is_sharded else jax.sharding.PartitionSpec()
    state = {str(n): jnp.arange(8000.0) + n for n in range(10)}
    state = jax.device_put(state, jax.sharding.NamedSharding(mesh, spec)) if is_sharded else state
    expected = jax.tree.map(np.array, state)
    step = donating()
    handle.save(state, 1, blocking=False)
    for _ in range(5):
        state = step(state)
    jax.block_until_ready(state)
    slow_disk.set()
    restored = handle.restore(jax.tree.map(np.zeros_like, expected))
    for name, value in expected.items():
        np.testing.assert_array_equal(restored[name], value)


@pytest.mark.slow
def test_donated_random_keys_are_saved_unchanged(handle, slow_disk):
    keys = jax.random.split(jax.random.key(0), 1000)
    expected = np.array(jax.random.key_data(keys))
    handle.save(keys, 1, blocking=False)
    follow = jax.jit(
        lambda keys: jax.vmap(jax.random.fold_in)(keys, jnp.arange(1000)), donate_argnums=0
    )
    jax.block_until_ready(follow(follow(keys)))
    slow_disk.set()
    np.testing.assert_array_equal(jax.random.key_data(handle.restore(None)), expected)


def test_mutated_numpy_arrays_are_saved_unchanged(handle, slow_disk):
    array = np.arange(1000)
    handle.save({"x": array, "turned": array.reshape(10, 100).T}, 1, blocking=False)
    array[:] = -1
    slow_disk.set()
    restored = handle.restore(None)
    np.testing.assert_array_equal(restored["x"], np.arange(1000))
    np.testing.assert_array_equal(restored["turned"], np.arange(1000).reshape(10, 100).T)


def test_arrays_deleted_during_the_save(handle, slow_disk):
    value = jnp.arange(1000)
    handle.save({"x": value}, 1, blocking=False)
    value.delete()
    slow_disk.set()
    np.testing.assert_array_equal(handle.restore(None)["x"], np.arange(1000))


def test_pending_results_are_saved(handle):
    @jax.jit
    def slow(x):
        return jax.lax.fori_loop(0, 20, lambda _, x: jnp.tanh(x @ x), x)

    value = slow(jnp.ones((500, 500)))
    handle.save({"x": value}, 1, blocking=False)
    np.testing.assert_array_equal(handle.restore(None)["x"], value)


def test_save_returns_early_and_other_calls_wait(handle, slow_disk):
    path = handle.save({"w": 1}, 1, blocking=False)
    assert not path.exists()
    threading.Timer(0.1, slow_disk.set).start()
    assert handle.steps() == [1]
    assert path.exists()


@pytest.mark.parametrize(
    "action",
    [
        lambda handle: handle.restore({"w": 0}),
        lambda handle: handle.leaves(),
        lambda handle: handle.steps(),
        lambda handle: handle.checkpoints.prefixes(),
        lambda handle: handle.checkpoints.wait(),
        lambda handle: handle.save({"w": 2}, 2, keep=2),
        lambda handle: handle.save({"w": 2}, 2, keep=2, blocking=False),
    ],
)
def test_every_call_finishes_the_save(handle, slow_disk, action):
    path = handle.save({"w": 1}, 1, keep=2, blocking=False)
    threading.Timer(0.05, slow_disk.set).start()
    action(handle)
    assert path.exists()


def test_second_save_waits_for_the_first(handle, slow_disk):
    handle.save({"w": 1}, 1, keep=5, blocking=False)
    threading.Timer(0.05, slow_disk.set).start()
    handle.save({"w": 2}, 2, keep=5, blocking=False)
    handle.save({"w": 3}, 3, keep=5, blocking=False)
    assert handle.steps() == [1, 2, 3]


def test_error_is_raised_once_by_the_next_call(handle, broken_disk, monkeypatch):
    handle.save({"w": 1}, 1, blocking=False)
    with pytest.raises(OSError, match="No space left on device: could not save step 1"):
        handle.steps()
    assert handle.steps() == []
    handle.save({"w": 1}, 1, blocking=False)
    with pytest.raises(OSError, match="No space left"):
        handle.save({"w": 2}, 2)
    monkeypatch.undo()
    handle.save({"w": 2}, 2)
    assert handle.steps() == [2]


def test_immediate_errors_are_raised_at_once(handle):
    handle.save({"w": 1}, 5)
    for target, step in (({"w": object()}, 6), ({"w": 1}, 5), ({"w": 1}, -1)):
        with pytest.raises(CheckpointError):
            handle.save(target, step, blocking=False)
    assert handle.steps() == [5]


def test_threads_do_not_disturb_each_other(handle):
    def save(prefix):
        for step in range(5):
            handle.save({"w": np.full(100, step)}, step, prefix, blocking=step % 2 == 0)

    threads = [threading.Thread(target=save, args=(f"p{n}_",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(4):
        assert handle.restore({"w": np.zeros(100, int)}, prefix=f"p{n}_")["w"][0] == 4


AT_EXIT = """
import pathlib, sys, threading, time
import numpy as np
from fifteen.experiments.checkpoints import Checkpoints, Retention
from fifteen.experiments.checkpoints._safetensors import _save
write = _save.write
def slow(*arguments):
    if threading.current_thread() is threading.main_thread():
        return write(*arguments)
    time.sleep(0.5)
    if sys.argv[2] == "broken":
        raise OSError(28, "No space left on device")
    write(*arguments)
_save.write = slow
checkpoints = Checkpoints(pathlib.Path(sys.argv[1]))
checkpoints.save({"w": np.arange(1 << 20)}, 0, "checkpoint_", Retention, True)
# Several blocks, which are written in another way than one.
checkpoints.save({"w": np.arange(6 << 20)}, 1, "checkpoint_", Retention, False)
if sys.argv[2] == "raising":
    raise ZeroDivisionError
if sys.argv[2] == "exiting":
    sys.exit(3)
"""


def exit_in(handle, how):
    return warm.run(AT_EXIT, handle.directory, how)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [("normal", 0), ("raising", 1), ("exiting", 3)])
def test_exit_finishes_the_save(handle, how, code):
    assert exit_in(handle, how).returncode == code
    np.testing.assert_array_equal(handle.restore(None)["w"], np.arange(6 << 20))
    assert handle.steps() == [1]


@pytest.mark.slow
def test_error_is_reported_at_exit(handle):
    result = exit_in(handle, "broken")
    assert "No space left on device: could not save step 1" in result.stderr
    assert result.returncode == 120
    assert handle.steps() == [0]


SIGNALLED = """
import os, pathlib, signal, sys, threading, time
import numpy as np
from fifteen.experiments import Experiment, TensorboardLogData
from fifteen.experiments.checkpoints._safetensors import _save
write = _save.write
def slow(*arguments):
    time.sleep(1)
    write(*arguments)
_save.write = slow
experiment = Experiment(sys.argv[1])
if sys.argv[2] == "logs":
    experiment.log(TensorboardLogData(scalars={"loss": 1.0}), 1)
experiment.save_checkpoint({"w": np.arange(6 << 20)}, 1, blocking=False)
os.kill(os.getpid(), int(sys.argv[3]))
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("logs", ["logs", "no logs"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_finishes_the_save(handle, logs, number):
    result = warm.run(SIGNALLED, handle.directory, logs, f"{number:d}")
    assert result.returncode == -number
    assert result.stderr == ""
    np.testing.assert_array_equal(handle.restore(None)["w"], np.arange(6 << 20))


# Children forked by `multiprocessing` end without `atexit`.
CHILD = """
import multiprocessing, os, pathlib, sys, time
import numpy as np
from fifteen.experiments.checkpoints import Checkpoints, Retention
from fifteen.experiments.checkpoints._safetensors import _save
how, end = sys.argv[2:]
write = _save.write
def slow(*arguments):
    time.sleep(0.5)
    if end == "broken":
        raise OSError(28, "No space left on device")
    write(*arguments)
_save.write = slow
def save():
    checkpoints = Checkpoints(pathlib.Path(sys.argv[1]))
    checkpoints.save({"w": np.arange(1000)}, 1, "checkpoint_", Retention, False)
if __name__ == "__main__":
    if how == "os":
        child = os.fork()
        if child == 0:
            save()
            sys.exit()
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    process = multiprocessing.get_context(how).Process(target=save)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["whole", "broken"])
@pytest.mark.parametrize("how", ["os", "fork", "spawn", "forkserver"])
def test_child_finishes_the_save_and_reports_its_error(handle, tmp_path, how, end):
    script = tmp_path / "script.py"
    script.write_text(CHILD)
    command = [sys.executable, "-W", "ignore", str(script), str(handle.directory), how, end]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if end == "whole":
        assert (result.returncode, result.stderr) == (0, "")
        assert handle.steps() == [1]
    else:
        assert "No space left on device: could not save step 1" in result.stderr
        assert result.stderr.count("Traceback") == result.stderr.count("direct cause") + 1
        assert result.returncode == (120 if how in ("os", "spawn") else 1)


SAVING_AT_EXIT = """
import atexit, pathlib, sys
import numpy as np
from fifteen.experiments.checkpoints import Checkpoints, Retention
checkpoints = Checkpoints(pathlib.Path(sys.argv[1]))
def save():
    checkpoints.save({"w": np.arange(6 << 20)}, 1, "checkpoint_", Retention, False)
atexit.register(save)
"""


@pytest.mark.slow
def test_save_started_at_exit_is_finished(handle):
    command = [sys.executable, "-c", SAVING_AT_EXIT, str(handle.directory)]
    assert subprocess.run(command, check=True, capture_output=True).stderr == b""
    np.testing.assert_array_equal(handle.restore(None)["w"], np.arange(6 << 20))


FORKING = """
import os, pathlib, sys
import numpy as np
from fifteen.experiments.checkpoints import Checkpoints, Retention
checkpoints = Checkpoints(pathlib.Path(sys.argv[1]))
checkpoints.save({"w": np.arange(6 << 20)}, 1, "checkpoint_", Retention, False)
child = os.fork()
if child == 0:
    checkpoints.steps("checkpoint_")
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.slow
def test_forked_child_does_not_wait_for_its_parents_save(handle):
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(handle.directory)]
    assert subprocess.run(command, timeout=60).returncode == 0
    assert handle.steps() == [1]


@pytest.mark.slow
def test_interrupted_wait_can_be_repeated(handle):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        handle.save({"x": np.ones(60_000_000)}, 10, blocking=False)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            handle.checkpoints.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    handle.save({"x": np.ones(3)}, 11, keep=2)
    assert handle.steps() == [10, 11]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_interrupt_after_thread_start(handle, monkeypatch, number):
    def interrupt(*_):
        raise KeyboardInterrupt

    def interrupted(*arguments):
        start(*arguments)
        signal.raise_signal(number)

    start = _thread.start_new_thread
    before = signal.signal(number, interrupt)
    monkeypatch.setattr(_thread, "start_new_thread", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            handle.save({"x": np.ones(3)}, 1, blocking=False)
    finally:
        signal.signal(number, before)
    monkeypatch.undo()
    assert handle.save({"x": np.ones(3)}, 2, keep=2)
    # The first save has begun, or never will.
    assert handle.steps() in ([1, 2], [2])


def test_save_without_a_thread_leaves_nothing_pending(handle, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_thread, "start_new_thread", interrupted)
    with pytest.raises(KeyboardInterrupt):
        handle.save({"x": np.ones(3)}, 1, blocking=False)
    monkeypatch.undo()
    assert handle.steps() == []
    handle.save({"x": np.ones(3)}, 1, blocking=False)
    assert handle.steps() == [1]


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), RuntimeError("stop")])
def test_save_runs_at_once_if_no_thread_can_start(handle, monkeypatch, error):
    def failing(*_):
        raise error

    monkeypatch.setattr(_thread, "start_new_thread", failing)
    if "thread" in str(error):
        handle.save({"x": 1}, 1, blocking=False)
        assert handle.names() == ["checkpoint_1.safetensors"]
    else:
        with pytest.raises(RuntimeError, match="stop"):
            handle.save({"x": 1}, 1, blocking=False)
        assert handle.steps() == []
