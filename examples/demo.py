"""Train on real data, kill the run half-way, resume it, and look at what is on disk."""

import os
import pathlib
import subprocess
import sys
import time

import rich.box
import tyro
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from fifteen.experiments import Experiment

SCRIPT = pathlib.Path(__file__).with_name("01_digits.py")
TRAIN = [sys.executable, str(SCRIPT), "--data-dir"]


def main(data_dir: str = "runs/demo", steps: int = 3000) -> None:
    console = Console(highlight=False)
    experiment = Experiment(data_dir, verbose=False).clear()

    console.rule("Training, until it is killed half-way")
    try:
        train_and_kill(experiment, steps)
    finally:
        # A process killed while it draws a progress bar leaves the cursor hidden.
        console.show_cursor()
    checkpoint = experiment.checkpoint_steps()[-1]
    logged = experiment.read_scalars()["train/loss"].step[-1]
    console.print(f"\nKilled. On disk: the checkpoint of step {checkpoint}, logs to step {logged}.")

    console.rule("Resuming")
    subprocess.run([*TRAIN, data_dir, "--resume"], check=True)

    console.rule("On disk")
    console.print(tree_of(experiment.data_dir, data_dir))
    console.rule("Read back")
    console.print(table_of(experiment))
    console.print("See the curves in the browser, or in TensorBoard:")
    for command in (f"fifteen view {data_dir} --open", f"tensorboard --logdir {data_dir}"):
        program = os.path.relpath(pathlib.Path(sys.executable).parent)
        console.print(f"  {program}/{command}", soft_wrap=True, markup=False)


def train_and_kill(experiment: Experiment, steps: int) -> None:
    """Train, and kill the process soon after it has saved half of the steps."""
    command = [*TRAIN, str(experiment.data_dir), "--config.steps", str(steps)]
    with subprocess.Popen(command) as child:
        while max(experiment.checkpoint_steps(), default=0) < steps // 2:
            if child.poll() is not None:
                raise SystemExit("The training ended before it could be killed.")
            time.sleep(0.01)
        time.sleep(0.3)
        child.kill()


def tree_of(directory: pathlib.Path, title: str) -> Tree:
    """Return a tree of files and their sizes."""
    tree = Tree(Text(title, "bold"))
    for path in sorted(directory.iterdir()):
        tree.add(Text.assemble(path.name, " ", (decimal(path.stat().st_size), "dim")))
    return tree


def table_of(experiment: Experiment) -> Table:
    """Return a table of each metric's first, last and best value."""
    table = Table("metric", box=rich.box.SIMPLE_HEAD, show_edge=False)
    for title in ("points", "first", "last", "best"):
        table.add_column(title, justify="right")
    for tag, series in experiment.read_scalars().items():
        best = series.value.max() if tag.endswith("accuracy") else series.value.min()
        values = (f"{value:.4f}" for value in (series.value[0], series.value[-1], best))
        table.add_row(Text(tag), str(len(series.step)), *values)
    return table


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
