"""Train on real data, kill the run half-way, resume it, and look at what is on disk."""

import argparse
import pathlib
import signal
import subprocess
import sys
import time

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from fifteen.experiments import Experiment

SCRIPT = pathlib.Path(__file__).with_name("01_digits.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=pathlib.Path, default=pathlib.Path("runs/demo"))
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    console = Console()
    experiment = Experiment(arguments.data_dir, verbose=False).clear()

    console.rule("Training, until it is killed half-way")
    killed_at = train_and_kill(experiment, arguments.steps)
    console.print(f"Killed by SIGKILL. The latest checkpoint is of step {killed_at}.")

    console.rule("Resuming")
    command = [sys.executable, str(SCRIPT), "--data-dir", str(experiment.data_dir), "--resume"]
    subprocess.run(command, check=True)

    console.rule("On disk")
    console.print(tree_of(experiment.data_dir))
    console.print(table_of(experiment))
    console.print("See the curves in TensorBoard:")
    console.print(f"  tensorboard --logdir {arguments.data_dir}", soft_wrap=True, markup=False)


def train_and_kill(experiment: Experiment, steps: int) -> int:
    """Start the training, and send it a SIGKILL once it has a checkpoint of half its steps."""
    command = [sys.executable, str(SCRIPT), "--data-dir", str(experiment.data_dir)]
    child = subprocess.Popen([*command, "--config.steps", str(steps)])
    while (experiment.checkpoint_steps() or [0])[-1] < steps // 2:
        if child.poll() is not None:
            raise SystemExit("The training ended before it could be killed.")
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    return experiment.checkpoint_steps()[-1]


def tree_of(directory: pathlib.Path) -> Tree:
    tree = Tree(f"[bold]{escape(str(directory))}")
    for path in sorted(directory.iterdir()):
        tree.add(f"{escape(path.name)}  [dim]{decimal(path.stat().st_size)}")
    return tree


def table_of(experiment: Experiment) -> Table:
    table = Table("metric", "points", "last step", "last value", "best value")
    for tag, series in experiment.read_scalars().items():
        best = series.value.max() if tag.endswith("accuracy") else series.value.min()
        row = (len(series), series.step[-1], f"{series.value[-1]:.4f}", f"{best:.4f}")
        table.add_row(escape(tag), *map(str, row))
    return table


if __name__ == "__main__":
    main()
