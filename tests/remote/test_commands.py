"""Commands work the same on a directory and at an address."""

import json
import re
import uuid

import numpy as np
import pytest

from fifteen.cli import main
from fifteen.experiments import Experiment, TensorboardLogData
from fifteen.experiments.storage import Directory


@pytest.fixture
def roots(tmp_path):
    """A directory with three experiments, and an address with the same files."""
    for number in range(3):
        with Experiment(tmp_path / f"sweep/run_{number}", verbose=False) as experiment:
            experiment.write_metadata("config", {"lr": 0.1 * number, "model": {"width": 8}})
            for step in range(1, 5):
                scalars = {"train/loss": 1 / (step + number), "test/acc": 0.5}
                experiment.log(TensorboardLogData(scalars=scalars), step)
                experiment.save_checkpoint({"w": np.ones(step), "n": step}, step, keep=9)
            experiment.annotate(note="a note", tags=["x"])
    address = Experiment(f"memory://{uuid.uuid4().hex}/runs", verbose=False).data_dir
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            with Directory(address).replace(str(path.relative_to(tmp_path))) as file:
                file.write(path.read_bytes())
    return tmp_path, address


@pytest.mark.parametrize(
    "command",
    [
        "list ROOT",
        "list ROOT --where lr<0.15 --sort min(train/loss) --columns name lr step tags note size",
        "list ROOT --format json",
        "show ROOT/sweep/run_1 --leaves",
        "show ROOT/sweep/run_1 --metadata config",
        "show ROOT/sweep/run_1 --leaves --step 9",
        "show ROOT/sweep/run_9",
        "compare ROOT/sweep/run_0 ROOT/sweep/run_2",
        "scalars ROOT --tags train/*",
        "scalars ROOT --tags absent",
        "verify ROOT",
        "prune ROOT --keep 2",
        "prune ROOT --keep 1 --yes",
        "rm ROOT/sweep/run_1",
        "rm ROOT/sweep/run_1 --yes",
        "note ROOT/sweep/run_0 changed --tag y",
        "show ROOT/sweep/run_1",
        "scalars ROOT/sweep/run_1",
    ],
)
def test_command_gives_the_same_result_as_on_disk(roots, capsys, command):
    results = [run(root, command, capsys) for root in roots]
    assert results[0] == results[1]
    assert results[0][1] or results[0][2]
    local, remote = map(files, roots)
    assert local == remote


def run(root, command, capsys):
    try:
        code = main([word.replace("ROOT", str(root)) for word in command.split()])
    except SystemExit as end:
        code = end.code
    shown = capsys.readouterr()
    if "json" in command:
        rows = json.loads(shown.out)
        text = json.dumps([{key: row[key] for key in row if key != "changed"} for row in rows])
    else:
        text = shown.out
    texts = (part.replace(str(root), "ROOT") for part in (text, shown.err))
    # The longest name determines the width of a table.
    return code, *(re.sub(r"\b\d+ s\b|\d\d:\d\d:\d\d|[ ─]+", " ", part) for part in texts)


def files(root):
    directory = Directory(root)
    return {
        f"{folder}/{name}": directory.read(f"sweep/{folder}/{name}")
        for folder in (directory / "sweep").names()
        for name in (directory / "sweep" / folder).names()
    }


def test_archive_refuses_an_address(roots, capsys, tmp_path):
    address = f"{roots[1]}/sweep/run_1"
    code, _, error = run(roots[1], f"archive {address} --output {tmp_path}/a.tar.zst", capsys)
    assert code == 1
    assert "an address; move it to a disk, and archive it there" in error


@pytest.mark.parametrize(
    "command",
    [
        "unarchive a.tar.zst --into s3://bucket/runs",
        "unarchive s3://bucket/a.tar.zst",
        "archive sweep/run_1 --output gs://bucket/a.tar.zst",
        "export sweep --output s3://bucket/a.csv",
        "report sweep --output s3://bucket/a.html",
    ],
)
def test_output_to_an_address_is_refused(roots, capsys, monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    main(["archive", "sweep/run_0", "--output", "a.tar.zst"])
    capsys.readouterr()
    code, _, error = run(tmp_path, command, capsys)
    assert code == 1
    assert re.search("(s3|gs)://bucket/.*: expected a path on a disk, found an address", error)
    assert {path.name for path in tmp_path.iterdir()} == {"sweep", "a.tar.zst"}


def test_running_experiment_is_neither_pruned_nor_removed(bucket, capsys):
    with Experiment(bucket, verbose=False) as experiment:
        for step in range(1, 4):
            experiment.save_checkpoint({"x": 1}, step, keep=9)
        for command in (["prune", bucket, "--keep", "1", "--yes"], ["rm", bucket, "--yes"]):
            main(command)
            assert "running" in "".join(capsys.readouterr())
        assert experiment.checkpoint_steps() == [1, 2, 3]
    assert main(["prune", bucket, "--keep", "1", "--yes"]) == 0
    assert experiment.checkpoint_steps() == [3]
    assert main(["rm", bucket, "--yes"]) == 0
    experiment.assert_new()
