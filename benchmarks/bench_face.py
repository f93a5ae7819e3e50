"""The time of commands: help, and lists of few, many and long experiments, beside peers.

    python benchmarks/bench_face.py [COUNT_SMALL] [COUNT_LONG] [COUNT_OF_PEERS]

Each command runs in a process of its own, whose start counts. For a cold run, the kernel first
drops the contents of all files from its cache, but not their names.

The peers make the same table, of each run's config and last values, from what they have written of
the same runs: `mlflow.search_runs` from a file store, tbparse with pandas from our event files, and
wandb's reader of offline runs, which is in Python up to 0.19 (`pip install mlflow-skinny tbparse
pandas 'wandb<0.20'`). They take so long that they get fewer runs; ratios are to ours for the same.
"""

import importlib
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from fifteen.experiments import Experiment, TensorboardLogData

OURS = "import sys; from fifteen.cli import main; sys.exit(main())"
MLFLOW = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
frame = mlflow.search_runs(["0"], max_results=50_000)
assert frame["metrics.train/loss_0"].notna().all() and frame["params.lr"].notna().all()
print(len(frame))
"""
TBPARSE = """
import sys, warnings
warnings.simplefilter("ignore")
import tbparse
reader = tbparse.SummaryReader(sys.argv[1], extra_columns={"dir_name"})
frame = reader.scalars.groupby(["dir_name", "tag"])["value"].last().unstack()
assert frame["train/loss_0"].notna().all()
print(len(frame))
"""
WANDB = """
import json, pathlib, sys
import pandas
from wandb.proto.wandb_internal_pb2 import Record
from wandb.sdk.internal.datastore import DataStore
rows = []
for path in pathlib.Path(sys.argv[1]).glob("*.wandb"):
    store, row = DataStore(), {}
    store.open_for_scan(str(path))
    while data := store.scan_data():
        record = Record.FromString(data)
        for item in (*record.config.update, *record.summary.update):
            row[item.key] = json.loads(item.value_json)
    rows.append(row)
frame = pandas.DataFrame(rows)
assert frame["train/loss_0"].notna().all() and frame["lr"].notna().all()
print(len(frame))
"""
ROUNDS = 3

Write: TypeAlias = "Callable[[pathlib.Path, Runs], None]"


class Runs:
    """The runs to list: their number, and their steps and scalars."""

    def __init__(self, count: int, steps: int, tags: int) -> None:
        self.count = count
        self.steps = np.arange(steps)
        self.scalars = {f"train/loss_{tag}": np.sqrt(self.steps + tag) for tag in range(tags)}

    def __str__(self) -> str:
        return f"{self.count:,} x {len(self.steps):,} x {len(self.scalars)}"

    def configs(self) -> list[dict[str, float]]:
        return [{"lr": number / self.count, "seed": number} for number in range(self.count)]


def write_ours(root: pathlib.Path, runs: Runs) -> None:
    for number, config in enumerate(runs.configs()):
        with Experiment(root / f"run_{number}", verbose=False) as experiment:
            experiment.write_metadata("config", config)
            experiment.log(TensorboardLogData(scalars=runs.scalars), step=runs.steps)


def write_mlflow(root: pathlib.Path, runs: Runs) -> None:
    mlflow: Any = importlib.import_module("mlflow")
    entities: Any = importlib.import_module("mlflow.entities")
    client = mlflow.MlflowClient(str(root))
    for config in runs.configs():
        run = client.create_run("0").info.run_id
        params = [entities.Param(key, str(value)) for key, value in config.items()]
        client.log_batch(run, params=params)
        metrics = [
            entities.Metric(tag, float(value), 0, step)
            for tag, values in runs.scalars.items()
            for step, value in enumerate(values)
        ]
        for start in range(0, len(metrics), 1000):
            client.log_batch(run, metrics=metrics[start : start + 1000])


def write_wandb(root: pathlib.Path, runs: Runs) -> None:
    Record: Any = importlib.import_module("wandb.proto.wandb_internal_pb2").Record
    datastore: Any = importlib.import_module("wandb.sdk.internal.datastore")
    root.mkdir()
    for number, config in enumerate(runs.configs()):
        store = datastore.DataStore()
        store.open_for_write(str(root / f"run-{number}.wandb"))
        items = [
            {"key": tag, "value_json": str(values[-1])} for tag, values in runs.scalars.items()
        ]
        pairs = [{"key": key, "value_json": str(value)} for key, value in config.items()]
        store.write(Record(config={"update": pairs}))
        for step in runs.steps:
            row = [{"key": t, "value_json": str(v[step])} for t, v in runs.scalars.items()]
            store.write(Record(history={"item": row, "step": {"num": step}}))
        store.write(Record(summary={"update": items}))
        store.close()


def peers() -> dict[str, tuple[str, Write]]:
    """Return what reads and what writes the runs of each peer that is installed."""
    known: dict[str, tuple[str, str, Write]] = {
        "mlflow.search_runs": ("import mlflow, pandas", MLFLOW, write_mlflow),
        "tbparse, pandas": ("import tbparse, pandas", TBPARSE, write_ours),
        "wandb offline": ("import wandb.sdk.internal.datastore, pandas", WANDB, write_wandb),
    }
    found: dict[str, tuple[str, Write]] = {}
    for name, (imports, read, write) in known.items():
        if subprocess.run([sys.executable, "-c", imports], stderr=subprocess.DEVNULL).returncode:
            print(f"{name}: not installed")
        else:
            found[name] = read, write
    return found


def seconds(code: str, *arguments: str, cold: pathlib.Path | None = None) -> float:
    """Return the wall time of a program, from files of a directory that are not in memory."""
    for path in cold.rglob("*") if cold else ():
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def compare(root: pathlib.Path, runs: Runs, others: dict[str, tuple[str, Write]]) -> None:
    """Print the times of a list, ours and the peers', as medians of alternating rounds."""
    programs: dict[str, tuple[str, list[str], Write]] = {
        "fifteen list": (OURS, ["list"], write_ours)
    }
    programs |= {name: (read, [], write) for name, (read, write) in others.items()}
    for number, (_, _, write) in enumerate(programs.values()):
        write(root / str(number), runs)
    os.sync()  # What is not on the disk yet stays in memory.
    cold: dict[str, list[float]] = {name: [] for name in programs}
    warm: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for number, (name, (code, arguments, _)) in enumerate(programs.items()):
            path = root / str(number)
            cold[name].append(seconds(code, *arguments, str(path), cold=path))
            warm[name].append(seconds(code, *arguments, str(path)))
    ours = statistics.median(warm["fifteen list"])
    for name in programs:
        own = statistics.median(warm[name])
        show(f"{name}: {runs}", statistics.median(cold[name]), own, f"{own / ours:8.1f} x ours")


def show(name: str, cold: float, warm: float, ratio: str = "") -> None:
    print(f"{name:44} cold {cold:6.2f} s, warm {warm:6.2f} s {ratio}", flush=True)


def main(small: int = 10_000, long: int = 200, fewer: int = 500) -> None:
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    help = [seconds(OURS, "--help") for _ in range(ROUNDS + 1)]
    show("--help", help[0], statistics.median(help[1:]))
    others = peers()
    for runs, own in (
        (Runs(10, 3, 1), {}),
        (Runs(small, 3, 1), {}),
        (Runs(long, 20_000, 10), {}),
        (Runs(fewer, 3, 1), others),
        (Runs(2, 20_000, 10), others),
    ):
        with tempfile.TemporaryDirectory() as directory:
            compare(pathlib.Path(directory), runs, own)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
