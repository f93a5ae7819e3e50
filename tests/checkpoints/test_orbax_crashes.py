"""SIGKILL at random moments to one or both of two processes that save together."""

import contextlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fifteen.experiments.checkpoints import Checkpoints, Retention

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import distributed_processes

# Importing takes longer than a trial, so two processes import, and their forks are killed.
SAVING = """
import os, pathlib, sys, warnings
import jax, numpy as np
import orbax.checkpoint
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from fifteen.experiments.checkpoints import Checkpoints, Retention

warnings.simplefilter("ignore")
directory = pathlib.Path(sys.argv[1])

def save(port, index, start, kind):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, index)
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("x",)), P("x"))
    checkpoints = Checkpoints(directory)
    report = os.open(directory.with_name("report"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    number = start
    while True:
        number += 1
        whole = np.full((64, 512), number, np.float32)
        spread = jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])
        state = {"number": number, "spread": spread, "local": [np.full(300, number)] * 5}
        step = 7 if kind == "overwrite" else number
        blocking = kind != "background"
        checkpoints.save(state, step, "checkpoint_", lambda: Retention(2, kind == "overwrite"), blocking)
        if blocking:
            os.write(report, b"%d\\n" % number)
        elif number > start + 1:
            # The save before this one has been seen through.
            os.write(report, b"%d\\n" % (number - 1))

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        port, index, start, kind = line.split()
        save(port, int(index), int(start), kind)
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Pair:
    def __init__(self, directory):
        self.directory = directory
        environment = {
            **os.environ,
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "JAX_PLATFORMS": "cpu",
        }
        self.parents = [
            subprocess.Popen(
                [sys.executable, "-c", SAVING, str(directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                bufsize=1,
                env=environment,
            )
            for _ in range(2)
        ]

    def run_and_kill(self, start, kind, chance):
        """Kill one or both some time after their first save."""
        port = distributed_processes._free_port()
        before = len(reported(self.directory))
        for index, parent in enumerate(self.parents):
            parent.stdin.write(f"{port} {index} {start} {kind}\n")
        pids = [int(parent.stdout.readline()) for parent in self.parents]
        try:
            deadline = time.monotonic() + 60
            while len(reported(self.directory)) == before:
                assert time.monotonic() < deadline, "no save has returned"
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.25))
        finally:
            chance.shuffle(pids)
            os.kill(pids[0], signal.SIGKILL)
            # The other continues alone for a while, or is killed as well.
            time.sleep(chance.choice([0, 0, 0.02, 0.1]))
            # It may have ended by itself, since its peer is gone.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[1], signal.SIGKILL)
        codes = [int(parent.stdout.readline()) for parent in self.parents]
        assert -signal.SIGKILL in codes

    def close(self):
        for parent in self.parents:
            parent.stdin.close()
            parent.stdout.close()
            parent.wait()


def reported(directory):
    try:
        return directory.with_name("report").read_text().split()
    except FileNotFoundError:
        return []


def check(directory, kind):
    """Return the step of the latest state, which must be intact and recent."""
    checkpoints = Checkpoints(directory)
    state, path = checkpoints.restore(None, None, "checkpoint_", False, False)
    number = state["number"]
    assert number >= max(map(int, reported(directory)))
    np.testing.assert_array_equal(state["spread"], np.full((64, 512), number, np.float32))
    for array in state["local"]:
        np.testing.assert_array_equal(array, np.full(300, number))
    assert path.name == ("checkpoint_7" if kind == "overwrite" else f"checkpoint_{number}")
    return number


def trials(tmp_path, kind, count):
    directory = tmp_path / "run"
    chance = random.Random(f"{kind} {count}")
    pair = Pair(directory)
    try:
        number = beyond = leftovers = 0
        for _ in range(count):
            pair.run_and_kill(number, kind, chance)
            leftovers += any(name.startswith(".") for name in os.listdir(directory))
            number = check(directory, kind)
            beyond += number > max(map(int, reported(directory)))
    finally:
        pair.close()
    state, _ = Checkpoints(directory).restore(None, None, "checkpoint_", False, False)
    step = 8 if kind == "overwrite" else number + 1
    Checkpoints(directory).save(state, step, "checkpoint_", Retention, True)
    # The next save removes the leftovers, even by a single process.
    assert os.listdir(directory) == [f"checkpoint_{step}.safetensors"]
    print(
        f"two processes, {kind}: {count} kills, 0 losses; {leftovers} in the middle of a save, "
        f"{beyond} after a commit that had not returned"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("new", 7), ("overwrite", 7), ("background", 6)])
def test_kill_loses_no_checkpoint(tmp_path, kind, count):
    trials(tmp_path, kind, count)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["new", "overwrite", "background"])
def test_many_kills_lose_no_checkpoint(tmp_path, kind):
    trials(tmp_path, kind, 70)
