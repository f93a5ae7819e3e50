"""Reading checkpoints before JAX has initialised its backends."""

import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from fifteen.experiments import Experiment

SCRIPT = """
import socket, sys
import jax, numpy as np
from fifteen.experiments import Experiment

experiment = Experiment(sys.argv[1])
assert experiment.checkpoint_leaves(3)["key"].dtype == "key<fry>"
target = {"w": np.zeros(3), "n": 0, "text": "", "f": np.float32(0)}
for step in (1, 2):
    assert experiment.checkpoint_leaves(step)["w"].dtype == "float64"
    for like in (target, None):
        found = experiment.restore_checkpoint(like, step)
        assert found["w"].sum() == 3 and found["text"] == "x"
    experiment.restore_checkpoint({**target, "n": np.int64(0)}, step, strict=False)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = "127.0.0.1:%d" % free.getsockname()[1]
jax.distributed.initialize(address, num_processes=1, process_id=0)
"""


@pytest.mark.slow
def test_restore_to_numpy_initialises_no_backend(tmp_path):
    tree = {"w": np.arange(3.0), "n": 1, "text": "x", "f": np.float32(1)}
    Experiment(tmp_path).save_checkpoint(tree, 1)
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "checkpoint_2", tree)
        checkpointer.save(tmp_path / "checkpoint_3", {"w": tree["w"], "key": jax.random.key(1)})
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
