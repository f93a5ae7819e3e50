"""After SIGKILL at random moments, the last completed checkpoint or a later one is there."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

# Importing takes much longer than a trial, so one process imports, and its forks are killed. The
# step determines each state completely; a save is recorded once it has returned.
SAVING = """
import os, pathlib, sys, warnings
import numpy as np
from fifteen.experiments.checkpoints import Checkpoints, Retention
from fifteen.experiments.checkpoints._safetensors import _save  # A save imports it, and JAX with it.

warnings.simplefilter("ignore")
directory, kind = pathlib.Path(sys.argv[1]), sys.argv[2]

def save(start):
    checkpoints = Checkpoints(directory)
    report = os.open(directory.with_name("report"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    number = start
    while True:
        number += 1
        state = {
            "number": number,
            "array": np.full(300_000, number),
            "small": [np.full(3, number)] * 20,
        }
        step = 7 if kind == "overwrite" else number
        keep = 2 if kind == "new step" else 1
        blocking = kind != "background"
        checkpoints.save(state, step, "checkpoint_", lambda: Retention(keep, kind == "overwrite"), blocking)
        if blocking:
            os.write(report, b"%d\\n" % number)
        elif number > start + 1:
            # The save before this one has been seen through.
            os.write(report, b"%d\\n" % (number - 1))

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        save(int(line))
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""

KINDS = ["new step", "overwrite", "blocking", "background"]


@pytest.fixture
def run_and_kill(handle, request):
    arguments = [
        sys.executable,
        "-c",
        SAVING,
        str(handle.directory),
        request.getfixturevalue("kind"),
    ]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:

        def run(start, delay):
            process.stdin.write(f"{start}\n")
            pid = int(process.stdout.readline())
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
            assert int(process.stdout.readline()) == -signal.SIGKILL

        yield run
        process.stdin.close()


def last_reported(handle):
    report = handle.directory.with_name("report")
    lines = report.read_bytes().split(b"\n") if report.exists() else []
    return max((int(line) for line in lines if line), default=0)


def crash(handle, run_and_kill, kind, times):
    """Repeatedly kill a program that saves, and check what it leaves."""
    randomness = random.Random(kind)
    number = 0
    moments = {"beyond": 0, "leftovers": 0}
    for _ in range(times):
        run_and_kill(number, randomness.uniform(0, 0.15))
        reported = last_reported(handle)
        # Another process reads it, as a resumed run would.
        fresh = type(handle)(handle.directory)
        names = os.listdir(handle.directory) if handle.directory.exists() else []
        moments["leftovers"] += any(name.endswith(".fifteen-tmp") for name in names)
        if not fresh.steps():
            assert reported == 0
            continue
        restored = fresh.restore(None)
        number = restored["number"]
        assert number >= reported
        moments["beyond"] += number > reported
        np.testing.assert_array_equal(restored["array"], np.full(300_000, number))
        assert all((part == number).all() for part in restored["small"])
        if kind != "overwrite":
            assert fresh.steps()[-1] == number
    assert number > 0
    # The next save cleans up.
    fresh = type(handle)(handle.directory)
    fresh.save({"w": 1}, 10**9)
    assert fresh.names() == ["checkpoint_1000000000.safetensors"]
    assert sorted(os.listdir(handle.directory)) == fresh.names()
    print(f"{kind}: {times} kills, 0 losses, {moments}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_kill_at_random_moments_loses_no_checkpoint(handle, run_and_kill, kind):
    crash(handle, run_and_kill, kind, 20)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_kill_at_many_random_moments_loses_no_checkpoint(handle, run_and_kill, kind):
    crash(handle, run_and_kill, kind, 200)
