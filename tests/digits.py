"""Run the digits example as a process, and compare two of its runs."""

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

RUN = f"""
import jax, runpy, sys
jax.config.update("jax_compilation_cache_dir", sys.argv.pop())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
sys.argv[0] = {str(EXAMPLE)!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""

_compiled = tempfile.TemporaryDirectory()


def start(directory, *options):
    """Start the example; only the first one compiles it, which takes longer than the training."""
    imports = f"{warm.IMPORTS}, optax, rich.progress, sklearn.datasets, tyro"
    arguments = ("--data-dir", directory, *options, _compiled.name)
    return warm.Process(RUN, *arguments, imports=imports)


def start_cold(directory, *options):
    """Start the example in a new interpreter."""
    arguments = ("--data-dir", directory, *options, _compiled.name)
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, **pipes, text=True)


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
