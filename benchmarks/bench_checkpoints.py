"""Checkpoints: ours, the peers and the raw limit, in one run.

    python benchmarks/bench_checkpoints.py [--rounds 5] [--states few many large] [--directory DIR]

Peers that are not installed are left out (`pip install flax orbax-checkpoint equinox torch`).
Every save includes an fsync, also for peers that do not sync themselves. Every restore ends with
the state on the device. The raw limit is a sequential write of the same bytes with an fsync, and a
read of them with one copy. Times are medians and minima of interleaved rounds.
"""

import argparse
import contextlib
import gc
import importlib.util
import itertools
import logging
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from fifteen.experiments import Experiment

BUDGET = 20.0
"""Seconds after which a contender that has had two rounds is given no more."""

State = dict[str, jax.Array]
STATES = {
    "few": ("10 leaves of 1 KB", 10, 256),
    "many": ("2,000 leaves of 4 KB", 2000, 1024),
    "large": ("1 GiB in 40 arrays", 40, (1 << 28) // 40),
}


class Contender:
    """A way to save a state to a path and to restore it; None if unsupported."""

    def __init__(
        self,
        name: str,
        save: Callable[[pathlib.Path, State], Callable[[], None]],
        restore: Callable[[pathlib.Path, State], State] | None,
    ) -> None:
        self.name = name
        self.save = save
        self.restore = restore


def sync(path: pathlib.Path) -> None:
    """Sync a file or directory tree."""
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def done() -> None:
    """Do nothing."""


def ours(blocking: bool) -> Contender:
    steps = itertools.count(1)

    # As in a training loop: the directory exists, and the previous checkpoint is removed.
    def experiment_of(path: pathlib.Path) -> Experiment:
        return Experiment(path.with_name(f"experiment_{blocking}"), verbose=False)

    def save(path: pathlib.Path, state: State) -> Callable[[], None]:
        experiment = experiment_of(path)
        experiment.save_checkpoint(state, next(steps), blocking=blocking)
        return experiment.flush

    def restore(path: pathlib.Path, state: State) -> State:
        return experiment_of(path).restore_checkpoint(state)

    return Contender(f"ours, {'blocking' if blocking else 'background'}", save, restore)


def raw() -> Contender:
    """Return the raw limits of disk and memory."""

    def save(path: pathlib.Path, state: State) -> Callable[[], None]:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        buffers = [np.asarray(leaf).view(np.uint8) for leaf in state.values()]
        for first in range(0, len(buffers), 512):
            waiting: list[Any] = list(buffers[first : first + 512])
            while waiting:
                written = os.writev(descriptor, waiting)
                while waiting and written >= len(waiting[0]):
                    written -= len(waiting.pop(0))
                if waiting:
                    waiting[0] = memoryview(waiting[0])[written:]
        os.fsync(descriptor)
        os.close(descriptor)
        return done

    def restore(path: pathlib.Path, state: State) -> State:
        read = {name: np.empty(leaf.nbytes, np.uint8) for name, leaf in state.items()}
        with open(path, "rb", buffering=0) as file:
            for buffer in read.values():
                file.readinto(memoryview(buffer))
        return {name: buffer.copy() for name, buffer in read.items()}

    return Contender("raw limit", save, restore)


def file_formats() -> Iterator[Contender]:
    """Yield libraries that write a single file."""

    def numpy_save(path: pathlib.Path, state: State) -> Callable[[], None]:
        with open(path, "wb") as file:
            np.savez(file, **state)
        sync(path)
        return done

    def numpy_restore(path: pathlib.Path, state: State) -> State:
        with np.load(path) as loaded:
            return jax.device_put({name: loaded[name] for name in state})

    yield Contender("np.savez", numpy_save, numpy_restore)

    import safetensors.flax

    def safetensors_save(path: pathlib.Path, state: State) -> Callable[[], None]:
        # A copy, since its values are replaced by NumPy arrays.
        safetensors.flax.save_file(dict(state), path)
        sync(path)
        return done

    yield Contender(
        "safetensors", safetensors_save, lambda path, _: safetensors.flax.load_file(path)
    )
    if importlib.util.find_spec("torch"):
        import torch

        def torch_save(path: pathlib.Path, state: State) -> Callable[[], None]:
            torch.save(
                {name: torch.from_numpy(np.array(leaf)) for name, leaf in state.items()}, path
            )
            sync(path)
            return done

        def torch_restore(path: pathlib.Path, state: State) -> State:
            return jax.device_put({name: leaf.numpy() for name, leaf in torch.load(path).items()})

        yield Contender("torch.save", torch_save, torch_restore)
    if importlib.util.find_spec("equinox"):
        import equinox

        def equinox_save(path: pathlib.Path, state: State) -> Callable[[], None]:
            with open(path, "wb") as file:
                equinox.tree_serialise_leaves(file, state)
            sync(path)
            return done

        def equinox_restore(path: pathlib.Path, state: State) -> State:
            with open(path, "rb") as file:
                return equinox.tree_deserialise_leaves(file, state)

        yield Contender("Equinox", equinox_save, equinox_restore)


def flax_ways() -> Iterator[Contender]:
    """Yield flax's own checkpoints, and those through Orbax."""
    import flax
    from flax.training import checkpoints

    def way(name: str, orbax: bool) -> Contender:
        def save(path: pathlib.Path, state: State) -> Callable[[], None]:
            flax.config.update("flax_use_orbax_checkpointing", orbax)
            sync(pathlib.Path(checkpoints.save_checkpoint(path, state, 1)))
            return done

        def restore(path: pathlib.Path, state: State) -> State:
            return jax.device_put(checkpoints.restore_checkpoint(path, state))

        return Contender(name, save, restore)

    yield way("flax, msgpack", orbax=False)
    yield way("flax over Orbax", orbax=True)


def orbax_ways() -> Iterator[Contender]:
    """Yield both of Orbax's interfaces, blocking and not."""
    import orbax.checkpoint as v0
    from orbax.checkpoint import v1

    def restore_v0(path: pathlib.Path, state: State) -> State:
        arguments = v0.checkpoint_utils.construct_restore_args(state)
        return v0.PyTreeCheckpointer().restore(path, item=state, restore_args=arguments)

    def save_v0(path: pathlib.Path, state: State) -> Callable[[], None]:
        v0.PyTreeCheckpointer().save(path, state)
        return done

    background = v0.AsyncCheckpointer(v0.PyTreeCheckpointHandler())

    def save_v0_async(path: pathlib.Path, state: State) -> Callable[[], None]:
        background.save(path, state)
        return background.wait_until_finished

    def save_v1(path: pathlib.Path, state: State) -> Callable[[], None]:
        v1.save_pytree(path, state)
        return done

    def save_v1_async(path: pathlib.Path, state: State) -> Callable[[], None]:
        response = v1.save_pytree_async(path, state)
        return lambda: response.result() and None

    yield Contender("Orbax v0", save_v0, restore_v0)
    yield Contender("Orbax v0, async", save_v0_async, None)
    yield Contender("Orbax v1", save_v1, lambda path, state: v1.load_pytree(path, state))
    yield Contender("Orbax v1, async", save_v1_async, None)


def contenders() -> list[Contender]:
    """Return all contenders whose libraries are installed, the raw limit and ours first."""
    found = [raw(), ours(blocking=True), ours(blocking=False), *file_formats()]
    if importlib.util.find_spec("flax"):
        found += flax_ways()
    if importlib.util.find_spec("orbax"):
        found += orbax_ways()
    return found


class Times:
    """Seconds of one contender."""

    def __init__(self) -> None:
        self.blocked: list[float] = []
        self.saved: list[float] = []
        self.restored: list[float] = []


def measure(contender: Contender, state: State, times: Times, directory: pathlib.Path) -> None:
    path = directory / "checkpoint"
    os.sync()
    gc.collect()
    start = time.perf_counter()
    wait = contender.save(path, state)
    times.blocked.append(time.perf_counter() - start)
    wait()
    times.saved.append(time.perf_counter() - start)
    if contender.restore is not None:
        gc.collect()
        start = time.perf_counter()
        jax.block_until_ready(contender.restore(path, state))
        times.restored.append(time.perf_counter() - start)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def run(kind: str, rounds: int, directory: pathlib.Path) -> None:
    """Measure all contenders with one state, and print a table."""
    title, leaves, size = STATES[kind]
    state = {f"layer_{n}": jnp.arange(size, dtype=jnp.float32) + n for n in range(leaves)}
    jax.block_until_ready(state)
    everyone = contenders()
    times = {contender.name: Times() for contender in everyone}
    host = [np.array(leaf) for leaf in state.values()]
    bare: list[float] = []
    for number in range(rounds + 1):
        for contender in everyone:
            taken = times[contender.name]
            if number > 2 and sum(taken.saved + taken.restored) > BUDGET:
                continue
            with quiet():
                # The first round warms up.
                into = times[contender.name] if number else Times()
                measure(contender, state, into, directory)
        gc.collect()
        start = time.perf_counter()
        jax.block_until_ready(jax.device_put(host))
        bare.append(time.perf_counter() - start)
    limit = times["raw limit"]
    print(f"\n{title}, up to {rounds} rounds; ms: median (smallest), ratio to the raw limit\n")
    print(f"{'':20}{'caller waits':>20}{'saved':>26}{'restored':>26}")
    for name, taken in times.items():
        cells = [
            cell(taken.blocked, None).rjust(20),
            cell(taken.saved, limit.saved).rjust(26),
            cell(taken.restored, limit.restored).rjust(26),
        ]
        print(f"{name:20}{''.join(cells)}", flush=True)
    restored = statistics.median(times["ours, blocking"].restored)
    alone = statistics.median(bare[1:])
    print(f"jax.device_put alone: {alone * 1e3:.1f}; ours restores in {restored / alone:.2f}x that")


def cell(times: list[float], limit: list[float] | None) -> str:
    """Format a median, a minimum and a ratio."""
    if not times:
        return "-"
    median = statistics.median(times)
    ratio = f" {median / statistics.median(limit):7.2f}x" if limit else ""
    return f"{median * 1e3:.1f} ({min(times) * 1e3:.1f}){ratio}"


MEMORY = """
import os, pathlib, re, sys
os.environ["JAX_PLATFORMS"] = "cpu"
import jax, jax.numpy as jnp
from fifteen.experiments import Experiment

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) >> 10

def forget_peak():
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return peak()

state = {str(n): jnp.arange((1 << 28) // 40, dtype=jnp.float32) for n in range(40)}
jax.block_until_ready(state)
experiment = Experiment(sys.argv[1], verbose=False)
before = forget_peak()
experiment.save_checkpoint(state, 1)
saving = peak() - before
before = forget_peak()
experiment.save_checkpoint(state, 2, blocking=False)
experiment.flush()
in_background = peak() - before
before = forget_peak()
restored = jax.block_until_ready(experiment.restore_checkpoint(state))
print(
    f"peak extra memory for 1 GiB: {saving} MiB to save, {in_background} in the background, "
    f"{peak() - before} to restore"
)
"""
"""Measures memory in a process of its own; the peak that `getrusage` tells is its parent's too."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the peers' warnings and log lines."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--states", nargs="+", choices=STATES, default=list(STATES))
    parser.add_argument("--directory", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    # A raised limit, since Orbax opens many files at once.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for kind in arguments.states:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            run(kind, arguments.rounds, pathlib.Path(directory))
            if kind == "large":
                print(flush=True)
                path = pathlib.Path(directory) / "memory"
                subprocess.run([sys.executable, "-c", MEMORY, path], check=True)


if __name__ == "__main__":
    main()
