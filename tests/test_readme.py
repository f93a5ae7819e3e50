"""The README: its length, its quickstart and its commands."""

import pathlib
import re
import subprocess
import sys

import pytest

README = pathlib.Path(__file__).parent.parent / "README.md"


def blocks(language):
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(), re.M | re.S)
    return [code for found, code in fences if found == language]


def test_readme_is_short():
    assert 80 <= len(README.read_text().splitlines()) <= 150


@pytest.mark.slow
def test_quickstart_works(tmp_path):
    quickstart, reading = blocks("python")
    assert len([line for line in quickstart.splitlines() if line.strip()]) <= 20
    (tmp_path / "train.py").write_text(quickstart)
    run(tmp_path, "train.py")
    # Read back in another process, as in the README.
    declarations = quickstart[: quickstart.index("@jax.jit")]
    checks = "assert config == Config() and len(losses) == 300 and abs(x - 3).max() < 1e-3"
    (tmp_path / "read.py").write_text(f"{declarations}\n{reading}\n{checks}\n")
    run(tmp_path, "read.py")

    (tree,) = (block for block in blocks("") if block.startswith("runs/quickstart/"))
    shown = [re.match(r"[├└]── (\S+)", line)[1] for line in tree.splitlines()[1:]]
    there = sorted(path.name for path in (tmp_path / "runs" / "quickstart").iterdir())
    same = [re.sub(r"tfevents.*", "tfevents", name) for name in shown]
    assert sorted(same) == [re.sub(r"tfevents.*", "tfevents", name) for name in there]


def test_commands_are_targets_of_make():
    makefile = README.with_name("Makefile").read_text()
    commands = [line for block in blocks("console") for line in block.splitlines()]
    targets = [re.match(r"\$ make (\w+)", command)[1] for command in commands]
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)


def run(directory, script):
    done = subprocess.run(
        [sys.executable, script], cwd=directory, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
