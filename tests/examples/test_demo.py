import os
import pathlib
import re
import subprocess
import sys

import digits
import pytest

from fifteen.experiments import Experiment

DEMO = pathlib.Path(__file__).parent.parent.parent / "examples" / "demo.py"


@pytest.mark.slow
def test_demo_runs(tmp_path):
    command = [sys.executable, str(DEMO), "--data-dir", "runs/demo", "--steps", "2000"]
    # The demo deletes the files of an earlier one.
    Experiment(tmp_path / "runs" / "demo", verbose=False).write_metadata("old", 1)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | digits.CACHING,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout
    assert re.search(r"Killed\. On disk: the checkpoint of step \d+, logs to step \d+\.", printed)
    assert "Restored checkpoint from" in printed
    assert re.search(r"test/accuracy +8 +0\.\d{4} +0\.9[5-9]\d\d", printed)
    assert re.search(
        r"/fifteen view runs/demo --open\n.*/tensorboard --logdir runs/demo\n$", printed
    )
    names = [path.name for path in (tmp_path / "runs" / "demo").iterdir()]
    assert "old.yaml" not in names
    assert all(name in printed for name in names)
