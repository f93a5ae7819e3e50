"""Progress bars of slow commands."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from fifteen.experiments import Experiment, TensorboardLogData

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from terminal import Terminal

AT_ONCE = [
    sys.executable,
    "-c",
    "import sys, fifteen._progress, fifteen.cli\n"
    "fifteen._progress._DELAY_SECONDS = 0\n"
    "sys.exit(fifteen.cli.main())",
]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Experiments that take long enough for an interrupt in between."""
    root = tmp_path_factory.mktemp("many") / "runs"
    with Experiment(root / "0", verbose=False) as experiment:
        experiment.write_metadata("config", {"lr": 0.1})
        for step in range(300):
            experiment.log(TensorboardLogData(scalars={"train/loss": 1 / (1 + step)}), step=step)
        for step in (1, 2):
            experiment.save_checkpoint({"w": 1.0}, step=step, keep=9)
    for number in range(1, 1000):
        shutil.copytree(root / "0", root / str(number), copy_function=os.link)
    return root


@pytest.fixture
def large(tmp_path):
    """An experiment with a large sparse file."""
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "config.yaml").write_text("lr: 1\n")
    with open(tmp_path / "large" / "checkpoint_1.safetensors", "wb") as file:
        file.truncate(1 << 27)
    return tmp_path / "large"


def shown_bars(*arguments, cwd=None, at_once=True):
    with Terminal(*arguments, cwd=cwd, at_once=at_once) as terminal:
        assert terminal.end() == 0, terminal.output
        bars = re.findall(
            r"([A-Z]\w+) \x1b\[[\d;]*m━", re.sub(r"\x1b\[\S*[lK]", "", terminal.output)
        )
        # Afterwards the bar is erased and the cursor visible.
        if bars:
            assert terminal.output.rindex("\x1b[?25h") > terminal.output.rindex("━")
        return set(bars)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("list", "Reading"),
        ("list --where min(loss)<1 --limit 3", "Reading"),
        ("export --output {}/points.csv", "Reading"),
        ("report --output {}/report.html --limit 400", "Reading"),
        ("plot . train/* --limit 1000", "Reading"),
        ("verify", "Verifying"),
        ("prune", "Pruning"),
        ("rm .", "Removing"),
    ],
)
def test_bar_for_many_experiments(many, tmp_path, arguments, what):
    assert what in shown_bars(*arguments.format(tmp_path).split(), cwd=many)


@pytest.mark.slow
def test_bar_for_a_large_experiment(large, tmp_path):
    archive = tmp_path / "large.tar.zst"
    assert shown_bars("archive", large, "--output", archive) == {"Archiving"}
    # A sparse file compresses so well that reading the archive takes no time.
    (tmp_path / "random").mkdir()
    (tmp_path / "random" / "config.yaml").write_bytes(os.urandom(1 << 26))
    shown_bars("archive", tmp_path / "random", "--output", tmp_path / "random.tar.zst")
    (tmp_path / "into").mkdir()
    into = ("--into", tmp_path / "into")
    assert shown_bars("unarchive", tmp_path / "random.tar.zst", *into) == {"Unpacking"}


@pytest.mark.slow
def test_bar_for_a_move_to_another_file_system(large, tmp_path):
    shared_memory = pathlib.Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK) or os.stat("/dev/shm").st_dev == large.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    target = shared_memory / f"fifteen_{os.getpid()}"
    try:
        assert shown_bars("move", large, target) == {"Copying"}
    finally:
        shutil.rmtree(target, ignore_errors=True)


@pytest.mark.slow
def test_no_bar_for_pipes_and_short_commands(many, tmp_path):
    done = subprocess.run([*AT_ONCE, "list"], cwd=many, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "━" not in done.stdout
    assert shown_bars("list", "0", "1", cwd=many, at_once=False) == set()


@pytest.mark.slow
def test_output_to_a_file_contains_no_bar(many, tmp_path):
    (many / "7" / "config.yaml").unlink()
    (many / "7" / "config.yaml").write_text("lr: [")
    with (
        open(tmp_path / "found", "wb") as output,
        Terminal("verify", cwd=many, output=output, at_once=True) as terminal,
    ):
        assert terminal.end() == 1
    assert "Verifying" in terminal.output
    assert "DAMAGED" not in terminal.output
    assert "DAMAGED 7/config.yaml" in (tmp_path / "found").read_text()


@pytest.mark.slow
def test_interrupt_ends_the_bar(many):
    with Terminal("verify", cwd=many, at_once=True) as terminal:
        terminal.wait_for("Verifying")
        terminal.interrupt()
        assert terminal.end() == 130
        assert terminal.output.rindex("\x1b[?25h") > terminal.output.rindex("━")
        assert "Traceback" not in terminal.output
