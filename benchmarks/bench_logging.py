"""Logging: its cost to the training loop, for ours, the peers, a no-op and the raw limit.

    python benchmarks/bench_logging.py [NAME ...]

Each logger runs in its own process; loggers that are not installed are left out
(`pip install crc32c torch clu wandb mlflow-skinny trackio dvclive`). Three things are measured:

- calls: 10 JAX scalars per call in a tight loop: the calling thread's time per call, and the
  process's CPU time per scalar until everything is on disk;
- steps: the slowdown of training steps of 5 ms and 0.7 ms with 10 scalars every step, and of 0.7 ms
  with two histograms of 100,000 values every 10 steps as well. Blocks of steps with and without
  logging alternate, so that other load affects both;
- histograms: CPU time to count and encode 1,000,000 float32.

`limit` is one dispatch that packs the scalars on the device, without which they would not survive
the donation of their buffers. All times are medians.
"""

import argparse
import contextlib
import functools
import importlib
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

CALLS = 20_000
SLOW_CALLS = 1_000
BLOCKS = 21
HISTOGRAM_EVERY = 10
RESULT = "result: "
NAMES = [f"group/metric_{number}" for number in range(10)]

Scalars = dict[str, Any]


class Logger:
    """A logger; peers override what they support."""

    calls = SLOW_CALLS

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory

    def scalars(self, values: Scalars, step: int) -> None:
        raise NotImplementedError

    def histograms(self, values: Scalars, step: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class Noop(Logger):
    calls = CALLS

    def scalars(self, values: Scalars, step: int) -> None:
        pass

    def histograms(self, values: Scalars, step: int) -> None:
        pass


class Limit(Noop):
    pack = staticmethod(jax.jit(lambda values: jnp.stack(values)))

    def scalars(self, values: Scalars, step: int) -> None:
        self.pack(list(values.values()))


class Fifteen(Logger):
    calls = CALLS

    def __init__(self, directory: pathlib.Path) -> None:
        from fifteen.experiments import Experiment, TensorboardLogData

        self.data = TensorboardLogData
        self.experiment = Experiment(directory, verbose=False)

    def scalars(self, values: Scalars, step: int) -> None:
        self.experiment.log(self.data(scalars=values), step)

    def histograms(self, values: Scalars, step: int) -> None:
        self.experiment.log(self.data(histograms=values), step)

    def close(self) -> None:
        self.experiment.close()


class TensorboardX(Logger):
    module = "tensorboardX"

    def __init__(self, directory: pathlib.Path) -> None:
        self.writer = importlib.import_module(self.module).SummaryWriter(str(directory))

    def scalars(self, values: Scalars, step: int) -> None:
        for tag, value in values.items():
            self.writer.add_scalar(tag, float(value), step)

    def histograms(self, values: Scalars, step: int) -> None:
        for tag, value in values.items():
            self.writer.add_histogram(tag, np.asarray(value), step)

    def close(self) -> None:
        self.writer.close()


class TensorboardXWithoutNativeChecksum(TensorboardX):
    def __init__(self, directory: pathlib.Path) -> None:
        sys.modules["crc32c"] = None  # pyright: ignore[reportArgumentType] # Makes it absent.
        super().__init__(directory)


class Torch(TensorboardX):
    module = "torch.utils.tensorboard"


class Clu(Logger):
    def __init__(self, directory: pathlib.Path) -> None:
        metric_writers = importlib.import_module("clu.metric_writers")
        self.writer = metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(directory)))

    def scalars(self, values: Scalars, step: int) -> None:
        self.writer.write_scalars(step, values)

    def histograms(self, values: Scalars, step: int) -> None:
        self.writer.write_histograms(step, values)

    def close(self) -> None:
        self.writer.close()


class Wandb(Logger):
    def __init__(self, directory: pathlib.Path) -> None:
        self.wandb = importlib.import_module("wandb")
        self.run = self.wandb.init(mode="offline", dir=str(directory), project="benchmark")

    def scalars(self, values: Scalars, step: int) -> None:
        self.run.log({tag: float(value) for tag, value in values.items()}, step=step)

    def histograms(self, values: Scalars, step: int) -> None:
        arrays = {tag: self.wandb.Histogram(np.asarray(value)) for tag, value in values.items()}
        self.run.log(arrays, step=step)

    def close(self) -> None:
        self.run.finish()


class Mlflow(Logger):
    calls = 200

    def __init__(self, directory: pathlib.Path) -> None:
        self.mlflow = importlib.import_module("mlflow")
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        self.mlflow.set_tracking_uri(directory.as_uri())
        self.mlflow.set_experiment("benchmark")
        self.mlflow.start_run()

    def scalars(self, values: Scalars, step: int) -> None:
        self.mlflow.log_metrics({tag: float(value) for tag, value in values.items()}, step=step)

    def close(self) -> None:
        self.mlflow.end_run()


class Trackio(Logger):
    def __init__(self, directory: pathlib.Path) -> None:
        os.environ["TRACKIO_DIR"] = str(directory)
        self.trackio = importlib.import_module("trackio")
        self.trackio.init(project="benchmark", embed=False)

    def scalars(self, values: Scalars, step: int) -> None:
        self.trackio.log({tag: float(value) for tag, value in values.items()}, step=step)

    def close(self) -> None:
        self.trackio.finish()


class Dvclive(Logger):
    calls = 200

    def __init__(self, directory: pathlib.Path) -> None:
        live = importlib.import_module("dvclive").Live
        self.live = live(str(directory), save_dvc_exp=False, dvcyaml=None)

    def scalars(self, values: Scalars, step: int) -> None:
        self.live.step = step
        for tag, value in values.items():
            self.live.log_metric(tag, float(value))

    def close(self) -> None:
        self.live.end()


LOGGERS: dict[str, type[Logger]] = {
    "no-op": Noop,
    "limit": Limit,
    "fifteen": Fifteen,
    "tensorboardX": TensorboardX,
    "tensorboardX, Python CRC": TensorboardXWithoutNativeChecksum,
    "torch": Torch,
    "clu async": Clu,
    "wandb offline": Wandb,
    "mlflow": Mlflow,
    "trackio": Trackio,
    "dvclive": Dvclive,
}


def measure_calls(logger: Logger) -> dict[str, float]:
    """Return microseconds per call (median, 99th percentile) and CPU microseconds per scalar."""
    make = jax.jit(lambda x: [x + number for number in range(10)])
    values = [dict(zip(NAMES, make(float(number)), strict=True)) for number in range(100)]
    for step in range(20):
        logger.scalars(values[step], step)
    time.sleep(1)
    times = np.empty(logger.calls)
    cpu = _cpu_seconds()
    for step in range(logger.calls):
        start = time.perf_counter()
        logger.scalars(values[step % 100], step + 20)
        times[step] = time.perf_counter() - start
    logger.close()
    cpu = _cpu_seconds() - cpu
    return {
        "median": float(np.median(times)) * 1e6,
        "p99": float(np.percentile(times, 99)) * 1e6,
        "cpu": cpu / logger.calls / len(NAMES) * 1e6,
    }


def measure_steps(logger: Logger) -> dict[str, float]:
    """Return the slowdown of training steps in percent."""
    slower: dict[str, float] = {}
    number = 0
    has_histograms = type(logger).histograms is not Logger.histograms
    for name, milliseconds, with_histograms in [
        ("5 ms", 5.0, False),
        ("0.7 ms", 0.7, False),
        *([("+ histograms", 0.7, True)] if has_histograms else []),
    ]:
        train_step, state = _train_step(milliseconds)
        steps = max(int(300 / milliseconds) // HISTOGRAM_EVERY * HISTOGRAM_EVERY, 20)
        ratios: list[float] = []
        for block in range(BLOCKS):
            seconds = dict.fromkeys([False, True], 0.0)
            for is_logging in [False, True] if block % 2 else [True, False]:
                start = time.perf_counter()
                for _ in range(steps):
                    state, values, weights = train_step(state)
                    if is_logging:
                        logger.scalars(values, number)
                        if with_histograms and number % HISTOGRAM_EVERY == 0:
                            logger.histograms(weights, number)
                    number += 1
                jax.block_until_ready(state)
                seconds[is_logging] = time.perf_counter() - start
            ratios.append(seconds[True] / seconds[False])
        slower[name] = (statistics.median(ratios) - 1) * 100
    logger.close()
    return slower


def measure_histograms(logger: Logger) -> dict[str, float]:
    """Return CPU milliseconds per histogram of a million values."""
    values = {"weights": np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)}
    logger.histograms(values, 0)
    times: list[float] = []
    for step in range(1, 12):
        start = _cpu_seconds()
        logger.histograms(values, step)
        if isinstance(logger, Fifteen):
            logger.experiment.flush()
        times.append(_cpu_seconds() - start)
    logger.close()
    return {"1M values": statistics.median(times) * 1e3}


MEASURES: dict[str, Callable[[Logger], dict[str, float]]] = {
    "calls": measure_calls,
    "steps": measure_steps,
    "histograms": measure_histograms,
}


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _train_step(milliseconds: float) -> tuple[Callable[..., Any], Any]:
    """Return a step of about this duration that donates its state."""

    @functools.partial(jax.jit, donate_argnums=0, static_argnums=1)
    def step(state: Any, repeats: int) -> Any:
        def body(_: int, matrix: jax.Array) -> jax.Array:
            return jnp.tanh(matrix @ matrix) * 0.9 + 0.01

        matrix = jax.lax.fori_loop(0, repeats, body, state["matrix"])
        values = {name: matrix[number, number] for number, name in enumerate(NAMES)}
        weights = {name: value * 0.999 for name, value in state["weights"].items()}
        return {"matrix": matrix, "weights": weights}, values, weights

    weights = {f"weights_{number}": jnp.linspace(-1, 1, 100_000) for number in range(2)}
    state: Any = {"matrix": jnp.eye(128) * 0.5, "weights": weights}
    repeats = 4
    while True:
        state, _, _ = step(state, repeats)
        times: list[float] = []
        for _ in range(20):
            start = time.perf_counter()
            state, _, _ = jax.block_until_ready(step(state, repeats))
            times.append(time.perf_counter() - start)
        found = statistics.median(times) * 1e3
        if found > 0.8 * milliseconds:
            return functools.partial(_call, step, repeats), state
        repeats = max(repeats + 1, int(repeats * min(4.0, milliseconds / found)))


def _call(step: Callable[..., Any], repeats: int, state: Any) -> Any:
    return step(state, repeats)


def run_child(name: str, measure: str) -> None:
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(sys.stderr):
        try:
            logger = LOGGERS[name](pathlib.Path(directory))
        except ImportError:
            result: dict[str, float] | None = None
        else:
            try:
                result = MEASURES[measure](logger)
            except NotImplementedError:
                result = {}
    # Some peers print too, hence the mark.
    print(RESULT + json.dumps(result), flush=True)


def run_all(names: list[str], measures: list[str]) -> None:
    """Measure each logger in its own process, and print the results."""
    for measure in measures:
        print(f"\n{measure}")
        ours: dict[str, float] = {}
        for name in names:
            command = [sys.executable, __file__, "--child", name, measure]
            outcome = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            lines = outcome.stdout.decode().splitlines()
            found = [line for line in lines if line.startswith(RESULT)]
            result = json.loads(found[-1].removeprefix(RESULT)) if found else "failed"
            if result is None or result == "failed":
                print(f"  {name:26}{result or 'not installed'}")
                continue
            if name == "fifteen":
                ours = result
            cells = [
                f"{what} {value:9.1f}"
                + (f" ({value / ours[what]:6.1f}x)" if ours.get(what, 0) > 0 else "")
                for what, value in result.items()
            ]
            print(f"  {name:26}" + "   ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(LOGGERS))
    parser.add_argument("--measure", nargs="+", default=list(MEASURES), choices=MEASURES)
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(*arguments.child)
    else:
        print("calls in microseconds, steps in percent slower, histograms in milliseconds of CPU")
        run_all(arguments.names, arguments.measure)


if __name__ == "__main__":
    main()
