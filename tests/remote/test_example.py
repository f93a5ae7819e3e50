import pathlib
import subprocess
import sys

import numpy as np
import pytest

from fifteen.experiments import Experiment

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "13_object_store.py"


@pytest.mark.slow
def test_run_in_a_bucket_resumes_at_its_last_step(bucket):
    for first in (0, 200):
        command = [sys.executable, str(EXAMPLE), "--address", bucket, "--steps", "200"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        assert f"Trained from step {first} to {first + 200}." in done.stdout
        assert f"{bucket}: loss 0." in done.stdout
    experiment = Experiment(bucket, verbose=False)
    assert experiment.checkpoint_steps() == [300, 400]
    np.testing.assert_array_equal(experiment.read_scalars()["loss"].step, np.arange(1, 401))
