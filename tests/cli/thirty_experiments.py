"""Thirty experiments of six kinds."""

import os
import pathlib
import subprocess
import sys
import time

import flax.serialization
import numpy as np
import tensorboardX

from fifteen.experiments import Experiment, TensorboardLogData

LONG_AGO = 1_700_000_000

_RUNNING = """
import sys
from fifteen.experiments import Experiment, TensorboardLogData
experiment = Experiment(sys.argv[1], verbose=False)
experiment.write_metadata("config", {"lr": 0.5, "seed": 0, "steps": 100})
for step in range(40):
    experiment.log(TensorboardLogData(scalars={"train/loss": 1 / (step + 1)}), step=step)
experiment.flush()
print("ready", flush=True)
sys.stdin.read()
"""


def make(root: pathlib.Path) -> "list[subprocess.Popen[bytes]]":
    """Create the experiments, and return the processes of the running ones."""
    for number in range(12):
        _ours(
            root / "ours" / f"run_{number}", rate=(0.1, 0.01, 0.001)[number % 3], seed=number // 3
        )
    for number in range(5):
        _old(root / "old" / f"run_{number}", number)
    for number in range(5):
        _tensorboardx(root / "tensorboardx" / f"run_{number}", number)
    for number in range(3):
        (root / "yaml" / f"run_{number}").mkdir(parents=True)
        (root / "yaml" / f"run_{number}" / "config.yaml").write_text(f"lr: 1e-{number}\n")
    for number in range(3):
        _damaged(root / "damaged" / f"run_{number}", number)
    for path in root.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return [_running(root / "running" / f"run_{number}") for number in range(2)]


def _ours(path: pathlib.Path, rate: float, seed: int) -> None:
    with Experiment(path, verbose=False) as experiment:
        experiment.write_metadata("config", {"lr": rate, "seed": seed, "steps": 10})
        for step in range(10):
            loss = rate * (10 - step) + seed / 100
            diverges = rate == 0.1 and seed == 3 and step > 6
            scalars = {"train/loss": np.nan if diverges else loss, "test/accuracy": 1 - loss / 2}
            experiment.log(TensorboardLogData(scalars=scalars), step=step)
            experiment.save_checkpoint({"w": np.ones(8)}, step=step, keep=2)


def _old(path: pathlib.Path, number: int) -> None:
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(f"!dataclass:Config\nlr: 0.{number + 1}\nseed: {number}\n")
    (path / f"checkpoint_{number}").write_bytes(flax.serialization.to_bytes({"w": np.ones(3)}))
    _events(path, {"train/loss": [3.0, 2.0, 1.0 + number]})


def _tensorboardx(path: pathlib.Path, number: int) -> None:
    _events(path, {"loss": [1.0 * number, 0.5 * number]})


def _events(path: pathlib.Path, curves: dict[str, list[float]]) -> None:
    with tensorboardX.SummaryWriter(str(path)) as writer:
        for tag, values in curves.items():
            for step, value in enumerate(values):
                writer.add_scalar(tag, value, step, walltime=LONG_AGO + step)


def _damaged(path: pathlib.Path, number: int) -> None:
    _ours(path, rate=0.1, seed=number)
    if number == 0:
        (path / "config.yaml").write_text("lr: [1,")
    elif number == 1:
        (path / "checkpoint_9.safetensors").write_bytes(b"\0" * 100)
    else:
        (events,) = path.glob("*tfevents*")
        content = bytearray(events.read_bytes())
        content[len(content) // 2] ^= 0xFF
        events.write_bytes(content)


def _running(path: pathlib.Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", _RUNNING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0)
    return process
