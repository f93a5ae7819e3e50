"""Start real processes that make one JAX run on this machine, for the tests of several."""

import os
import pathlib
import socket
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).parents[1]

PREAMBLE = """
import os, pathlib, sys, json, warnings
warnings.simplefilter("error")
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
INDEX, COUNT, PORT = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
directory = pathlib.Path(sys.argv[4])
if COUNT > 1:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jax.distributed.initialize(
            f"127.0.0.1:{PORT}", COUNT, INDEX,
            heartbeat_timeout_seconds=10, shutdown_timeout_seconds=30,
        )
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
"""


def start(
    script: str, directory: pathlib.Path, count: int, devices: int = 2
) -> list[subprocess.Popen[str]]:
    """Start `count` processes that run a script after the preamble.

    Args:
        script: finds `INDEX`, `COUNT`, `directory`, `jax`, `jnp`, `np`, `Mesh`, `NamedSharding`
            and `P`.
        directory: what the script finds under that name.
        count: how many processes; one stands alone, without `jax.distributed`.
        devices: how many CPU devices each of them has.
    """
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT / "src"),
    }
    port = _free_port()
    code = PREAMBLE + textwrap.dedent(script)
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, str(index), str(count), str(port), str(directory)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for index in range(count)
    ]


def run(
    script: str, directory: pathlib.Path, count: int, devices: int = 2, timeout: float = 120
) -> list[str]:
    """Run a script in several processes, and return what each has printed.

    Raises:
        AssertionError: a process failed or did not end; shows what it wrote.
    """
    processes = start(script, directory, count, devices)
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"a process hangs: {error}") from None
    finally:
        for process in processes:
            process.kill()
    for process, (output, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, f"{output}\n{errors}"
    return [output for output, _ in outputs]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
