"""Run the digits example as a process, and compare two of its runs."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import warm

from fifteen.experiments import Experiment

EXAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "01_digits.py"
STEPS = 900
OPTIONS = ("--config.steps", str(STEPS), "--config.save-every", "150")

_compiled = tempfile.TemporaryDirectory()
CACHING = {
    "JAX_COMPILATION_CACHE_DIR": _compiled.name,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
"""Environment of processes that share what they compile."""
RUN = f"""
import jax, os, runpy, sys
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
sys.argv[0] = {str(EXAMPLE)!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(directory, *options):
    """Start the example; only the first one compiles it, which takes longer than the training."""
    imports = f"{warm.IMPORTS}, optax, rich.progress, sklearn.datasets, tyro"
    return warm.Process(
        RUN, "--data-dir", directory, *options, env=os.environ | CACHING, imports=imports
    )


def start_cold(directory, *options):
    """Start the example in a new interpreter."""
    command = [sys.executable, str(EXAMPLE), "--data-dir", str(directory), *options]
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, env=os.environ | CACHING, **pipes, text=True)


def finish(child):
    _, errors = child.communicate(timeout=300)
    assert child.returncode == 0, errors


def kill_when(child, condition):
    """Send SIGKILL as soon as a condition is true."""
    while not condition():
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.005)
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL


def open_experiment(directory):
    return Experiment(directory, verbose=False)


def has_checkpoint(directory, step):
    return max(open_experiment(directory).checkpoint_steps(), default=0) >= step


def assert_same_file(ours, theirs, name):
    assert (ours.data_dir / name).read_bytes() == (theirs.data_dir / name).read_bytes(), name


def assert_same(directory, expected):
    """Check that two runs have equal checkpoints (bit for bit), curves and metadata."""
    ours, theirs = open_experiment(directory), open_experiment(expected)
    for prefix in ("checkpoint_", "checkpoint_best_"):
        assert ours.checkpoint_steps(prefix) == theirs.checkpoint_steps(prefix)
        for step in ours.checkpoint_steps(prefix):
            assert_same_file(ours, theirs, f"{prefix}{step}.safetensors")
    assert_same_file(ours, theirs, "config.yaml")
    scalars, expected_scalars = ours.read_scalars(), theirs.read_scalars()
    assert scalars.keys() == expected_scalars.keys()
    for tag, series in expected_scalars.items():
        np.testing.assert_array_equal(scalars[tag].step, series.step, tag)
        np.testing.assert_array_equal(scalars[tag].value, series.value, tag)
    histograms, expected_histograms = ours.read_histograms(), theirs.read_histograms()
    assert histograms.keys() == expected_histograms.keys()
    for tag, series in expected_histograms.items():
        np.testing.assert_array_equal(histograms[tag].step, series.step, tag)
