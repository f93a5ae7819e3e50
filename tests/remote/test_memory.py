"""Memory that saving and restoring in an object store need beside the arrays."""

import os
import subprocess
import sys

import pytest

COMMON = """
import pathlib, re, sys
import jax.numpy as jnp
import numpy as np
from fifteen.experiments import Experiment
from fifteen.experiments.checkpoints._opening import open_checkpoint

def peak():
    # The `ru_maxrss` of a new process is at least that of the one that has started it.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search("VmHWM:\\s*([0-9]+) kB", status)[1]) / 1024

experiment = Experiment(sys.argv[1], verbose=False)
"""

SAVE = """
experiment.save_checkpoint({"w": jnp.ones(3)}, 0, prefix="small_", overwrite=True)
state = {f"w{number}": MODULE.full(2 << 20, number, np.float32) for number in range(20)}
before = peak()
experiment.save_checkpoint(state, 1, overwrite=True)
print(peak() - before)
"""

READ = """
experiment.restore_checkpoint(None, prefix="small_")
before = peak()
with open_checkpoint(experiment.data_dir / "checkpoint_1.safetensors") as reader:
    for group in reader.read(dict.fromkeys(reader.leaves)):
        del group  # As if it were on an accelerator now.
print(peak() - before)
"""


@pytest.mark.slow
def test_checkpoint_of_160_mib_needs_64_mib(bucket):
    # Freed memory returns to the system at once, so only memory in use is measured.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 18)}
    for script in (SAVE.replace("MODULE", "jnp"), SAVE.replace("MODULE", "np"), READ):
        command = [sys.executable, "-c", COMMON + script, bucket]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) < 64
