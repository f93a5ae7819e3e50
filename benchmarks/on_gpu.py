"""Logging, saving, restoring and histograms with data on an accelerator.

    python benchmarks/on_gpu.py [MiB]

It uses JAX's first device and a state of this size (1,024 MiB by default). Written data is read
back and compared, so this also tests a kind of device. Times are medians. `make bench`, which
needs only a CPU, does not run it.
"""

import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fifteen.experiments import Experiment, TensorboardLogData

ROUNDS = 5
STEPS = 100
MIB = 1 << 20


def median_ms(measure: Callable[[int], float]) -> float:
    """Return the median of a function's results over rounds, in ms."""
    return 1e3 * statistics.median(measure(number) for number in range(ROUNDS))


def seconds(function: Callable[[], Any]) -> float:
    """Return the time of a call until its result is on the device."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def show(name: str, *cells: str) -> None:
    print(f"{name:44}", *(f"{cell:>24}" for cell in cells), flush=True)


@jax.jit
def long_step(x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Keep the device busy for a while, and then return ten scalars."""
    x = jax.lax.fori_loop(0, 20, lambda _, y: jnp.tanh(y @ y), x)
    return x, {f"metric_{number}": x[number, 0] for number in range(10)}


def measure_log(experiment: Experiment) -> None:
    """Log scalars that are still being computed: the call must not wait."""
    x = jax.random.normal(jax.random.key(0), (1024, 1024)) / 32
    x, scalars = jax.block_until_ready(long_step(x))
    step_ms = median_ms(lambda _: seconds(lambda: long_step(x)))
    expected: list[jax.Array] = []
    calls: list[float] = []
    for step in range(STEPS):
        if step % 10 == 0:
            jax.block_until_ready(x)  # Otherwise JAX's own queue could be full.
        x, scalars = long_step(x)
        start = time.perf_counter()
        experiment.log(TensorboardLogData(scalars), step)
        calls.append(time.perf_counter() - start)
        expected.append(scalars["metric_3"])
    experiment.flush()
    found = experiment.read_scalars()["metric_3"].value
    np.testing.assert_array_equal(found, np.asarray(expected, np.float64))
    call_ms = 1e3 * statistics.median(calls)
    show("log 10 scalars of a step that is running", f"{call_ms:.3f} ms", f"step {step_ms:.1f} ms")


def make_state(mib: int) -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.key(1), 16)
    return {
        f"layer_{number}": jax.random.normal(key, (mib * MIB // 64,))
        for number, key in enumerate(keys)
    }


def measure_save(experiment: Experiment, mib: int) -> None:
    update = jax.jit(lambda state: {k: v * 0 - 1 for k, v in state.items()}, donate_argnums=0)
    calls: list[float] = []
    for number in range(ROUNDS):
        state = jax.block_until_ready(make_state(mib))
        expected = np.asarray(state["layer_7"])
        start = time.perf_counter()
        experiment.save_checkpoint(state, number, blocking=False)
        calls.append(time.perf_counter() - start)
        jax.block_until_ready(update(state))
        experiment.flush()
        found = experiment.restore_checkpoint(None)["layer_7"]
        np.testing.assert_array_equal(found, expected)
    state = make_state(mib)
    saved_ms = median_ms(
        lambda number: seconds(lambda: experiment.save_checkpoint(state, 100 + number) and None)
    )

    def fetch(_: int) -> float:
        # JAX caches the host copy of an array.
        fresh = jax.block_until_ready(make_state(mib))
        return seconds(lambda: [np.array(value) for value in fresh.values()] and None)

    fetched_ms = median_ms(fetch)
    show("save in the background: the caller", f"{1e3 * statistics.median(calls):.1f} ms")
    show("save: on disk", f"{saved_ms:.0f} ms", f"to the host {fetched_ms:.0f} ms")


def measure_restore(experiment: Experiment) -> None:
    """Restore onto the device, compared with `jax.device_put` of host arrays."""
    host = {k: np.asarray(v) for k, v in experiment.restore_checkpoint(None).items()}
    target = jax.block_until_ready(jax.tree.map(jnp.zeros_like, host))
    restored = experiment.restore_checkpoint(target)
    assert all(restored[name].devices() == target[name].devices() for name in target)
    np.testing.assert_array_equal(restored["layer_7"], host["layer_7"])
    ours = median_ms(lambda _: seconds(lambda: experiment.restore_checkpoint(target)))
    bare = median_ms(lambda _: seconds(lambda: jax.device_put(host)))
    show("restore onto the device", f"{ours:.0f} ms", f"device_put {bare:.0f} ms")


def measure_histogram(experiment: Experiment) -> None:
    """Log histograms of a million values on the device."""
    values = jax.block_until_ready(jax.random.normal(jax.random.key(2), (1_000_000,)))

    def log(number: int) -> float:
        start = time.perf_counter()
        experiment.log(TensorboardLogData(histograms={"values": values}), step=1000 + number)
        call = time.perf_counter() - start
        experiment.flush()
        return call

    call_ms = median_ms(log)
    written_ms = median_ms(lambda number: seconds(lambda: log(100 + number) and None))
    counts = experiment.read_histograms()["values"]
    assert len(counts.step) == 2 * ROUNDS
    show("histogram of 1,000,000: the caller", f"{call_ms:.3f} ms", f"written {written_ms:.0f} ms")


def main() -> None:
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    device = jax.devices()[0]
    print(f"{device.device_kind} ({device.platform}), a state of {mib} MiB\n")
    with (
        tempfile.TemporaryDirectory() as directory,
        Experiment(pathlib.Path(directory) / "run", verbose=False) as experiment,
    ):
        measure_log(experiment)
        measure_save(experiment, mib)
        measure_restore(experiment)
        measure_histogram(experiment)


if __name__ == "__main__":
    main()
