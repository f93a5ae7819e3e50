"""Several real JAX processes on this machine, for tests of distributed runs."""

import contextlib
import json
import os
import pathlib
import queue
import socket
import subprocess
import textwrap
import threading
from collections.abc import Generator

import warm

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

# Not part of the preamble, since it initialises the devices.
MESH = """
mesh = Mesh(np.array(jax.devices()), ("x",))

def spread(array, spec=P("x"), mesh=mesh):
    sharding, dtype = NamedSharding(mesh, spec), jax.dtypes.canonicalize_dtype(array.dtype)
    return jax.make_array_from_callback(
        array.shape, sharding, lambda index: array[index], dtype=dtype
    )
"""

_SERVE = """
import contextlib, io, traceback
for line in sys.stdin:
    task = json.loads(line)
    names = {**globals(), "directory": pathlib.Path(task["directory"])}
    output, problem = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(task["script"], "script", "exec"), names)
    except BaseException:
        problem = traceback.format_exc()
    print("REPLY" + json.dumps([output.getvalue(), problem]), flush=True)
"""


def start(script: str, directory: pathlib.Path, count: int, devices: int = 2) -> list[warm.Process]:
    """Start `count` processes that run a script after the preamble.

    Args:
        script: finds `INDEX`, `COUNT`, `directory`, `jax`, `jnp`, `np`, `Mesh`, `NamedSharding`
            and `P`. If it begins with `MESH`, it also has a `mesh` of all devices, and `spread`,
            which makes an array of shards.
        directory: what the script finds under that name.
        count: how many processes; a single one runs without `jax.distributed`.
        devices: how many CPU devices each of them has.
    """
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    port = _free_port()
    code = PREAMBLE + textwrap.dedent(script)
    return [
        warm.Process(code, index, count, port, directory, env=environment) for index in range(count)
    ]


def run(
    script: str, directory: pathlib.Path, count: int, devices: int = 2, timeout: float = 120
) -> list[str]:
    """Run a script in several processes, and return the output of each.

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


class Pool:
    """Processes that run scripts one after another, since starting them takes seconds.

    A script that fails ends the processes; the next script gets new ones.

    Args:
        count: how many.
        devices: how many CPU devices each of them has.
        common: a script that all of them run first.
    """

    def __init__(self, count: int, devices: int = 2, common: str = "") -> None:
        self._count, self._devices, self._common = count, devices, common
        self._processes: list[warm.Process] = []
        self._replies: list[queue.Queue[str | None]] = []

    def run(self, script: str, directory: pathlib.Path, timeout: float = 120) -> list[str]:
        """Run a script in each process, and return the output of each.

        Raises:
            AssertionError: it failed or did not end; shows what was written.
        """
        if not self._processes:
            self._start()
        task = json.dumps({"script": textwrap.dedent(script), "directory": str(directory)})
        outputs: list[str] = []
        problems: list[str] = []
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(task + "\n")
            process.stdin.flush()
        for replies in self._replies:
            try:
                reply = replies.get(timeout=5 if problems else timeout)
            except queue.Empty:
                problems.append("no answer")
                continue
            output, problem = json.loads(reply) if reply is not None else ("", "it has died")
            outputs.append(output)
            if problem:
                problems.append(f"{output}\n{problem}")
        if problems:
            errors = self._kill()
            raise AssertionError("\n".join([*problems, *errors]))
        return outputs

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        self._kill()

    def _start(self) -> None:
        script = self._common + textwrap.dedent(_SERVE)
        self._processes = start(script, pathlib.Path("/"), self._count, self._devices)
        self._replies = [queue.Queue() for _ in self._processes]
        for process, replies in zip(self._processes, self._replies, strict=True):
            threading.Thread(target=_listen, args=(process, replies), daemon=True).start()

    def _kill(self) -> list[str]:
        for process in self._processes:
            process.kill()
        errors: list[str] = []
        for process in self._processes:
            process.wait()
            for stream in (process.stdin, process.stderr):
                assert stream is not None
                if stream is process.stderr:
                    errors.append(stream.read())
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._processes = []
        return errors


@contextlib.contextmanager
def pool(count: int, devices: int = 2, common: str = "") -> Generator[Pool]:
    """Share a pool among the tests of a module."""
    made = Pool(count, devices, common)
    try:
        yield made
    finally:
        made.close()


def _listen(process: warm.Process, replies: "queue.Queue[str | None]") -> None:
    assert process.stdout is not None
    with process.stdout as stream:
        for line in stream:
            if line.startswith("REPLY"):
                replies.put(line.removeprefix("REPLY"))
    replies.put(None)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
