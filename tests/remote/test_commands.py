"""Commands work the same on a directory and at an address."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
import uuid

import numpy as np
import pytest

from fifteen.cli import main
from fifteen.experiments import Experiment, Experiments, TensorboardLogData
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


@pytest.mark.slow
def test_all_commands_read_from_a_server(bucket, tmp_path, capsys):
    for number in range(2):
        with Experiment(f"{bucket}/run_{number}", verbose=False) as experiment:
            experiment.write_metadata("config", {"lr": 0.125 * number})
            for step in range(4):
                experiment.log(TensorboardLogData(scalars={"train/loss": 1 / (step + 1)}), step)
            experiment.save_checkpoint({"w": np.ones(3)}, 4)
    first, last = f"{bucket}/run_0", f"{bucket}/run_1"
    for command, expected in {
        f"list {bucket}": "run_1",
        f"list {bucket} --where lr>0.1 --columns lr --format csv": "0.125",
        f"show {first}": "checkpoint_",
        f"compare {first} {last}": "0.125",
        f"scalars {first}": "train/loss",
        f"plot {bucket} train/loss": "train/loss",
        f"plot {bucket} train/loss --output {tmp_path}/a.pdf": "a.pdf",
        f"report {bucket} --output {tmp_path}/a.html": "a.html",
        f"export {bucket} --output {tmp_path}/a.csv": "a.csv",
        f"verify {bucket}": " intact, 0 damaged",
        f"watch {bucket} --all": "run_1",
        f"note {first} changed": "",
        f"prune {bucket} --keep 1": "",
        f"move {last} {tmp_path}/back": "Moved",
        f"rm {first} --yes": "",
        f"doctor {bucket}": "works",
    }.items():
        assert main(command.split()) in (None, 0), capsys.readouterr()
        assert expected in capsys.readouterr().out, command
    Experiment(first, verbose=False).assert_new()
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "a.html").stat().st_size > 100_000
    assert "0.25" in (tmp_path / "a.csv").read_text()
    assert Experiment(tmp_path / "back", verbose=False).read_metadata("config") == {"lr": 0.125}


@pytest.mark.slow
def test_page_shows_experiments_on_a_server(bucket):
    with Experiment(f"{bucket}/run_0", verbose=False) as experiment:
        experiment.log(TensorboardLogData(scalars={"train/loss": 0.5}), 1)
    command = [sys.executable, "-c", "from fifteen.cli import main; main()", "view", bucket]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as page:
        try:
            address = re.search(r"http://\S+", page.stdout.readline())[0]
            with urllib.request.urlopen(f"{address}table", timeout=60) as answer:
                assert "run_0" in answer.read().decode()
        finally:
            page.send_signal(signal.SIGINT)


def test_addresses_and_directories_are_compared(roots, capsys):
    local, remote = (f"{root}/sweep" for root in roots)
    assert main(["compare", f"{local}/run_0", f"{remote}/run_1"]) == 0
    shown = capsys.readouterr().out
    assert f"{local}/run_0" in shown
    assert f"{remote}/run_1" in shown
    assert main(["list", local, remote, "--format", "csv"]) == 0
    names = [line.split(",")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == [f"{root}/run_{number}" for root in (local, remote) for number in range(3)]
    two = [Experiment(f"memory://{name}/run", verbose=False) for name in ("a", "b")]
    assert [field.name for field in Experiments(two).fields] == ["a/run", "b/run"]


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
