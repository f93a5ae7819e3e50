"""The time of commands: help, and lists of few, many and long experiments.

python benchmarks/bench_face.py [COUNT_SMALL] [COUNT_LONG]
"""

import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from fifteen.experiments import Experiment, TensorboardLogData

COMMAND = [sys.executable, "-c", "import sys; from fifteen.cli import main; sys.exit(main())"]


def seconds(*arguments: str) -> float:
    """Return the wall time of a command."""
    start = time.perf_counter()
    subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def make_small(root: pathlib.Path, count: int) -> None:
    """Create experiments with a config and a few points each."""
    for number in range(count):
        with Experiment(root / f"run_{number}", verbose=False) as experiment:
            config = {"optimizer": {"name": "adam", "lr": number / count}, "seed": number % 5}
            experiment.write_metadata("config", config)
            experiment.log(
                TensorboardLogData(scalars={"train/loss": np.arange(3.0) / 3}), step=range(3)
            )


def make_long(root: pathlib.Path, count: int) -> None:
    """Create experiments with 20,000 points of 10 scalars each."""
    steps = np.arange(20_000)
    for number in range(count):
        with Experiment(root / f"run_{number}", verbose=False) as experiment:
            experiment.write_metadata("config", {"lr": number / count, "seed": number})
            scalars = {f"train/loss_{tag}": np.sqrt(steps + tag) for tag in range(10)}
            experiment.log(TensorboardLogData(scalars=scalars), step=steps)


def main(small: int = 10_000, long: int = 200) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        make_small(root / "few", 10)
        make_small(root / "many", small)
        make_long(root / "long", long)
        for name, arguments in (
            ("--help", ["--help"]),
            ("list of 10", ["list", f"{root}/few"]),
            (f"list of {small:,}", ["list", f"{root}/many"]),
            (f"list of {long} x 20,000 x 10", ["list", f"{root}/long"]),
        ):
            first, second = seconds(*arguments), seconds(*arguments)
            print(f"{name:32} {first:6.2f} s, again {second:6.2f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
