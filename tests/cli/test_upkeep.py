"""The commands that write: note, export, verify, prune, rm, archive and unarchive."""

import csv
import filecmp
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile

import numpy as np
import pandas
import pytest
import zstandard

from fifteen.experiments import Experiment, TensorboardLogData, find_experiments
from fifteen.experiments._missing import Missing
from fifteen.experiments.storage import Directory, archive, unarchive


def make(path, steps=(1, 2, 3, 4), **config):
    with Experiment(path, verbose=False) as experiment:
        experiment.write_metadata("config", {"lr": 0.1, **config})
        for step in steps:
            experiment.log(TensorboardLogData(scalars={"train/loss": 1 / step}), step=step)
            experiment.save_checkpoint({"w": np.ones(100)}, step=step, keep=10)
        experiment.save_checkpoint({"w": np.ones(3)}, step=7, prefix="best_")
    return experiment


@pytest.fixture
def running(tmp_path):
    """An experiment that a running process has open."""
    code = """
import sys
import numpy as np
from fifteen.experiments import Experiment, TensorboardLogData, find_experiments
experiment = Experiment(sys.argv[1], verbose=False)
for step in range(3):
    experiment.save_checkpoint({"w": np.ones(3)}, step=step, keep=5)
experiment.log(TensorboardLogData(scalars={"train/loss": 0.5}), step=1)
experiment.flush()
print("ready", flush=True)
sys.stdin.read()
"""
    path = tmp_path / "running"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        yield path
        process.stdin.close()
        process.wait(60)


def contents(path):
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


# note


def test_note(run, tmp_path):
    make(tmp_path / "a")
    run("note", "a", "the best\nso far", "--tag", "paper", "b", cwd=tmp_path)
    assert Experiment(tmp_path / "a", verbose=False).read_metadata("notes") == {
        "note": "the best\nso far", "tags": ["b", "paper"],
    }  # fmt: skip
    listed = run("list", "--where", "'paper' in tags", "--columns", "tags", cwd=tmp_path).stdout
    assert "b, paper" in listed
    error = run("note", "a text alone", cwd=tmp_path, expect=1).stderr
    assert "nothing to write; pass a text after the directory, or --tag NAME" in error
    assert "found nothing" in run("note", "absent", "x", cwd=tmp_path, expect=1).stderr


def test_note_several(run, tmp_path):
    for number in range(3):
        make(tmp_path / f"run_{number}", number=number)
    printed = run("note", "run_0", "run_1", "--tag", "paper", cwd=tmp_path).stdout
    assert printed == "Wrote run_0/notes.yaml\nWrote run_1/notes.yaml\n"
    run("note", ".", "too slow", "--where", "number > 0", cwd=tmp_path)
    found = find_experiments(tmp_path)
    assert found.values("tags") == [["paper"], ["paper"], []]
    assert found.values("note")[1:] == ["too slow"] * 2
    assert isinstance(found.values("note")[0], Missing)
    (tmp_path / "run_2" / "config.yaml").write_text("number: [1,")
    run("note", ".", "", "--where", "name != 'x' or number > 0", cwd=tmp_path, expect=0)
    assert isinstance(find_experiments(tmp_path).values("note")[1], Missing)


def test_note_with_an_address_of_a_page(run, tmp_path):
    make(tmp_path / "a")
    for text in ("as in https://example.com/paper", "https://example.com/paper"):
        run("note", "a", text, cwd=tmp_path)
        assert find_experiments(tmp_path).values("note") == [text]


@pytest.mark.parametrize(
    "command",
    [
        ("note", "a", "b", "too slow"),
        ("move", "a", "b", "to"),
        ("archive", "a", "b", "--output", "to"),
        ("unarchive", "absent.tar.zst", "b.tar.zst", "--into", "to"),
    ],
)
def test_one_that_fails_does_not_keep_the_others_from_it(run, tmp_path, command):
    for name in ("a", "b"):
        make(tmp_path / name)
    run("archive", "b", "--output", "b.tar.zst", cwd=tmp_path)
    (tmp_path / "a" / "notes.yaml").write_text("note: [1")
    (tmp_path / "to" / "a" / "b").mkdir(parents=True)
    (tmp_path / "to" / "a.tar.zst").touch()
    result = run(*command, cwd=tmp_path, expect=1)
    assert result.stderr.count("fifteen: error: ") == result.stderr.count("\n") == 1
    assert result.stdout.count("\n") == 1
    assert "b" in result.stdout
    assert (tmp_path / "a" / "notes.yaml").read_text() == "note: [1"
    assert (tmp_path / "to" / "a.tar.zst").read_bytes() == b""


def test_note_that_is_empty(run, tmp_path):
    make(tmp_path / "a")
    assert run("note", "a", "", cwd=tmp_path).stdout == "No notes are left in a\n"
    run("note", "a", "good", cwd=tmp_path)
    assert run("note", "a", "", "--tag", "paper", cwd=tmp_path).stdout == "Wrote a/notes.yaml\n"
    (tmp_path / "a" / "notes.yaml").write_text("note: good\n")
    assert run("note", "a", "", cwd=tmp_path).stdout == "No notes are left in a\n"
    assert not (tmp_path / "a" / "notes.yaml").exists()


# export


def test_export(run, tmp_path):
    make(tmp_path / "a", seed=0)
    make(tmp_path / "b", seed=[1, 2])
    for name in ("x.csv", "x.json", "x.parquet"):
        output = run(
            "export", "--output", name, "--tags", "train/*", "--", ".", cwd=tmp_path
        ).stdout
        assert output == f"Wrote 8 points to {name}\n"
    readers = {
        "x.csv": pandas.read_csv,
        "x.json": lambda path: pandas.read_json(path, lines=True),
        "x.parquet": pandas.read_parquet,
    }
    for name, read in readers.items():
        frame = read(tmp_path / name)
        assert list(frame.columns) == ["name", "config.seed", "tag", "step", "wall_time", "value"]
        assert frame["step"].tolist() == [1, 2, 3, 4, 1, 2, 3, 4]
        assert frame["value"].tolist() == [1.0, 0.5, np.float32(1 / 3), 0.25] * 2
        assert [str(seed) for seed in frame["config.seed"]][::4] == ["0", "[1, 2]"]
    error = run("export", "--output", "y.csv", "--tags", "loss", cwd=tmp_path, expect=1).stderr
    assert error == (
        "fifteen: error: no scalar is called 'loss'; known: train/loss; "
        "did you mean 'train/loss'?\n"
    )
    assert not (tmp_path / "y.csv").exists()
    error = run("export", "--output", "x.xml", cwd=tmp_path, expect=1).stderr
    assert "expected .parquet, .csv, .json, found 'x.xml'" in error


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_export_is_exact(run, tmp_path, kind):
    values = [1 / 3, 1e-30, -3e38, np.inf, -np.inf, np.nan]
    configs = {
        "a": {"lr": 0.1 + 0.2, "name": "x", "scale": np.nan},
        "b": {"lr": 1e-20, "scale": "wide"},
        "c": {"name": 'é"\n%', "scale": 1.5},
    }
    for name, config in configs.items():
        with Experiment(tmp_path / name, verbose=False) as experiment:
            experiment.write_metadata("config", config)
            for step, value in enumerate(values):
                experiment.log(TensorboardLogData(scalars={"loss": value}), step=step)
    run("export", "--output", f"x.{kind}", cwd=tmp_path)
    if kind == "json":
        rows = [json.loads(line) for line in (tmp_path / "x.json").read_text().splitlines()]
        frame = pandas.DataFrame(rows).astype({"value": float})
        assert rows[3]["value"] == "Infinity"  # As in the JSON of the other commands.
        assert rows[6]["config.name"] is None
        assert [row["config.scale"] for row in rows[::6]] == ["NaN", "wide", 1.5]
    elif kind == "csv":
        # Parsed by pandas 2, floats would be inexact.
        numbers = dict.fromkeys(("value", "wall_time", "config.lr"), float)
        frame = pandas.read_csv(tmp_path / "x.csv", dtype=dict.fromkeys(numbers, str))
        frame = frame.astype(numbers)
    else:
        frame = pandas.read_parquet(tmp_path / "x.parquet")
    expected = find_experiments(tmp_path).scalars()
    for column in ("name", "tag", "step", "value", "wall_time", "config.lr", "config.name"):
        one, other = frame[column], expected[column]
        assert ((one == other) | (one.isna() & other.isna())).all(), column


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "--output", "x.csv"],
        ["report", "--output", "x.html"],
        ["plot", "--output", "x.html"],
        ["plot", "--output", "x.svg"],
        ["plot"],
    ],
)
def test_unreadable_experiment_is_reported_once(run, tmp_path, arguments):
    for name in ("a", "b"):
        make(tmp_path / name, seed=name)
    (tmp_path / "a" / "config.yaml").write_text("lr: [1,")
    events = next((tmp_path / "b").glob("*tfevents*"))
    content = bytearray(events.read_bytes())
    content[len(content) // 2] ^= 0xFF
    events.write_bytes(content)
    result = run(*arguments, cwd=tmp_path, expect=1)
    lines = sorted(result.stderr.splitlines())
    assert len(lines) == 2
    assert "a/config.yaml:2:1: not valid YAML" in lines[0]
    assert "damaged; skipped bytes" in lines[1]
    if arguments == ["plot"]:
        assert "  ⣿ lr=unreadable, seed=unreadable  0.25\n" in result.stdout


# verify


def test_verify(run, tmp_path):
    make(tmp_path / "a")
    assert run("verify", cwd=tmp_path).stdout == "7 files intact, 0 damaged\n"
    make(tmp_path / "b")
    (tmp_path / "b" / "config.yaml").write_text("lr: [1,")
    for name in ("checkpoint_2.safetensors", next((tmp_path / "b").glob("*tfevents*")).name):
        content = bytearray((tmp_path / "b" / name).read_bytes())
        content[len(content) * 2 // 3] ^= 0xFF
        (tmp_path / "b" / name).write_bytes(content)
    (tmp_path / "b" / "checkpoint_3.safetensors").write_bytes(b"")
    lines = run("verify", cwd=tmp_path, expect=1).stdout.splitlines()
    damaged = [line.split(":")[0] for line in lines if line.startswith("DAMAGED ")]
    assert damaged[:3] == [
        "DAMAGED b/config.yaml",
        "DAMAGED b/checkpoint_2.safetensors",
        "DAMAGED b/checkpoint_3.safetensors",
    ]
    assert damaged[3].startswith("DAMAGED b/events.out.tfevents.")
    assert lines[-2] == (
        "  intact in b: best_7.safetensors, checkpoint_1.safetensors, checkpoint_4.safetensors"
    )
    assert lines[-1] == "10 files intact, 4 damaged"
    assert lines[0].startswith("DAMAGED b/config.yaml:2:1: not valid YAML")


def test_one_is_not_plural(run, tmp_path):
    with Experiment(tmp_path / "a", verbose=False) as experiment:
        experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
    assert run("verify", cwd=tmp_path).stdout == "1 file intact, 0 damaged\n"
    assert run("export", "--output", "x.csv", cwd=tmp_path).stdout == "Wrote 1 point to x.csv\n"
    assert "report.html: 1 experiment, " in run("report", cwd=tmp_path).stdout


def test_verify_for_programs(run, tmp_path):
    make(tmp_path / "a", steps=[1])
    (tmp_path / "a" / "config.yaml").write_text("lr: [1,")
    rows = json.loads(run("verify", "--format", "json", cwd=tmp_path, expect=1).stdout)
    assert [row["name"] for row in rows] == ["a"] * 4
    problems = {row["file"]: row.get("problem") for row in rows}
    assert problems.pop("config.yaml").startswith(f"{tmp_path}/a/config.yaml:2:1: not valid YAML")
    assert set(problems.values()) == {None}
    table = run("verify", "--format", "csv", cwd=tmp_path, expect=1).stdout
    assert [row["file"] for row in csv.DictReader(io.StringIO(table))] == [
        row["file"] for row in rows
    ]


# prune


def test_prune(run, tmp_path):
    for name in ("a", "b"):
        make(tmp_path / name)
    before = contents(tmp_path)
    result = run("prune", "--keep", "2", cwd=tmp_path)
    assert contents(tmp_path) == before
    assert result.stdout.splitlines()[-1].startswith("Would remove ")
    assert "pass --yes" in result.stderr
    size = sum(
        (tmp_path / n / f"checkpoint_{s}.safetensors").stat().st_size for n in "ab" for s in (1, 2)
    )
    result = run("prune", "--keep", "2", "--yes", cwd=tmp_path)
    assert result.stdout.splitlines()[-1] == f"Removed {size / 1024:.1f} KiB"
    gone = [f"{n}/checkpoint_{s}.safetensors" for n in "ab" for s in (1, 2)]
    assert contents(tmp_path) == sorted({*before} - {*gone})
    assert run("prune", "--keep", "2", "--yes", cwd=tmp_path).stdout == "Removed 0 B\n"


def test_prune_continues_after_an_error(run, tmp_path, monkeypatch):
    for name in ("a", "b"):
        make(tmp_path / name, steps=(1, 2))

    def remove(directory, name):
        path = directory.path / name
        if directory.path.name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        path.unlink()

    monkeypatch.setattr(Directory, "remove_in_background", remove)
    result = run("prune", "--yes", cwd=tmp_path, expect=1)
    assert [line.split()[:3] for line in result.stdout.splitlines()[1:-1]] == [
        ["b", "checkpoint_", "1"]
    ]
    assert re.fullmatch(
        r"fifteen: error: /\S*/a/checkpoint_1.*: Permission denied\n", result.stderr
    )


def test_prune_a_selection_with_keep_every(run, tmp_path):
    make(tmp_path / "a", steps=range(1, 11))
    make(tmp_path / "b", lr=5)
    run("prune", "--keep-every", "4", "--where", "lr < 1", "--yes", cwd=tmp_path)
    assert Experiment(tmp_path / "a", verbose=False).checkpoint_steps() == [1, 5, 9, 10]
    assert Experiment(tmp_path / "b", verbose=False).checkpoint_steps() == [1, 2, 3, 4]
    error = run("prune", "--keep", "0", "--yes", cwd=tmp_path, expect=1).stderr
    assert "--keep: expected at least 1, found 0" in error
    error = run("prune", "--keep-every", "-1", cwd=tmp_path, expect=1).stderr
    assert "--keep-every: expected at least 0, found -1" in error


def test_removals_in_machine_readable_formats(run, tmp_path):
    make(tmp_path / "a")
    size = sum((tmp_path / f"a/checkpoint_{step}.safetensors").stat().st_size for step in (1, 2))
    result = run("prune", "--keep", "2", "--format", "json", cwd=tmp_path)
    assert "pass --yes" in result.stderr
    row = {"name": "a", "prefix": "checkpoint_", "steps": [1, 2], "size": size}
    assert json.loads(result.stdout) == [row]
    table = run("prune", "--keep", "2", "--format", "md", "--yes", cwd=tmp_path).stdout
    assert table.splitlines()[0] == "| name | prefix | steps | size |"
    assert table.splitlines()[2].startswith("| a | checkpoint_ | 1 2 | ")
    assert json.loads(run("prune", "--keep", "2", "--format", "json", cwd=tmp_path).stdout) == []
    usage = find_experiments(tmp_path).values("size")
    table = run("rm", ".", "--yes", "--format", "csv", cwd=tmp_path).stdout
    assert table == f"name,size\na,{usage[0]}\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", ["prune", "rm"])
def test_one_that_is_named_has_the_name_of_its_directory(run, tmp_path, command):
    make(tmp_path / "runs" / "a")
    for path, cwd in (("runs/a", tmp_path), (".", tmp_path / "runs" / "a")):
        rows = json.loads(run(command, path, "--format", "json", cwd=cwd).stdout)
        assert {row["name"] for row in rows} == {"a"}


def test_prune_touches_nothing_else(run, tmp_path):
    make(tmp_path / "a")
    outside = tmp_path.parent / f"{tmp_path.name}_outside"
    outside.mkdir()
    saved = (tmp_path / "a" / "checkpoint_1.safetensors").rename(
        outside / "checkpoint_1.safetensors"
    )
    (tmp_path / "a" / "checkpoint_1.safetensors").symlink_to(saved)
    (tmp_path / "a" / "checkpoint_2.safetensors").write_text("no checkpoint at all")
    (tmp_path / "a" / "checkpoint_3.txt").write_text("x")
    run("prune", "--yes", cwd=tmp_path)
    assert saved.is_file()
    names = set(os.listdir(tmp_path / "a"))
    assert {"checkpoint_1.safetensors", "checkpoint_3.txt", "checkpoint_4.safetensors"} <= names
    assert "checkpoint_3.safetensors" not in names


@pytest.mark.parametrize("damage", ["a truncated file", "a flipped bit of an array"])
def test_prune_keeps_all_if_the_newest_is_damaged(run, tmp_path, damage):
    make(tmp_path / "a")
    content = bytearray((tmp_path / "a" / "checkpoint_4.safetensors").read_bytes())
    content[-1] ^= 1
    whole = len(content) if damage == "a flipped bit of an array" else 300
    (tmp_path / "a" / "checkpoint_4.safetensors").write_bytes(content[:whole])
    result = run("prune", "--yes", cwd=tmp_path, expect=1)
    assert "the newest cannot be read, so all are kept" in result.stderr
    assert len(list((tmp_path / "a").glob("checkpoint_*"))) == 4


def test_running_experiment_is_kept(run, tmp_path, running):
    before = contents(tmp_path)
    for command in ("prune", "rm"):
        result = run(command, "running", "--yes", cwd=tmp_path)
        assert "is running, and stays as it is" in result.stderr
        assert result.stdout == "Removed 0 B\n"
    assert (
        "is running"
        in run("archive", "running", "--output", "x.tar.zst", cwd=tmp_path, expect=1).stderr
    )
    assert "is running; move it" in run("move", "running", "to", cwd=tmp_path, expect=1).stderr
    assert contents(tmp_path) == before
    listed = run("list", "--where", "status == 'running'", cwd=tmp_path).stdout
    assert listed.splitlines()[1].startswith("running  running")


@pytest.mark.parametrize("command", ["prune", "rm"])
def test_experiment_selected_by_unreadable_values_is_not_changed(run, tmp_path, command):
    make(tmp_path / "a", seed=1)
    make(tmp_path / "b", seed=2)
    (tmp_path / "a" / "config.yaml").write_text("keep: [1,")
    before = contents(tmp_path / "a")
    result = run(command, ".", "--where", "not exists(keep)", "--yes", cwd=tmp_path, expect=1)
    assert "stays as it is, since it was chosen by what cannot be read" in result.stderr
    assert "a/config.yaml:2:1: not valid YAML" in result.stderr
    assert contents(tmp_path / "a") == before
    assert len(contents(tmp_path)) < 2 + 2 * len(before)
    run(command, "a", "--yes", cwd=tmp_path)
    assert contents(tmp_path / "a") != before


# rm


def test_rm(run, tmp_path):
    for name in ("a", "b"):
        make(tmp_path / name)
    before = contents(tmp_path)
    assert "pass --yes" in run("rm", "a", cwd=tmp_path).stderr
    assert contents(tmp_path) == before
    run("rm", ".", "--where", "name == 'a'", "--yes", cwd=tmp_path)
    assert os.listdir(tmp_path) == ["b"]
    assert "name what to remove" in run("rm", "--yes", cwd=tmp_path, expect=1).stderr


def test_rm_follows_no_link(run, tmp_path):
    outside = make(tmp_path / "outside" / "a").data_dir
    make(tmp_path / "runs" / "b")
    (tmp_path / "runs" / "link").symlink_to(outside)
    (tmp_path / "runs" / "b" / "data").symlink_to(outside)
    run("rm", "runs/b", "--yes", cwd=tmp_path)
    assert contents(tmp_path / "runs") == ["link"]
    assert (outside / "config.yaml").is_file()
    output = run("rm", "runs/link", "--yes", cwd=tmp_path).stdout
    assert output.endswith("Removed 0 B\n")
    assert contents(tmp_path / "runs") == []
    assert (outside / "config.yaml").is_file()


@pytest.mark.parametrize("command", ["prune", "rm"])
def test_links_to_the_outside_are_not_followed(run, tmp_path, command):
    make(tmp_path / "outside" / "a")
    make(tmp_path / "runs" / "b")
    make(tmp_path / "runs" / "c")
    before = contents(tmp_path / "outside")
    links = {"runs/link": "../outside/a", "runs/all": "../outside", "runs/b/up": "../../outside"}
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    for root in ("runs", "runs/a*"):
        run(command, root, "--yes", cwd=tmp_path)
        assert contents(tmp_path / "outside") == before
    told = run(command, "runs/a*", cwd=tmp_path).stderr
    assert "runs/all/a: is reached through a link, and stays as it is" in told
    assert command == "rm" or "checkpoint_1.safetensors" not in contents(tmp_path / "runs" / "b")


def test_prune_follows_a_named_link(run, tmp_path):
    make(tmp_path / "a")
    (tmp_path / "latest").symlink_to("a")
    run("prune", "latest", "--yes", cwd=tmp_path)
    assert "checkpoint_1.safetensors" not in contents(tmp_path / "a")


def test_rm_keeps_experiments_below(run, tmp_path):
    Experiment(tmp_path / "sweep", verbose=False).write_metadata("config", {"lr": 1})
    make(tmp_path / "sweep" / "a", lr=2)
    result = run("rm", "sweep", "--where", "config.lr == 1", "--yes", cwd=tmp_path, expect=1)
    assert "sweep/a below it is not to be removed" in result.stderr
    assert (tmp_path / "sweep" / "config.yaml").is_file()
    said = run("rm", "sweep", cwd=tmp_path).stdout
    assert run("rm", "sweep", "--yes", cwd=tmp_path).stdout == said.replace(
        "Would remove", "Removed"
    )
    assert not (tmp_path / "sweep").exists()


# archive


def test_archive_and_unarchive(run, tmp_path):
    make(tmp_path / "a")
    (tmp_path / "a" / "sub").mkdir()
    (tmp_path / "a" / "sub" / "new\nline é").write_bytes(b"x" * 100_000)
    (tmp_path / "a" / "link").symlink_to("config.yaml")
    run("archive", "a", "--output", "a.tar.zst", cwd=tmp_path)
    assert (
        "exists already"
        in run("archive", "a", "--output", "a.tar.zst", cwd=tmp_path, expect=1).stderr
    )
    assert "exists already" in run("unarchive", "a.tar.zst", cwd=tmp_path, expect=1).stderr
    run("unarchive", "a.tar.zst", "--into", "new/place", cwd=tmp_path)
    assert os.listdir(tmp_path / "new" / "place") == ["a"]
    unpacked = tmp_path / "new" / "place" / "a"
    assert contents(unpacked) == contents(tmp_path / "a")
    for name in contents(unpacked):
        if (unpacked / name).is_file():
            assert filecmp.cmp(unpacked / name, tmp_path / "a" / name, shallow=False)
    assert os.readlink(unpacked / "link") == "config.yaml"


def test_unarchive_several(run, tmp_path):
    for name in ("a", "b"):
        make(tmp_path / name)
        run("archive", name, "--output", f"{name}.tar.zst", cwd=tmp_path)
    expected = "Unpacked a.tar.zst to out/a\nUnpacked b.tar.zst to out/b\n"
    for arguments in ("a.tar.zst b.tar.zst --into out", "a.tar.zst --into out b.tar.zst"):
        assert run("unarchive", *arguments.split(), cwd=tmp_path).stdout == expected
        assert contents(tmp_path / "out" / "b") == contents(tmp_path / "b")
        run("rm", "out", "--yes", cwd=tmp_path)


def test_archive_several(run, tmp_path):
    for name in ("a", "b", "c/a"):
        make(tmp_path / name)
    command = ("archive", "a", "b", "--output")
    error = run(*command, "x.tar.zst", cwd=tmp_path, expect=1).stderr
    assert "--output: expected a directory for 2 files; make it first" in error
    (tmp_path / "packed").mkdir()
    run(*command, "packed", cwd=tmp_path)
    assert sorted(os.listdir(tmp_path / "packed")) == ["a.tar.zst", "b.tar.zst"]
    error = run("archive", "a", "c/a", "--output", "packed", cwd=tmp_path, expect=1).stderr
    assert "several of them are called 'a'" in error


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, -1])
def test_damaged_archive_is_not_unpacked(run, tmp_path, part):
    make(tmp_path / "a")
    run("archive", "a", "--output", "a.tar.zst", cwd=tmp_path)
    content = bytearray((tmp_path / "a.tar.zst").read_bytes())
    for damaged in (content[: int(len(content) * part)], bytearray(content)):
        if len(damaged) == len(content):
            damaged[int(len(content) * part) if part > 0 else -1] ^= 0xFF
        (tmp_path / "b.tar.zst").write_bytes(damaged)
        error = run("unarchive", "b.tar.zst", "--into", "out", cwd=tmp_path, expect=1).stderr
        assert "b.tar.zst: " in error
        assert contents(tmp_path / "out") == []


@pytest.mark.parametrize("missing", [1, 5])
def test_archive_that_is_cut_short_is_not_unpacked(run, tmp_path, missing):
    make(tmp_path / "a")
    # The last block of the archive then begins with a member.
    (tmp_path / "a" / "y.bin").write_bytes(bytes(128_000))
    (tmp_path / "a" / "z.bin").write_bytes(bytes(1000))
    run("archive", "a", "--output", "a.tar.zst", cwd=tmp_path)
    (tmp_path / "b.tar.zst").write_bytes((tmp_path / "a.tar.zst").read_bytes()[:-missing])
    error = run("unarchive", "b.tar.zst", "--into", "out", cwd=tmp_path, expect=1).stderr
    assert "b.tar.zst: damaged, or not an archive: it is cut short; nothing was unpacked" in error
    assert contents(tmp_path / "out") == []


@pytest.mark.parametrize("kind", ["up", "link", "hard link", "device"])
def test_archive_members_outside_the_target_are_refused(run, tmp_path, kind):
    member = tarfile.TarInfo("a/x")
    if kind == "up":
        member.name = "../x"
    elif kind == "device":
        member.type = tarfile.CHRTYPE
    else:
        member.type = tarfile.SYMTYPE if kind == "link" else tarfile.LNKTYPE
        member.linkname = "../../../etc/passwd"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(member, io.BytesIO())
    (tmp_path / "x.tar.zst").write_bytes(zstandard.compress(buffer.getvalue()))
    run("unarchive", "x.tar.zst", "--into", "out", cwd=tmp_path, expect=1)
    assert contents(tmp_path / "out") == []
    assert not (tmp_path / "x").exists()


def test_archive_does_not_contain_itself(run, tmp_path):
    make(tmp_path / "a")
    error = run("archive", "a", "--output", "a/x.tar.zst", cwd=tmp_path, expect=1).stderr
    assert "choose another directory" in error
    assert Directory(tmp_path / "a").names() == sorted(os.listdir(tmp_path / "a"))


@pytest.mark.parametrize("kind", ["pipe", "link", "absolute link"])
def test_files_that_cannot_be_unpacked_are_not_archived(run, tmp_path, kind):
    make(tmp_path / "a")
    if kind == "pipe":
        os.mkfifo(tmp_path / "a" / "odd")
    else:
        (tmp_path / "a" / "odd").symlink_to("../../elsewhere" if kind == "link" else tmp_path)
    error = run("archive", "a", "--output", "a.tar.zst", cwd=tmp_path, expect=1).stderr
    assert "a/odd" in error
    assert "cannot be unpacked again" in error
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("place", ["links", "elsewhere"])
def test_archive_follows_a_named_link(run, tmp_path, place):
    target = tmp_path / place / "a"
    make(target)
    (target / "link").symlink_to("config.yaml")
    (tmp_path / "links").mkdir(exist_ok=True)
    (tmp_path / "links" / "latest").symlink_to(target)
    run("archive", "links/latest", "--output", "a.tar.zst", cwd=tmp_path)
    run("unarchive", "a.tar.zst", "--into", "out", cwd=tmp_path)
    assert contents(tmp_path / "out" / "latest") == contents(target)
    assert not (tmp_path / "out" / "latest").is_symlink()


@pytest.mark.parametrize("name", [".", "sub/.."])
def test_archive_has_the_name_of_the_directory(tmp_path, monkeypatch, name):
    make(tmp_path / "a")
    (tmp_path / "a" / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    archive(pathlib.Path(name), tmp_path / "a.tar.zst")
    assert unarchive(tmp_path / "a.tar.zst", tmp_path / "out") == tmp_path / "out" / "a"
    assert contents(tmp_path / "out" / "a") == contents(tmp_path / "a")
