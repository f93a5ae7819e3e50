"""Restoring an Orbax directory: ours and Orbax's own loader, in one run.

    python benchmarks/bench_orbax.py [--rounds 5]

Both read the arrays with tensorstore. Times are medians of interleaved
rounds; both end with the state on the device.
"""

import argparse
import logging
import math
import os
import pathlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from fifteen.experiments import Experiment

STATES = {
    "10 leaves of 1 KB": (10, (256,)),
    "2,000 leaves of 4 KB": (2000, (1024,)),
    "256 MiB in 40 arrays": (40, (1_677_721,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(f"{'state':<24}{'ours':>12}{'Orbax':>12}{'ratio':>8}")
    for name, (count, shape) in STATES.items():
        leaf = jnp.arange(math.prod(shape), dtype=jnp.float32).reshape(shape)
        ours, orbax = compare({f"leaf_{number}": leaf + number for number in range(count)}, rounds)
        print(f"{name:<24}{ours * 1e3:>9.1f} ms{orbax * 1e3:>9.1f} ms{ours / orbax:>8.2f}")


def compare(tree: Any, rounds: int) -> tuple[float, float]:
    """Return the median seconds of ours and of Orbax."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "checkpoint_1"
        handler = ocp.PyTreeCheckpointHandler(use_compression=False)
        with ocp.Checkpointer(handler) as checkpointer:
            checkpointer.save(path, tree)
            arguments = ocp.checkpoint_utils.construct_restore_args(tree)
            experiment = Experiment(directory, verbose=False)
            contenders: list[Callable[[], Any]] = [
                lambda: experiment.restore_checkpoint(tree),
                lambda: checkpointer.restore(path, restore_args=arguments),
            ]
            times: list[list[float]] = [[], []]
            for _ in range(rounds + 1):
                for taken, restore in zip(times, contenders, strict=True):
                    start = time.perf_counter()
                    jax.block_until_ready(restore())
                    taken.append(time.perf_counter() - start)
    # The first round warms up.
    ours, orbax = (statistics.median(taken[1:]) for taken in times)
    return ours, orbax


if __name__ == "__main__":
    main()
