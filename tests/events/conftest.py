import contextlib
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import warm
from running_tensorboard import running_tensorboard


@pytest.fixture
def tensorboard():
    """Start TensorBoard on a directory; `fast` chooses the Rust data server."""
    with contextlib.ExitStack() as stack:
        yield lambda directory, fast: stack.enter_context(running_tensorboard(directory, fast))


@pytest.fixture
def run_script(tmp_path):
    """Run Python code in a new process, with `directory` in scope, and return the process."""

    def run(code, **options):
        header = (
            "import os, pathlib, signal, sys, time\n"
            "import jax, jax.numpy as jnp, numpy as np\n"
            "from fifteen.experiments import TensorboardLogData\n"
            "from fifteen.experiments.events.writing import EventLog\n"
            "from fifteen.experiments.storage import Directory\n"
            f"directory = pathlib.Path({str(tmp_path)!r})\n"
            "def scalars(**values): return TensorboardLogData(scalars=values)\n"
        )
        return warm.run(header + code, **options)

    return run


@pytest.fixture
def start_script(tmp_path):
    """Start Python code in a new process that can be killed; see `run_script`."""
    started = []

    def start(path: pathlib.Path):
        process = subprocess.Popen([sys.executable, str(path), str(tmp_path)], text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
