"""`fifteen watch` while scripts train."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorboardX

from fifteen.cli._selection import Selection
from fifteen.cli._watch import _Watched
from fifteen.experiments import Experiment, TensorboardLogData
from fifteen.view._columns import sparkline

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from terminal import Terminal

TRAIN = """
import sys
from fifteen.experiments import Experiment, TensorboardLogData
with Experiment(sys.argv[1], verbose=False) as experiment:
    experiment.write_metadata("config", {"lr": 0.5, "steps": 10})
    for step, line in enumerate(sys.stdin):
        scalars = {"train/loss": 1 / (step + 1), "test/\\033]0;x\\007": 1.0}
        experiment.log(TensorboardLogData(scalars=scalars), step=step)
        experiment.flush()
        print(step, flush=True)
"""


class Training:
    """A script that logs a step on request."""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def log(self, steps=1):
        for _ in range(steps):
            self.process.stdin.write("\n")
            assert self.process.stdout.readline()

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


@pytest.fixture
def train():
    with contextlib.ExitStack() as stack:

        def start(path, steps):
            training = Training(path)
            stack.callback(training.end)
            training.log(steps)
            return training

        yield start


def watching(*arguments):
    return Terminal("watch", *arguments, "--interval", 0.1)


@pytest.mark.slow
def test_rows_follow_running_scripts(tmp_path, train):
    (tmp_path / "runs").mkdir()
    with watching(tmp_path / "runs") as terminal:
        terminal.wait_for("nothing is running below")
        first = train(tmp_path / "runs" / "first", 3)
        terminal.wait_for("first", "running", "━━━─", "30%")
        first.log(2)
        row = terminal.wait_for("first", "running", "50%")
        assert re.search(r"0\.2 +█▄▂▁▁ ", row)
        second = train(tmp_path / "runs" / "second", 7)
        terminal.wait_for("second", "running", "70%")
        first.end()
        terminal.wait_for("first", "finished", "50%")
        second.process.send_signal(signal.SIGKILL)
        terminal.wait_for("second", "killed", "70%")
        terminal.interrupt()
        assert terminal.end() == 0
        assert "Traceback" not in terminal.output
        assert terminal.output.rindex("\x1b[?25h") > terminal.output.rindex("\x1b[?25l")
        # The last table stays visible.
        last = terminal.output[terminal.output.rindex("name") :]
        assert "finished" in last
        assert "killed" in last
        lines = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", terminal.output).split("\n")
        assert max(len(line.rpartition("\r")[2]) for line in lines) <= 80


@pytest.mark.slow
def test_names_are_escaped(tmp_path, train):
    train(tmp_path / "runs" / "\x1b]0;title\x07[red]a", 2)
    with watching(tmp_path / "runs") as terminal:
        terminal.wait_for(r"\\x1b\]0;")
        terminal.interrupt()
        assert terminal.end() == 0
        assert "\x1b]" not in terminal.output
        assert "\x07" not in terminal.output


@pytest.mark.slow
def test_error_is_shown_until_it_is_resolved(tmp_path, train):
    train(tmp_path / "runs" / "first", 1)
    with watching(tmp_path / "runs", "--columns", "eval") as terminal:
        terminal.wait_for("no experiment has metadata or a scalar called 'eval'")
        with Experiment(tmp_path / "runs" / "second", verbose=False) as experiment:
            experiment.write_metadata("eval", 0.25)
            terminal.wait_for("second", "running", r"0\.25")
        terminal.interrupt()
        assert terminal.end() == 0


@pytest.mark.slow
def test_only_running_experiments_are_shown_without_all(tmp_path, train, run):
    with Experiment(tmp_path / "ended", verbose=False) as experiment:
        experiment.log(TensorboardLogData(scalars={"loss": 0.5}), step=1)
    train(tmp_path / "runs", 1)
    rows = run("watch", tmp_path).stdout.splitlines()
    assert [row.split()[:2] for row in rows[1:]] == [["runs", "running"]]
    rows = run("watch", tmp_path, "--all", "--sort", "loss", "--reverse").stdout.splitlines()
    assert [row.split()[:2] for row in rows[1:]] == [["runs", "running"], ["ended", "finished"]]
    rows = run("watch", tmp_path, "--where", "loss > 2").stdout
    assert rows.splitlines() == []


def test_runs_of_other_libraries_count_while_they_write(tmp_path, run):
    with tensorboardX.SummaryWriter(str(tmp_path / "other")) as writer:
        for step in range(3):
            writer.add_scalar("loss", 1.0, step)
    assert "last write 0 s ago" in run("watch", tmp_path).stdout
    for path in (tmp_path / "other").iterdir():
        os.utime(path, (time.time() - 1000,) * 2)
    os.utime(tmp_path / "other", (time.time() - 1000,) * 2)
    assert "nothing is running" in run("watch", tmp_path).stderr


@pytest.mark.slow
def test_unchanged_files_are_not_read_again(tmp_path, train):
    training = train(tmp_path / "a", 1)
    watched = _Watched(Selection((str(tmp_path),)), (), is_all=False, total=None)
    (first,) = watched.look().fields
    (again,) = watched.look().fields
    assert again is first
    training.log()
    (changed,) = watched.look().fields
    assert changed is not first
    assert changed.summary.latest_step == 1


def test_mistakes_are_reported(tmp_path, run):
    (tmp_path / "config.yaml").write_text("lr: 1\n")
    assert "--interval: expected" in run("watch", tmp_path, "--interval", 0, expect=1).stderr
    assert "cannot be parsed" in run("watch", tmp_path, "--all", "--where", "lr <", expect=1).stderr
    assert "found nothing" in run("watch", tmp_path / "absent", expect=1).stderr
    stderr = run("watch", tmp_path).stderr
    assert stderr.startswith(f"fifteen: nothing is running below {tmp_path}; start a script")


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], " "),
        ([1], "▁"),
        ([3.0] * 59, "▁▁▁▁▁▁▁▁"),
        (range(8), "▁▂▃▄▅▆▇█"),
        ([0, np.nan, np.inf, 7], "▁  █"),
        ([-1e308, 1.7e308], "▁█"),
        ([0, 5e-324], "▁█"),
        ([np.nan] * 3, "   "),
        (np.arange(100.0)[::-1], "█▇▆▅▄▃▂▁"),
    ],
)
def test_sparkline(values, drawn):
    assert sparkline(np.asarray(values, float)) == f"{drawn:>8}"
