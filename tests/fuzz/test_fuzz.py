"""A short random attack on each part of the public API; `run.py` runs longer ones."""

import pathlib
import subprocess
import sys

import pytest

RUN = pathlib.Path(__file__).with_name("run.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "count"),
    [
        ("trees", 20),
        ("metadata", 60),
        ("comparisons", 30),
        ("directories", 20),
        ("disks", 10),
        ("signals", 6),
    ],
)
def test_random_calls_keep_all_promises(attack, count):
    arguments = [attack, "--count", str(count), "--minutes", "10"]
    result = subprocess.run(
        [sys.executable, str(RUN), *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    if "needs root" in result.stdout:
        pytest.skip("a small file system can be mounted by root only")
