"""The command on real experiments, in this process and in subprocesses."""

import collections
import csv
import dataclasses
import inspect
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import entry_points

import flax.serialization
import numpy as np
import pytest
import yaml

from fifteen.cli import main
from fifteen.experiments import (
    Experiment,
    ExpressionError,
    TensorboardLogData,
    find_experiments,
)

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from terminal import Terminal

COMMAND = [sys.executable, "-c", "import sys; from fifteen.cli import main; sys.exit(main())"]
Result = collections.namedtuple("Result", "stdout stderr")


def run_process(*arguments, cwd=None, expect=0, **environment):
    result = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == expect, (result.stdout, result.stderr)
    return Result(result.stdout, result.stderr)


def run_on_terminal(*arguments, cwd, columns):
    """Run the command on a terminal of a given width, and return its output."""
    with Terminal(*arguments, cwd=cwd, columns=columns) as terminal:
        assert terminal.end() == 0, terminal.output
        # On a busy machine a progress bar is shown first, and erased.
        return terminal.output.rpartition("\x1b[2K")[2].replace("\x1b[?25h", "")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("experiments")
    for number, rate in ((1, 0.1), (2, 0.01), (10, 0.001)):
        with Experiment(root / "runs" / f"run_{number}", verbose=False) as experiment:
            experiment.write_metadata(
                "config", {"optimizer": {"name": "adam", "lr": rate}, "layers": [64, 64]}
            )
            experiment.write_metadata("notes", {"by": "someone"})
            for step in range(0, 100, 10):
                scalars = {"train/loss": rate * (100 - step), "test/accuracy": step / 100 + rate}
                experiment.log(TensorboardLogData(scalars=scalars), step=step)
            experiment.save_checkpoint({"w": np.ones((3, 4), np.float32), "n": 1}, step=50, keep=3)
            experiment.save_checkpoint({"w": np.ones((3, 4), np.float32), "n": 2}, step=90, keep=3)
            experiment.save_checkpoint({"w": np.ones(2)}, step=70, prefix="checkpoint_best_")
    return root


def table(output):
    """Split a plain table into rows of cells."""
    return [re.split(r"  +", line.strip()) for line in output.splitlines()]


def columns(output, *names):
    """Return some columns of a plain table, without its header."""
    head, *rows = table(output)
    return [[row[head.index(name)] for name in names] for row in rows]


# list


def test_list(run, root):
    rows = table(run("list", "runs", cwd=root).stdout)
    assert rows[0] == [
        *("name", "status", "step", "config.optimizer.lr", "test/accuracy", "train/loss"),
        *("checkpoints", "size", "age"),
    ]
    assert [row[:7] for row in rows[1:]] == [
        ["run_1", "finished", "90", "0.1", "1*", "1", "3"],
        ["run_2", "finished", "90", "0.01", "0.91", "0.1", "3"],
        ["run_10", "finished", "90", "0.001", "0.901", "0.01*", "3"],
    ]
    for row in rows[1:]:
        assert re.fullmatch(r"[\d.]+ KiB", row[7])
        assert re.fullmatch(r"\d+ (s|min)", row[8])


def test_list_current_directory_and_single_experiment(run, root):
    assert table(run("list", cwd=root).stdout)[1][0] == "runs/run_1"
    assert table(run("list", "runs/run_1", cwd=root).stdout)[1][0] == "."


def test_list_columns(run, root):
    result = run(
        "list", "runs", "--columns", "config.optimizer.lr", "optimizer.name", "test/accuracy",
        "train/loss:min", "--sort", "test/accuracy", "--reverse", cwd=root,
    )  # fmt: skip
    rows = [[row[0], *row[3:7]] for row in table(result.stdout)]
    assert rows == [
        ["name", "config.optimizer.lr", "optimizer.name", "test/accuracy", "train/loss:min"],
        ["run_1", "0.1", "adam", "1*", "1"],
        ["run_2", "0.01", "adam", "0.91", "0.1"],
        ["run_10", "0.001", "adam", "0.901", "0.01*"],
    ]


def test_list_columns_of_metadata(run, tmp_path):
    experiment = Experiment(tmp_path / "a", verbose=False)
    experiment.write_metadata("config", {"a": {"x": 1}, "b": {"x": 2}, "x": 3, "y": {"a": 4}})
    experiment.write_metadata("provenance", {"host": "machine", "a": {"x": 9}})
    for name, value in (("b.x", "2"), ("config.x", "3"), ("y.a", "4"), ("host", "machine")):
        output = run("list", "--columns", name, cwd=tmp_path).stdout
        assert columns(output, name) == [[value]]
    error = run("list", "--columns", "x", cwd=tmp_path, expect=1).stderr
    assert error == (
        "fifteen: error: 'x' is ambiguous: config.a.x, config.b.x, config.x; write more of the name\n"
    )


@dataclasses.dataclass
class Adam:
    lr: float


@dataclasses.dataclass
class Sgd:
    lr: float


@dataclasses.dataclass
class Config:
    optimizer: Adam | Sgd
    data: pathlib.Path


def test_list_columns_of_classes_and_single_values(run, tmp_path):
    for name, optimizer in (("a", Adam(0.1)), ("b", Sgd(0.2))):
        experiment = Experiment(tmp_path / name, verbose=False)
        experiment.write_metadata("config", Config(optimizer, pathlib.Path("/data") / name))
        experiment.write_metadata("eval/score", 17)
        experiment.save_checkpoint({"w": 1}, step=1)
    listed = run("list", "--columns", "lr", "data", "eval/score", "--format", "csv", cwd=tmp_path)
    rows = [
        [row["name"], row["lr"], row["data"], row["eval/score"]]
        for row in csv.DictReader(io.StringIO(listed.stdout))
    ]
    assert rows == [["a", "0.1", "/data/a", "17"], ["b", "0.2", "/data/b", "17"]]
    assert listed.stderr == ""


def test_list_distinguishes_none_nan_and_missing(run, tmp_path):
    for name, x in (("a", 2.0), ("b", None), ("c", float("nan")), ("d", 1.0), ("e", "text")):
        experiment = Experiment(tmp_path / name, verbose=False)
        experiment.write_metadata("config", {"x": x, "none": None})
    Experiment(tmp_path / "f", verbose=False).write_metadata("config", {"none": None})
    for more, order in (
        ([], ["d 1", "a 2", "e text", "c nan", "b None", "f -"]),
        (["--reverse"], ["e text", "a 2", "d 1", "c nan", "b None", "f -"]),
    ):
        output = run("list", "--columns", "x", "none", "--sort", "x", *more, cwd=tmp_path).stdout
        rows = columns(output, "name", "x", "none")
        assert [f"{name} {x}" for name, x, _ in rows] == order
        assert {none for _, _, none in rows} == {"None"}
    listed = json.loads(run("list", "--columns", "x", "--format", "json", cwd=tmp_path).stdout)
    assert [row.get("x", "missing") for row in listed] == [2.0, None, "NaN", 1.0, "text", "missing"]
    output = run("list", "--columns", "x", "--format", "csv", cwd=tmp_path).stdout
    assert [row["x"] for row in csv.DictReader(io.StringIO(output))] == [
        "2.0", "None", "nan", "1.0", "text", "",
    ]  # fmt: skip


def test_list_sorts_by_a_hidden_column(run, root):
    output = run("list", "runs", "--sort", "train/loss:min", cwd=root).stdout
    assert columns(output, "name", "train/loss:min") == [
        ["run_10", "0.01*"], ["run_2", "0.1"], ["run_1", "1"],
    ]  # fmt: skip


def test_list_finds_scalars_by_tag_suffix(run, root, tmp_path):
    output = run("list", "runs", "--columns", "loss", "accuracy:max", cwd=root).stdout
    assert columns(output, "loss", "accuracy:max") == [
        ["1", "1*"], ["0.1", "0.91"], ["0.01*", "0.901"],
    ]  # fmt: skip
    with Experiment(tmp_path / "a", verbose=False) as experiment:
        experiment.log(TensorboardLogData(scalars={"train/x": 1.0, "test/x": 2.0}), step=1)
    error = run("list", "--columns", "x:max", cwd=tmp_path, expect=1).stderr
    assert error == "fifteen: error: 'x' is ambiguous: test/x, train/x; write more of the name\n"


def test_list_sorts_handwritten_numbers_by_value(run, tmp_path):
    make_metadata(tmp_path, a="x: 1e-3\n", b="x: 2e-4\n", c="x: 1\n", d="x: '1e-9'\n")
    listed = run("list", "--columns", "x", "--sort", "x", "--format", "json", cwd=tmp_path).stdout
    assert [row["x"] for row in json.loads(listed)] == [2e-4, 1e-3, 1, "1e-9"]


def test_list_marks_an_experiment_that_disappears(run, tmp_path, monkeypatch):
    from fifteen.experiments import _experiments

    for name in ("a", "b"):
        Experiment(tmp_path / name, verbose=False).write_metadata("config", {})
    monkeypatch.setattr(
        _experiments, "find_paths", lambda root: [root / "a", root / "gone", root / "b"]
    )
    result = run("list", cwd=tmp_path, expect=1)
    assert columns(result.stdout, "name", "size") == [
        ["a", "38 B"], ["gone", "unreadable"], ["b", "38 B"],
    ]  # fmt: skip
    assert "gone: expected an experiment, found no directory" in result.stderr


def test_list_in_reverse(run, root):
    rows = table(run("list", "runs", "--reverse", cwd=root).stdout)
    assert [row[0] for row in rows[1:]] == ["run_10", "run_2", "run_1"]


def test_list_in_machine_readable_formats(run, root):
    arguments = ("list", "runs", "--columns", "optimizer.lr", "--sort", "optimizer.lr")
    listed = json.loads(run(*arguments, "--format", "json", cwd=root).stdout)
    assert [row["name"] for row in listed] == ["run_10", "run_2", "run_1"]
    assert listed[0]["optimizer.lr"] == 0.001
    assert listed[0]["size"] > 1000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", listed[0]["changed"])
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv", cwd=root).stdout)))
    assert [{key: str(row.get(key, "")) for key in rows[0]} for row in listed] == rows


def test_list_of_nothing(run, tmp_path):
    result = run("list", cwd=tmp_path)
    assert result.stdout == ""
    assert result.stderr == (
        "fifteen: no experiments below .; pass a directory that is one, or has some below it\n"
    )
    assert json.loads(run("list", "--format", "json", cwd=tmp_path).stdout) == []


def test_list_continues_after_damaged_metadata(run, tmp_path):
    Experiment(tmp_path / "a", verbose=False).write_metadata("config", {"lr": 1})
    Experiment(tmp_path / "b", verbose=False).write_metadata("config", {"lr": 2})
    (tmp_path / "b" / "config.yaml").write_text("lr: [1,")
    result = run("list", "--columns", "lr", cwd=tmp_path, expect=1)
    assert columns(result.stdout, "name", "lr") == [["a", "1"], ["b", "unreadable"]]
    assert re.fullmatch(r"fifteen: error: .*config\.yaml.*\n", result.stderr)


def test_what_could_not_be_filtered_is_reported(run, unreadable):
    make_metadata(unreadable, c="lr: 2\n")
    result = run("list", "--where", "lr > 1", "--format", "csv", cwd=unreadable)
    assert [line.partition(",")[0] for line in result.stdout.splitlines()] == ["name", "c"]
    assert re.fullmatch(
        r"fifteen: warning: --where: 1 left out, because files cannot be read, "
        r"such as /\S*/b/link.yaml: No such file or directory\n", result.stderr
    )  # fmt: skip
    assert run("list", "--where", "step > 1 or name == 'b'", cwd=unreadable, expect=1).stdout


# show


def test_show(run, root):
    output = run("show", "runs/run_2", cwd=root).stdout
    lines = output.splitlines()
    assert lines[0] == "runs/run_2"
    assert "config.yaml" in lines
    assert "  lr: 0.01" in lines
    assert "..." not in lines
    checkpoints = lines.index("checkpoints")
    assert table("\n".join(lines[checkpoints + 2 : checkpoints + 5])) == [
        ["prefix", "latest", "steps"],
        ["checkpoint_", "90", "50 90"],
        ["checkpoint_best_", "70", "70"],
    ]
    scalars = lines.index("scalars")
    assert table("\n".join(lines[scalars + 2 :])) == [
        ["scalar", "points", "step", "last", "min", "max"],
        ["test/accuracy", "10", "90", "0.91", "0.01", "0.91"],
        ["train/loss", "10", "90", "0.1", "0.1", "1"],
    ]


def test_show_leaves(run, root):
    output = run("show", "runs/run_2", "--leaves", cwd=root).stdout
    assert "leaves of checkpoint_90" in output
    assert re.search(r"^w +float32 +\(3, 4\)$", output, re.MULTILINE)
    output = run(
        "show", "runs/run_2", "--leaves", "--prefix", "checkpoint_best_", "--step", 70, cwd=root
    ).stdout
    assert "leaves of checkpoint_best_70" in output
    assert re.search(r"^w +float64 +\(2,\)$", output, re.MULTILINE)


def test_show_leaves_continues_after_a_damaged_checkpoint(run, root, tmp_path):
    shutil.copytree(root / "runs", tmp_path / "runs")
    (tmp_path / "runs" / "run_1" / "checkpoint_90.safetensors").write_bytes(b"torn")
    result = run("show", "runs/run_1", "runs/run_2", "--leaves", cwd=tmp_path, expect=1)
    assert result.stdout == run("show", "runs/run_2", "--leaves", cwd=tmp_path).stdout
    assert re.fullmatch(r"fifteen: error: .*run_1/checkpoint_90.*\n", result.stderr)


def test_show_leaves_of_an_old_checkpoint_with_another_prefix(run, tmp_path):
    (tmp_path / "best_7").write_bytes(flax.serialization.to_bytes({"w": np.ones((3, 4))}))
    output = run("show", ".", "--leaves", "--prefix", "best_", cwd=tmp_path).stdout
    assert "leaves of best_7" in output
    assert re.search(r"^w +float64 +\(3, 4\)$", output, re.MULTILINE)


def test_show_prints_text_unchanged(run, tmp_path):
    Experiment(tmp_path / "a", verbose=False).write_metadata("config", {"x": "a\n\tb\u2028c\n"})
    output = run("show", "a", cwd=tmp_path).stdout
    assert "b\u2028c" in output or r"b\u2028c" in output or r"b\Lc" in output
    assert not output.endswith("...\n")


def test_show_scalar_with_only_nan(run, tmp_path):
    with Experiment(tmp_path, verbose=False) as experiment:
        experiment.log(TensorboardLogData(scalars={"x": float("nan")}), step=1)
    assert table(run("show", tmp_path).stdout)[-1] == ["x", "1", "1", "nan", "nan", "nan"]


def test_show_selected(run, root):
    output = run("show", "runs/run_2", "--metadata", "notes", "--tags", "test/*", cwd=root).stdout
    assert "by: someone" in output
    assert "config.yaml" not in output
    assert "train/loss" not in output
    assert "test/accuracy" in output


def test_show_the_provenance_without_its_packages(run, tmp_path):
    experiment = Experiment(tmp_path, verbose=False)
    experiment.write_provenance()
    output = run("show", ".", cwd=tmp_path).stdout
    assert re.search(r"^command:", output, re.MULTILINE)
    assert "numpy: " not in output
    assert "more lines; --metadata provenance shows all" in output
    assert "numpy: " in run("show", ".", "--metadata", "provenance", cwd=tmp_path).stdout


@pytest.fixture
def unreadable(tmp_path):
    """Two experiments; in `b`, one file is a dangling link, one a pipe, and one is missing."""
    make_metadata(tmp_path, a="x: 1\n", b="x: 1\n")
    for name in ("link", "pipe", "results"):
        (tmp_path / "a" / f"{name}.yaml").write_text("y: 1\n")
    (tmp_path / "b" / "link.yaml").symlink_to("absent")
    os.mkfifo(tmp_path / "b" / "pipe.yaml")
    (tmp_path / "b" / "torn.yaml").write_text("y: [1,")
    return tmp_path


def test_unreadable_events_are_reported(run, tmp_path):
    make_metadata(tmp_path, a="x: 1\n")
    (tmp_path / "a" / "events.out.tfevents.1").symlink_to("events.out.tfevents.1")
    with Experiment(tmp_path / "b", verbose=False) as experiment:
        experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
    for command in (["show", "a"], ["compare", "a", "b"], ["scalars", "a"], ["list"]):
        error = run(*command, cwd=tmp_path).stderr
        assert "a/events.out.tfevents.1: cannot be read, and is left out: Too many" in error


def test_show_marks_unreadable_files(run, unreadable):
    result = run("show", "b", cwd=unreadable, expect=1)
    assert result.stdout.count("[unreadable]") == 2
    assert "x: 1" in result.stdout
    assert len(result.stderr.splitlines()) == 2
    assert all(line.startswith("fifteen: error: ") for line in result.stderr.splitlines())


def test_verify_names_unreadable_files(run, unreadable):
    result = run("verify", "b", cwd=unreadable, expect=1)
    assert "DAMAGED ./link.yaml: No such file or directory\n" in result.stdout


def test_compare_marks_unreadable_files(run, unreadable):
    result = run("compare", "a", "b", cwd=unreadable, expect=1)
    assert table(result.stdout) == [
        ["metadata", "a", "b"],
        ["link", "not compared", "unreadable"],
        ["pipe", "not compared", "unreadable"],
        ["results.y", "1", "-"],
        ["torn", "-", "unreadable"],
    ]
    assert len(result.stderr.splitlines()) == 3


def test_compare_continues_with_readable_experiments(run, unreadable):
    make_metadata(unreadable, c="x: 2\n")
    (unreadable / "c" / "torn.yaml").write_text("y: 2")
    (unreadable / "a" / "torn.yaml").write_text("y: 1")
    result = run("compare", "a", "b", "c", "--metadata", "torn", cwd=unreadable, expect=1)
    assert table(result.stdout) == [
        ["metadata", "a", "b", "c"],
        ["torn", "readable", "unreadable", "readable"],
        ["torn.y", "1", "unreadable", "2"],
    ]


def test_show_several(run, root):
    best = ("runs", "--where", "name != 'run_2'", "--sort", "train/loss", "--limit", "2")
    for arguments in (("runs/run_10", "runs/run_1"), best, ("runs/run_1*", "--reverse")):
        parts = run("show", *arguments, cwd=root).stdout.split("\n\n\n")
        assert [part.split("\n")[0] for part in parts] == ["runs/run_10", "runs/run_1"]
        assert [part.count("\nscalars\n") for part in parts] == [1, 1]
    (whole,) = run("show", "--limit", "1", cwd=root / "runs").stdout.split("\n\n\n")
    assert whole.startswith("run_1\n")


def test_show_of_several_what_only_some_have(run, root, tmp_path):
    for name in "ab":
        Experiment(tmp_path / name, verbose=False).write_metadata("config", {"lr": 1})
    Experiment(tmp_path / "b", verbose=False).write_metadata("results", {"loss": 2})
    output = run("show", "a", "b", "--metadata", "results", cwd=tmp_path).stdout
    assert output.count("results.yaml") == 1
    error = run("show", "a", "b", "--metadata", "result", cwd=tmp_path, expect=1).stderr
    assert "no metadata is called 'result'; known: config, results" in error


def test_an_experiment_that_is_named_stands_for_itself(run, tmp_path):
    Experiment(tmp_path / "a", verbose=False).write_metadata("config", {"lr": 1})
    Experiment(tmp_path / "a" / "inner", verbose=False).write_metadata("config", {"lr": 2})
    for arguments in (["a"], ["a", "--where", "lr > 0"], ["[a]"]):
        assert "inner" not in run("show", *arguments, cwd=tmp_path).stdout
        name, *options = arguments
        run("note", name, "good", *options, cwd=tmp_path)
    assert not (tmp_path / "a" / "inner" / "notes.yaml").exists()


def test_show_long_metadata(run, tmp_path):
    Experiment(tmp_path / "a", verbose=False).write_metadata(
        "config", {f"key_{number}": number for number in range(100)}
    )
    output = run("show", "a", cwd=tmp_path).stdout
    assert "key_30: 30" in output
    assert "key_50: 50" not in output
    assert "more lines; --metadata config shows all" in output
    make_metadata(tmp_path, wide=f"text: {'x' * 10_000}\n")
    assert run("show", "wide", cwd=tmp_path).stdout.endswith("xxx… 10,006 characters\n")
    assert "x" * 10_000 in run("show", "wide", "--metadata", "config", cwd=tmp_path).stdout
    assert "key_99: 99" in run("show", "a", "--metadata", "config", cwd=tmp_path).stdout


@pytest.fixture
def hostile(tmp_path):
    with Experiment(tmp_path / "a", verbose=False) as experiment:
        experiment.log(TensorboardLogData(scalars={"\x1b[31mred": 1.0}), step=1)
    (tmp_path / "a" / "config.yaml").write_text("x: \x1b[31mred\n")
    return tmp_path


def check_escaped(output):
    assert r"x: \x1b[31mred" in output
    assert r"\x1b[31mred " in output
    assert "\x1b[31m" not in output


@pytest.mark.parametrize("format", ["csv", "json"])
@pytest.mark.parametrize("command", ["list a --columns x", "scalars a"])
def test_exact_values_are_escaped_on_a_terminal(hostile, command, format):
    (hostile / "a" / "config.yaml").write_text('x: "\\e[31mred\\x9b\\u202e"\n')
    shown = run_on_terminal(*command.split(), "--format", format, cwd=hostile, columns=80)
    assert "red" in shown
    assert not {"\x1b", "\x9b", "\u202e"} & {*shown}


def test_names_that_are_not_text(run, tmp_path):
    path = os.fsencode(tmp_path) + b"/runs/\xff\xfe"
    os.makedirs(path)
    with Experiment(os.fsdecode(path), verbose=False) as experiment:
        experiment.write_metadata("config", {"lr": 0.1})
        experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
    for root in ("runs", os.fsdecode(path)):
        run("report", root, cwd=tmp_path)
        assert (tmp_path / "report.html").stat().st_size > 1000
        run("export", root, "--output", "points.csv", cwd=tmp_path)
        for command in ("list", "compare --all", "verify", "prune", "rm", "watch --all", "plot"):
            arguments = command.split()
            if command.startswith("compare"):
                (tmp_path / "runs" / "other").mkdir(exist_ok=True)
                (tmp_path / "runs" / "other" / "config.yaml").write_text("lr: 1\n")
                arguments.append("runs")
            run(*arguments, root, cwd=tmp_path)


def test_numbers_too_large_for_a_float(run, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(f"max_steps: {10**400 + ord(name)}\n")
    assert "401 characters*" in run("list", tmp_path).stdout
    run("list", tmp_path, "--sort", "max_steps", "--where", "max_steps > 3")
    run("compare", tmp_path)
    run("report", tmp_path, "--output", tmp_path / "report.html")
    run("watch", tmp_path, "--all")


@pytest.mark.parametrize(
    "arguments",
    [
        *("list ", "list . ", "show ", "scalars ", "archive  --output a.tar.zst", "note  x"),
        *("rm  --yes", "prune ", "move  a", "move run_1 ", "compare . ", "plot "),
    ],
)
def test_empty_argument_is_refused(run, root, arguments):
    error = run(*arguments.split(" "), cwd=root / "runs", expect=1).stderr
    assert error == "fifteen: error: expected a path, found an empty text; is a variable not set?\n"


@pytest.mark.parametrize(
    "command",
    ["export {}.csv", "report {}.html", "plot {}.svg", "plot {}.html", "archive {}.tar.zst"],
)
def test_unwritable_output_is_refused_first(run, root, tmp_path, command):
    name, output = command.split()
    source = root / "runs" / "run_1"
    pathlib.Path(output.format(tmp_path / "taken")).mkdir()
    for place, problem in (
        (tmp_path / "absent" / "a", "there is no directory {0.parent}; make it first"),
        (tmp_path / "taken", "is a directory; choose another name"),
    ):
        error = run(name, source, "--output", output.format(place), expect=1).stderr
        assert problem.format(place) in error
        assert error.startswith("fifteen: error: --output: ")
    error = run(name, source, "--output", tmp_path / "a.txt", expect=1).stderr
    assert re.search(r"--output: expected .*, found 'a.txt'", error)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(root, closed):
    command = [*COMMAND[:2], f"'{COMMAND[2]}'", "list", "runs", closed]
    process = subprocess.run(
        ["sh", "-c", " ".join(command)], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert (process.returncode, process.stderr) == (0, "")


def test_escape_sequences_are_escaped(run, hostile):
    check_escaped(run("show", "a", cwd=hostile).stdout)


@pytest.mark.slow
def test_escape_sequences_do_not_reach_the_terminal(hostile):
    check_escaped(run_on_terminal("show", "a", cwd=hostile, columns=80))


# compare


def test_compare(run, root):
    output = run("compare", "runs/run_1", "runs/run_2", "runs/run_10", cwd=root).stdout
    differences, scalars = output.split("\n\n")
    assert table(differences) == [
        ["metadata", "run_1", "run_2", "run_10"],
        ["config.optimizer.lr", "0.1", "0.01", "0.001"],
    ]
    assert table(scalars) == [
        ["scalar", "run_1", "run_2", "run_10"],
        ["test/accuracy last", "1", "0.91", "0.901"],
        ["test/accuracy min", "0.1", "0.01", "0.001"],
        ["test/accuracy max", "1", "0.91", "0.901"],
        ["train/loss last", "1", "0.1", "0.01"],
        ["train/loss min", "1", "0.1", "0.01"],
        ["train/loss max", "10", "1", "0.1"],
    ]


def test_compare_all_and_selected(run, root):
    output = run(
        "compare", "runs/run_1", "runs/run_2", "--all", "--metadata", "notes", "--tags", "*loss",
        cwd=root,
    ).stdout  # fmt: skip
    assert table(output)[1] == ["notes.by", "someone", "someone"]
    assert "accuracy" not in output


def test_compare_equal_and_absent(run, tmp_path):
    for name in ("x/run", "y/run"):
        Experiment(tmp_path / name, verbose=False).write_metadata("config", {"a": 1, "b": [1, 2]})
    assert run("compare", "x/run", "y/run", cwd=tmp_path).stdout == "No difference in metadata.\n"
    Experiment(tmp_path / "y/run", verbose=False).write_metadata(
        "config", {"a": 1, "b": [1], "c": "x"}
    )
    assert table(run("compare", "x/run", "y/run", cwd=tmp_path).stdout) == [
        ["metadata", "x/run", "y/run"],
        ["config.b", "[1, 2]", "[1]"],
        ["config.c", "-", "x"],
    ]


def test_compare_distinguishes_keys_with_one_name(run, tmp_path):
    for name, config in (("a", {1: "x"}), ("b", {"1": "x"})):
        Experiment(tmp_path / name, verbose=False).write_metadata("config", config)
    assert table(run("compare", "a", "b", cwd=tmp_path).stdout) == [
        ["metadata", "a", "b"],
        ["config.1", "x", "-"],
        ["config.'1'", "-", "x"],
    ]
    assert table(run("compare", "b", "a", cwd=tmp_path).stdout) == [
        ["metadata", "b", "a"],
        ["config.'1'", "x", "-"],
        ["config.1", "-", "x"],
    ]


def test_compare_distinguishes_a_dash_from_missing(run, tmp_path):
    for name, config in (("a", {"x": "-"}), ("b", {"y": 1})):
        Experiment(tmp_path / name, verbose=False).write_metadata("config", config)
    assert table(run("compare", "a", "b", cwd=tmp_path).stdout) == [
        ["metadata", "a", "b"],
        ["config.x", "'-'", "-"],
        ["config.y", "-", "1"],
    ]


def test_compare_distinguishes_none_from_missing(run, tmp_path):
    for name, config in (("kind", {"x": None}), ("b", {"y": 1})):
        Experiment(tmp_path / name, verbose=False).write_metadata("config", config)
    assert table(run("compare", "kind", "b", cwd=tmp_path).stdout) == [
        ["metadata", "./kind", "b"],
        ["config.x", "None", "-"],
        ["config.y", "-", "1"],
    ]


def test_compare_in_machine_readable_formats(run, root):
    arguments = ("compare", "runs/run_1", "runs/run_2", "--format", "json")
    rows = json.loads(run(*arguments, cwd=root).stdout)
    assert rows[0] == {
        "kind": "metadata", "name": "config.optimizer.lr", "run_1": 0.1, "run_2": 0.01,
    }  # fmt: skip
    assert rows[1]["name"] == "test/accuracy last"


def make_metadata(root, **texts):
    """Write a `config.yaml` by hand for each experiment."""
    for name, text in texts.items():
        (root / name).mkdir()
        (root / name / "config.yaml").write_text(text)


@pytest.mark.parametrize(
    ("a", "b", "cells"),
    [
        ("0.9999999991", "0.9999999992", ["0.9999999991", "0.9999999992"]),
        ("'1'", "1", ["'1'", "1"]),
        ("!!python/name:jax.nn.relu ''", "!!python/name:jax.nn.gelu ''", ["jax.nn.relu", "jax.nn.gelu"]),
        ("!!python/module:math ''", "!!python/module:cmath ''", ["math", "cmath"]),
        ("!!python/object:a.Adam {}", "!!python/object:a.Sgd {}", ["a.Adam", "a.Sgd"]),
        ("!!set {a, b}", "!!set {b, c}", ["['a', 'b']", "['b', 'c']"]),
    ],
)  # fmt: skip
def test_compare_and_list_distinguish_similar_values(run, tmp_path, a, b, cells):
    make_metadata(tmp_path, a=f"x: {a}\n", b=f"x: {b}\n")
    rows = table(run("compare", "a", "b", cwd=tmp_path).stdout)
    assert rows == [["metadata", "a", "b"], ["config.x", *cells]]
    listed = json.loads(run("list", "--columns", "x", "--format", "json", cwd=tmp_path).stdout)
    assert listed[0]["x"] != listed[1]["x"]
    assert "" not in (listed[0]["x"], listed[1]["x"])


@pytest.mark.parametrize(
    ("a", "b"), [("1", "1.0"), ("!!set {a, b}", "!!set {b, a}"), ("{a: 1, b: 2}", "{b: 2, a: 1}")]
)
def test_compare_ignores_equal_values(run, tmp_path, a, b):
    make_metadata(tmp_path, a=f"x: [{a}]\ny: {a}\n", b=f"x: [{b}]\ny: {b}\n")
    assert run("compare", "a", "b", cwd=tmp_path).stdout == "No difference in metadata.\n"


def test_compare_checks_every_value_of_a_long_array(run, tmp_path):
    a, b = np.arange(1001.0), np.arange(1001.0)
    b[500] += 1e-9
    for name, value in (("a", a), ("b", b), ("c", a.astype(np.float32))):
        Experiment(tmp_path / name, verbose=False).write_metadata("config", {"x": value})
    rows = table(run("compare", "a", "b", cwd=tmp_path).stdout)
    assert rows[1] == ["config.x", "[500]: 500.0", "[500]: 500.000000001"]
    rows = json.loads(run("compare", "a", "b", "--format", "json", cwd=tmp_path).stdout)
    assert rows == [{"kind": "metadata", "name": "config.x", "a": a.tolist(), "b": b.tolist()}]
    assert "float32" in run("compare", "a", "c", cwd=tmp_path).stdout
    rows = csv.DictReader(
        io.StringIO(run("compare", "a", "b", "--format", "csv", cwd=tmp_path).stdout)
    )
    assert [json.loads(row["b"]) for row in rows] == [b.tolist()]


def test_compare_shows_the_class_of_a_config(run, tmp_path):
    for name, config in (("a", Adam(0.1)), ("b", Adam(0.1)), ("c", Sgd(0.1))):
        Experiment(tmp_path / name, verbose=False).write_metadata("config", config)
    rows = table(run("compare", "a", "b", "c", cwd=tmp_path).stdout)
    assert rows == [["metadata", "a", "b", "c"], ["config", "Adam", "Adam", "Sgd"]]


def test_names_in_files_are_never_imported(run, tmp_path):
    make_metadata(tmp_path, a="x: !!python/name:this.s ''\n", b="x: !!python/module:this ''\n")
    assert "this.s" in run("compare", "a", "b", cwd=tmp_path).stdout
    assert "this.s" in run("list", "--columns", "x", cwd=tmp_path).stdout
    assert "this.s" in run("show", "a", cwd=tmp_path).stdout
    assert "this" not in sys.modules


def test_list_sorts_numpy_numbers_by_value(run, tmp_path):
    for number in (3, 20, 100):
        scalar = yaml.dump({"x": np.float32(number), "y": np.int64(number)})
        make_metadata(tmp_path, **{f"run_{number}": scalar})
    for column in ("x", "y"):
        options = ("--columns", column, "--sort", column, "--reverse", "--format", "json")
        listed = json.loads(run("list", *options, cwd=tmp_path).stdout)
        assert [row[column] for row in listed] == [100, 20, 3]


# scalars


def test_scalars_csv_contains_every_point_exactly(run, root):
    output = run("scalars", "runs/run_2", "--format", "csv", cwd=root).stdout
    rows = list(csv.reader(io.StringIO(output)))
    assert rows[0] == ["tag", "step", "wall_time", "value"]
    curves = Experiment(root / "runs/run_2", verbose=False).read_scalars()
    expected = [
        (tag, step, wall_time, value)
        for tag, curve in curves.items()
        for step, wall_time, value in zip(curve.step, curve.wall_time, curve.value, strict=True)
    ]
    assert [(tag, int(s), float(t), float(v)) for tag, s, t, v in rows[1:]] == expected
    assert len(expected) == 20


def test_scalars_json(run, tmp_path):
    with Experiment(tmp_path, verbose=False) as experiment:
        for step, value in enumerate([1.0, float("nan"), float("inf"), -float("inf")]):
            experiment.log(TensorboardLogData(scalars={"x": value}), step=step)
    curves = json.loads(run("scalars", tmp_path, "--format", "json").stdout)
    assert curves["x"]["step"] == [0, 1, 2, 3]
    assert curves["x"]["value"] == [1.0, "NaN", "Infinity", "-Infinity"]
    assert len(curves["x"]["wall_time"]) == 4


def test_scalars_table_of_some_tags(run, root):
    rows = table(run("scalars", "runs/run_1", "--tags", "train/*", cwd=root).stdout)
    assert rows[0] == ["tag", "step", "time", "value"]
    assert [row[0] for row in rows[1:]] == ["train/loss"] * 10
    assert [row[1] for row in rows[1:]] == [str(step) for step in range(0, 100, 10)]


def test_scalars_of_several(run, root):
    command = ("scalars", "runs/run_1", "runs/run_10", "--tags", "train/loss")
    rows = table(run(*command, cwd=root).stdout)
    assert rows[0] == ["name", "tag", "step", "time", "value"]
    assert [row[:2] for row in rows[1:]] == [
        [name, "train/loss"] for name in ("run_1", "run_10") for _ in range(10)
    ]
    exact = list(csv.DictReader(io.StringIO(run(*command, "--format", "csv", cwd=root).stdout)))
    curves = json.loads(run(*command, "--format", "json", cwd=root).stdout)
    for name in ("run_1", "run_10"):
        values = [float(row["value"]) for row in exact if row["name"] == name]
        assert values == curves[name]["train/loss"]["value"]
        curve = Experiment(root / "runs" / name, verbose=False).read_scalars()["train/loss"]
        assert values == curve.value.tolist()
    alone = run("scalars", "runs", "--sort", "name", "--limit", "1", "--format", "csv", cwd=root)
    assert alone.stdout.startswith("tag,step,wall_time,value\n")


def test_scalars_of_a_damaged_file(run, tmp_path):
    with Experiment(tmp_path, verbose=False) as experiment:
        for step in range(10):
            experiment.log(TensorboardLogData(scalars={"x": 1.0}), step=step)
    (path,) = tmp_path.glob("*tfevents*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    result = run("scalars", tmp_path, "--format", "csv")
    assert 8 <= len(result.stdout.splitlines()) <= 10
    assert result.stderr.startswith(f"fifteen: warning: {path}: ")
    assert result.stderr.count("\n") == 1


# move


def test_move(run, tmp_path):
    Experiment(tmp_path / "a", verbose=False).write_metadata("config", {"x": 1})
    assert run("move", "a", "deep/b", cwd=tmp_path).stdout == "Moved a to deep/b\n"
    assert not (tmp_path / "a").exists()
    moved = Experiment(tmp_path / "deep" / "b", verbose=False)
    assert moved.read_metadata("config", dict) == {"x": 1}


def test_move_into_a_directory(run, tmp_path):
    make_metadata(tmp_path, a="x: 1\n", b="x: 2\n", c="x: 3\n", archive="")
    (tmp_path / "archive" / "config.yaml").unlink()
    assert run("move", "a", "archive", cwd=tmp_path).stdout == "Moved a to archive/a\n"
    assert run("move", "b", "archive/", cwd=tmp_path).stdout == "Moved b to archive/b\n"
    assert run("move", "c", "new/", cwd=tmp_path).stdout == "Moved c to new/c\n"
    for moved in ("archive/a", "archive/b", "new/c"):
        assert (tmp_path / moved / "config.yaml").is_file()
    make_metadata(tmp_path, a="x: 4\n")
    error = run("move", "a", "archive/b", cwd=tmp_path, expect=1).stderr
    assert f"did you mean {tmp_path}/archive/b/a?" in error
    assert "clear" not in error
    assert "archive/a: exists already" in run("move", "a", "archive", cwd=tmp_path, expect=1).stderr
    assert (tmp_path / "archive" / "a" / "config.yaml").read_text() == "x: 1\n"


def test_move_several(run, tmp_path):
    make_metadata(tmp_path, a="x: 1\n", b="x: 2\n", c="x: 3\n", d="x: 4\n")
    assert run("move", "[ab]", "new/", cwd=tmp_path).stdout == (
        "Moved a to new/a\nMoved b to new/b\n"
    )
    run("move", ".", "new", "--where", "x == 3", cwd=tmp_path)
    assert sorted(os.listdir(tmp_path / "new")) == ["a", "b", "c"]
    assert sorted(os.listdir(tmp_path)) == ["d", "new"]
    make_metadata(tmp_path, a="x: 5\n")
    error = run("move", "a", "new/a", "d", "new2/", cwd=tmp_path, expect=1).stderr
    assert "several of them are called 'a'; take one of these at a time" in error
    assert not (tmp_path / "new2").exists()


# Unprintable names


HOSTILE = "\x1b[31mred\u202e\u2028 a b\n'\"[bold]✓日本"


def test_hostile_names_are_escaped(run, tmp_path):
    with Experiment(tmp_path / HOSTILE, verbose=False) as experiment:
        experiment.write_metadata("config", {HOSTILE: HOSTILE})
        experiment.write_metadata(f"{HOSTILE}2", {"x": 1})
        experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
        experiment.save_checkpoint({HOSTILE: 1.0}, step=1, prefix=f"{HOSTILE}_")
    make_metadata(tmp_path, b="x: 1\n")
    shown = r"\x1b[31mred\u202e\u2028 a b\n" + "'\"[bold]✓日本"
    for arguments, code in (
        (("list", "--columns", HOSTILE), 0),
        (("show", HOSTILE), 0),
        (("show", HOSTILE, "--leaves", "--prefix", f"{HOSTILE}_"), 0),
        (("compare", HOSTILE, "b"), 0),
        (("show", HOSTILE, "--metadata", "none"), 1),
        (("list", f"{HOSTILE}x"), 1),
        (("list", "--columns", f"{HOSTILE}x"), 1),
        (("move", HOSTILE, f"{HOSTILE}3"), 0),
    ):
        result = run(*arguments, cwd=tmp_path, expect=code)
        output = result.stdout + result.stderr
        assert r"\x1b[31mred\u202e\u2028 a b" in output, output
        assert shown in output or code
        assert not set("\x1b\u202e\u2028") & set(output)


@pytest.mark.slow
def test_names_outside_the_encoding_are_escaped(tmp_path):
    odd = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/run_\xff"))
    Experiment(odd, verbose=False).write_metadata("config", {"x": 1})
    Experiment(tmp_path / "run_é", verbose=False).write_metadata("config", {"x": 1})
    output = run_process("list", cwd=tmp_path, PYTHONIOENCODING="ascii").stdout
    assert [row[0] for row in table(output)] == ["name", r"run_\xe9", r"run_\udcff"]


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "absent"], "absent: expected a directory, found nothing"),
        (["list", "runs/run_1/config.yaml"], "expected a directory, found a file"),
        (["list", "runs", "--columns", "lrr"], "called 'lrr'; known: config.optimizer.name"),
        (["list", "runs", "--columns", "name"], "'name' is a column already; write more of the"),
        (["list", "runs", "--sort", "lrr"], "called 'lrr'; known: config.optimizer.name"),
        (["show", "runs"], "runs: no experiment, but it contains 3, such as run_1: "),
        (["scalars", "runs"], "runs: no experiment, but it contains 3, such as run_1: "),
        (["compare", "runs/run_1"], "runs/run_1: expected at least two experiments, found one"),
        (["compare", "runs", "--over", "sed"], "no experiment has a field called 'sed'"),
        (["list", "runs/none*"], "runs/none*: no directory matches this pattern"),
        (["list", "runs", "--where", "lrr < 1"], "called 'lrr'; known: config.optimizer.name"),
        (["show", "absent"], "absent: expected an experiment, found nothing"),
        (["show", "runs/run_1", "--metadata", "x"], "no metadata is called 'x'; known: config"),
        (["show", "runs/run_1", "--leaves", "--step", 3], "no checkpoint of step 3"),
        (["compare", "runs/run_1", "absent"], "absent: expected a directory, found nothing"),
        (["scalars", "runs/run_1", "--tags", "x*"], "no scalar is called 'x*'; known: test/acc"),
        (["move", "absent", "b"], "absent: expected an experiment, found nothing"),
        (["move", "a"], "expected what to move, and where to: fifteen move SRC DST"),
        (["move", "runs/run_*", "new"], "new: expected a directory for 3 experiments; write new/"),
        (["move", "runs", "new/"], "runs: no experiment, but it contains 3, such as run_1: "),
        (["note", "runs", "good"], "runs: no experiment, but it contains 3, such as run_1: "),
        (["note", "runs/run_1", "so", "good"], "expected one text, found 2: so, good; quote it"),
        (["scalars", "absent", "runs/run_1"], "absent: expected an experiment, found nothing"),
        (["move", "runs/run_1", "runs/run_2"], "exists already and is not an empty directory"),
        (["move", "runs/run_1", "runs/run_1/a"], "into itself"),
        (["list", "ftp://host/runs"], "ftp://host/runs: expected a path or an address that begins"),
        (["show", "ftp://host/run"], "ftp://host/run: expected a path or an address that begins"),
        (["compare", "runs/run_1", "ftp://host/run"], "ftp://host/run: expected a path or an addr"),
        (["move", "runs/run_1", "ftp://host/run"], "ftp://host/run: expected a path or an address"),
    ],
)
def test_errors_are_one_line(run, root, arguments, message):
    result = run(*arguments, cwd=root, expect=1)
    assert result.stdout == ""
    assert result.stderr.startswith("fifteen: error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["lst"],
        ["unarchive"],
        ["archive", "a"],
        ["list", "--format", "xml"],
        ["doctor", "a", "b"],
    ],
)
def test_wrong_usage(run, arguments, tmp_path):
    result = run(*arguments, cwd=tmp_path, expect=2)
    assert result.stdout == ""
    assert "--help" in result.stderr


@pytest.mark.parametrize(
    ("mixed", "ordered"),
    [
        ("plot runs --smooth 0.5 train/loss", "plot runs train/loss --smooth 0.5"),
        ("verify . --where step>0 runs --limit 1 .", "verify . runs . --where step>0 --limit 1"),
        ("scalars --limit 1 runs runs/run_2", "scalars runs runs/run_2 --limit 1"),
        ("plot --smooth 0.5 train/loss runs", "plot runs train/loss --smooth 0.5"),
        ("plot --smooth 0.5 runs --log-x train/loss", "plot runs train/loss --smooth 0.5 --log-x"),
        ("plot train/loss runs test/*", "plot runs train/loss test/*"),
    ],
)
def test_directories_and_tags_may_follow_options(run, root, mixed, ordered):
    expected = run(*ordered.split(), cwd=root)
    assert expected.stdout
    assert run(*mixed.split(), cwd=root).stdout == expected.stdout


def test_directory_may_be_named_like_the_value_of_an_option(run, root, tmp_path):
    shutil.copytree(root / "runs", tmp_path / "lr")
    expected = run("plot", "lr", "train/loss", "--sort", "lr", cwd=tmp_path).stdout
    assert run("plot", "lr", "--sort", "lr", "train/loss", cwd=tmp_path).stdout == expected


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("list --columns lr runs", "list runs --columns lr"),
        (
            "show --limit 1 --metadata config runs/run_1",
            "show runs/run_1 --limit 1 --metadata config",
        ),
        ("note --tag paper runs/run_1", "note runs/run_1 --tag paper"),
        (
            "note --tag a --tag b runs/run_1 good --limit 1",
            "note runs/run_1 good --tag a b --limit 1",
        ),
    ],
)
def test_error_says_where_directories_come(run, root, tmp_path, wrong, right):
    shutil.copytree(root / "runs", tmp_path / "runs")
    error, note = run(*wrong.split(), cwd=tmp_path, expect=1).stderr.splitlines()
    assert error.startswith("fifteen: error: ")
    assert note == f"fifteen: note: directories come before options: fifteen {right}"
    run(*right.split(), cwd=tmp_path)


def test_names_of_a_repeated_option_are_joined(run, root, tmp_path):
    shutil.copytree(root / "runs" / "run_1", tmp_path / "a")
    (tmp_path / "a" / "notes.yaml").unlink()
    run("note", "--tag=u", "--tag=v", "a", "good", "--tag", "x", "y", "--tag", "z", cwd=tmp_path)
    notes = Experiment(tmp_path / "a", verbose=False).read_metadata("notes")
    assert notes == {"note": "good", "tags": ["u", "v", "x", "y", "z"]}
    options = ("--limit", "2", "--format", "csv")
    twice = run("list", "--columns", "lr", *options, "--columns", "size", cwd=root).stdout
    assert twice == run("list", "--columns", "lr", "size", *options, cwd=root).stdout


def test_text_of_a_note_comes_last(run, root, tmp_path):
    shutil.copytree(root / "runs" / "run_1", tmp_path / "a")
    before = (tmp_path / "a" / "notes.yaml").read_bytes()
    error = run("note", "b", "a", cwd=tmp_path, expect=1).stderr
    assert error == (
        "fifteen: error: b: expected an experiment, found nothing; the text comes last\n"
    )
    assert (tmp_path / "a" / "notes.yaml").read_bytes() == before


def test_unknown_option_is_reported_among_directories(run, root):
    result = run("list", "--limit", "1", "runs", "--lmit", "2", cwd=root, expect=2)
    assert "--lmit" in result.stderr


def test_closed_pipe_ends_the_command_quietly(tmp_path):
    with Experiment(tmp_path, verbose=False) as experiment:
        steps = np.arange(20_000)
        experiment.log(TensorboardLogData(scalars={"x": np.sqrt(steps)}), step=steps)
    process = subprocess.Popen(
        [*COMMAND, "scalars", str(tmp_path), "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"tag,step,wall_time,value\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


def test_interrupt(run, tmp_path, monkeypatch):
    def interrupt(root):
        raise KeyboardInterrupt

    monkeypatch.setattr("fifteen.experiments._experiments.find_paths", interrupt)
    assert run("list", cwd=tmp_path, expect=130) == ("", "")


def test_internal_error_is_not_hidden(run, tmp_path, monkeypatch):
    def fail(root):
        raise ZeroDivisionError

    monkeypatch.setattr("fifteen.experiments._experiments.find_paths", fail)
    with pytest.raises(ZeroDivisionError):
        run("list", cwd=tmp_path)


def test_expression_error_points_at_the_mistake(run, root):
    for option in ("--where", "--sort"):
        assert run("list", "runs", option, "min(loss) < < \x1b", cwd=root, expect=1) == (
            "",
            "fifteen: error: this cannot be parsed\n"
            r"  min(loss) < < \x1b" "\n"
            "                ^\n",
        )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        *("list", "compare", "plot", "view", "report", "prune", "rm", "verify"),
        "export --output points.csv",
    ],
)
def test_expressions_are_the_same_language_everywhere(run, root, command):
    with pytest.raises(ExpressionError) as caught:
        find_experiments(root / "runs").where("config.lr < < 1")
    result = run(*command.split(), "runs", "--where", "config.lr < < 1", cwd=root, expect=1)
    assert result == ("", f"fifteen: error: {caught.value}\n")


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch owned')",
        "open('owned', 'w')",
        "1 if x else 2",
        "(" * 500,
        "lr < 1,",
    ],
)
def test_hostile_expressions_are_refused(run, root, expression):
    assert run("list", "runs", "--where", expression, cwd=root, expect=1).stdout == ""
    assert not (root / "owned").exists()


@pytest.mark.parametrize(
    "command",
    [
        *("list", "compare", "plot", "view", "report", "verify", "prune", "rm", "watch --all"),
        *("export --output points.csv",),
    ],
)
def test_commands_about_many_take_the_same_selection(run, root, tmp_path, command):
    arguments = [*command.split(), root / "runs"]

    def told(*more):
        expect = int(command not in ("list", "watch --all") or more[0] == "--limit")
        return run(*arguments, *more, cwd=tmp_path, expect=expect).stderr

    if command != "view":  # `view` keeps running: experiments may appear.
        assert "'lr > 9' is true of no experiment below" in told("--where", "lr > 9")
    assert told("--limit", "0") == "fifteen: error: --limit: expected at least 1, found 0\n"
    error = run(*command.split(), "no*", cwd=tmp_path, expect=1).stderr
    assert error == "fifteen: error: no*: no directory matches this pattern; try it with `ls -d`\n"
    error = run(*arguments, "--where", "lr <", cwd=tmp_path, expect=1).stderr
    assert error.rstrip().endswith("^")
    error = run(*arguments, "--sort", "nonsense", cwd=tmp_path, expect=1).stderr
    assert "no experiment has metadata or a scalar called 'nonsense'" in error


def test_list_filters_sorts_and_limits(run, root):
    for arguments, expected in (
        (["--where", "lr < 0.05"], ["run_2", "run_10"]),
        (["--where", "lr < 0.05", "--sort", "min(loss)", "--limit", "1"], ["run_10"]),
        (["--where", "status == 'finished' and step == 90"], ["run_1", "run_2", "run_10"]),
        (["--sort", "lr", "--reverse"], ["run_1", "run_2", "run_10"]),
    ):
        output = run("list", "runs", *arguments, cwd=root).stdout
        assert [name for (name,) in columns(output, "name")] == expected
    result = run("list", "runs", "--where", "lr > 5", cwd=root)
    assert result == (
        "",
        "fifteen: 'lr > 5' is true of no experiment below runs; relax it\n",
    )


def test_total_of_steps_may_be_given(run, root):
    output = run("list", "runs/run_1", "--total", "182", cwd=root).stdout
    assert columns(output, "step", "progress") == [["90", "50%"]]
    for command in ("list", "watch"):
        for total in ("0", "-1", "nan", "inf"):
            error = run(command, "runs", "--total", total, cwd=root, expect=1).stderr
            assert error == f"fifteen: error: --total: expected a number of steps, found {total}\n"


def test_list_of_several_roots_and_globs(run, root):
    output = run("list", "runs/run_1*", "runs/run_2", "runs/run_1", cwd=root).stdout
    assert [name for (name,) in columns(output, "name")] == ["run_1", "run_10", "run_2"]


def test_list_as_markdown(run, root):
    lines = run("list", "runs", "--columns", "lr", "--format", "md", cwd=root).stdout.splitlines()
    assert lines[0] == "| name | status | step | lr | checkpoints | size | age |"
    assert lines[1] == "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    assert lines[2].startswith("| run_1 | finished | 90 | 0.1 | 3 | ")


def test_names_are_escaped_in_a_document(run, tmp_path):
    Experiment(tmp_path / "runs" / "<b>a|*b*", verbose=False).write_metadata("config", {"lr": 1})
    output = run("list", "runs", "--format", "md", cwd=tmp_path).stdout
    assert "| \\<b>a\\|\\*b\\* |" in output


@pytest.mark.slow
def test_list_omits_the_least_informative_columns(root):
    for width, gone in ((90, {"age", "size"}), (60, {"age", "size", "checkpoints"})):
        output = run_on_terminal("list", "runs", "--columns", "size", cwd=root, columns=width)
        assert "size" in output
        output = run_on_terminal("list", "runs", cwd=root, columns=width)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
        head = plain.split("\n")[0].split()
        assert not gone & set(head)
        assert "name" in head
        told = re.search(r"Not shown: (.*?)\s+\(too\s+narrow", plain, re.DOTALL)[1]
        assert gone <= set(re.split(r",\s+", told))
    assert "Not shown" not in run_on_terminal("list", "runs", cwd=root, columns=200)


@pytest.mark.slow
def test_list_keeps_the_status_and_informative_columns(tmp_path):
    for number in range(3):
        with Experiment(tmp_path / f"run_{number}", verbose=False) as experiment:
            config = {"learning_rate": 1 / (number + 3), "seed": number, "weight_decay": number}
            experiment.write_metadata("config", config)
            scalars = dict.fromkeys(("train/loss", "train/accuracy", "test/loss"), 1 / (number + 3))
            experiment.log(TensorboardLogData(scalars=scalars), step=1)
    output = run_on_terminal("list", cwd=tmp_path, columns=80)
    head = re.sub(r"\x1b\[[0-9;]*m", "", output).split("\n")[0].split()
    assert "config.learning_rate" in head, output
    assert head == ["name", "status", "step", "config.learning_rate", "test/loss", "train/accuracy"]


@pytest.mark.slow
def test_list_keeps_the_status_beside_a_long_name(tmp_path):
    with Experiment(tmp_path / ("long" * 25), verbose=False) as experiment:
        experiment.write_metadata("config", {"optimizer": {"learning_rate": 0.1}})
        experiment.log(TensorboardLogData(scalars={"validation/accuracy_top_5": 0.5}), step=1)
    with Experiment(tmp_path / "short", verbose=False) as experiment:
        experiment.write_metadata("config", {"optimizer": {"learning_rate": 0.2}})
    output = re.sub(r"\x1b\[[0-9;]*m", "", run_on_terminal("list", cwd=tmp_path, columns=80))
    assert output.split("\n")[0].split() == ["name", "status", "step", "validation/accuracy_top_5"]
    assert max(map(len, output.splitlines())) <= 80
    assert "long" * 25 in "".join(line.split(" ")[0] for line in output.splitlines()[1:])


@pytest.mark.slow
def test_list_shows_what_fits_beside_a_long_status(tmp_path):
    experiment = Experiment(tmp_path / "with_augmentation", verbose=False)
    experiment.log(TensorboardLogData(scalars={"loss": 0.5}), step=1)
    experiment.__exit__(ValueError, ValueError("expected something else"), None)
    output = re.sub(r"\x1b\[[0-9;]*m", "", run_on_terminal("list", cwd=tmp_path, columns=39))
    assert output.split("\n")[0].split() == ["name", "step", "loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["compare"], ["list", "--all"], ["list", "--columns", *(f"x{n}" for n in range(12))]],
)
def test_wide_output_continues_in_another_table(tmp_path, arguments):
    for number in range(12):
        with Experiment(tmp_path / f"run_{number}", verbose=False) as experiment:
            config = {f"x{n}": 1000.25 * number + n for n in range(12)}
            experiment.write_metadata("config", config)
    output = run_on_terminal(*arguments, cwd=tmp_path, columns=80)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    assert max(map(len, plain.splitlines())) <= 80
    words = set(plain.split())
    # No value is missing, and no number is wrapped.
    assert {f"{1000.25 * number + n:.6g}" for number in range(12) for n in range(12)} <= words
    assert {f"run_{number}" for number in range(12)} <= words


def test_compare_over_seeds(run, tmp_path):
    for number, (rate, seed) in enumerate([(0.1, 0), (0.1, 1), (0.1, 2), (0.01, 0), (0.01, 1)]):
        with Experiment(tmp_path / f"run_{number}", verbose=False) as experiment:
            experiment.write_metadata("config", {"lr": rate, "seed": seed})
            experiment.write_metadata("results", {"loss": number})
            experiment.log(TensorboardLogData(scalars={"loss": rate * (seed + 1)}), step=1)
            if number == 1:
                experiment.log(TensorboardLogData(scalars={"rare": 7.0}), step=1)
    command = ("compare", ".", "--over", "seed", "--metadata", "config")
    differences, scalars = run(*command, cwd=tmp_path).stdout.split("\n\n")
    labels = ["lr=0.1 (n=3)", "lr=0.01 (n=2)"]
    assert table(differences) == [["metadata", *labels], ["config.lr", "0.1", "0.01"]]
    assert table(scalars)[:2] == [
        ["scalar", *labels],
        ["loss last", "0.2 ± 0.1", "0.015 ± 0.0071"],
    ]
    assert table(scalars)[4] == ["rare last", "7 (n=1)", "-"]


def test_compare_over_seeds_in_machine_readable_formats(run, tmp_path):
    results = {}
    for number, (rate, seed) in enumerate([(0.1, 0), (0.1, 1), (0.1, 2), (0.01, 0), (0.01, 1)]):
        with Experiment(tmp_path / f"run_{number}", verbose=False) as experiment:
            experiment.write_metadata("config", {"lr": rate, "seed": seed})
            experiment.write_metadata("results", {"score": number**2, "host": f"h{number}"})
            experiment.log(TensorboardLogData(scalars={"loss": rate * (seed + 1)}), step=1)
        results.setdefault(rate, []).append((number**2, float(np.float32(rate * (seed + 1)))))
    csv_rows, json_rows = (
        run("compare", "--over", "seed", "--format", format, cwd=tmp_path).stdout
        for format in ("csv", "json")
    )
    labels = ["lr=0.1 (n=3)", "lr=0.01 (n=2)"]
    shown = {row.pop("name"): row for row in json.loads(json_rows)}
    for name, index in (("results.score", 0), ("loss last", 1)):
        for label, values in zip(labels, results.values(), strict=True):
            column = [value[index] for value in values]
            assert shown[f"{name} mean"][label] == np.mean(column)
            assert shown[f"{name} std"][label] == np.std(column, ddof=1)
            assert shown[f"{name} n"][label] == len(column)
    assert shown["results.host"] == {"kind": "metadata", **dict.fromkeys(labels, "differs")}
    header, *rows = csv.reader(io.StringIO(csv_rows))
    assert header == ["kind", "name", *labels]
    assert len(rows) == len(shown)
    for _, name, *texts in rows:
        assert texts == [str(shown[name][label]) for label in labels]


def test_compare_over_seeds_groups_no_unreadable_experiment(run, tmp_path):
    for number in range(4):
        (tmp_path / f"run_{number}").mkdir()
        broken = "lr: [1," if number > 1 else f"lr: 0.1\nseed: {number}"
        (tmp_path / f"run_{number}" / "config.yaml").write_text(broken)
    (tmp_path / "run_4").mkdir()
    (tmp_path / "run_4" / "config.yaml").write_text("lr: 0.2\nseed: 0")
    output = run("compare", "--over", "seed", cwd=tmp_path, expect=1).stdout
    assert table(output)[0] == ["metadata", "run_0 (n=2)", "run_2", "run_3", "run_4"]


# Help, and terminals


FAST = """
import sys
from fifteen.cli import main
try:
    code = main()
except SystemExit as end:
    code = end.code
assert not code
assert not [name for name in ("jax", "typeguard", "boto3") if sys.modules.get(name)]
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "list --columns optimizer.lr train/loss:min",
        "show runs/run_1",
        "show runs/run_1 --leaves",
        "compare runs/run_1 runs/run_2",
        "scalars runs/run_1",
        "watch runs --all",
        "view --help",
        "report runs --output {copy}.html",
        "move {copy} {copy}_moved",
    ],
)
def test_commands_import_nothing_slow(root, tmp_path, arguments):
    copy = shutil.copytree(root / "runs" / "run_1", tmp_path / "copy")
    output = subprocess.run(
        [sys.executable, "-c", FAST, *arguments.format(copy=copy).split()],
        cwd=root, check=True, capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    assert output
    for command in ("list", "show", "compare", "scalars", "plot", "move"):
        assert arguments != "--help" or re.search(rf"\n│ +(• )?{command} ", output)


def test_command_summaries_match_their_help():
    from fifteen.cli import _main

    for name, summary in _main._COMMANDS.items():
        assert _main._load(name).__doc__.splitlines()[0] == summary


def test_help_is_wrapped_only_by_the_terminal(run, monkeypatch):
    from fifteen.cli import _main

    monkeypatch.setenv("COLUMNS", "400")
    checked = 0
    for name in _main._COMMANDS:
        shown = run(name, "--help").stdout
        _, _, arguments = inspect.getdoc(_main._load(name)).partition("Args:")
        for line in re.findall(r"^ {4}(?!selection:)\w+: (.*)$", arguments, re.MULTILINE):
            assert line in shown, name
            checked += 1
    assert checked > 40


def test_help_imports_neither_numpy_nor_the_library():
    script = (
        "import sys\nfrom fifteen.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'numpy', 'yaml', 'fifteen.experiments'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_completion(run):
    script = run("--tyro-print-completion", "bash", expect=None).stdout
    assert "--where" in script


def test_version(run):
    import fifteen

    assert run("--version").stdout == f"fifteen {fifteen.__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--columns", "optimizer.lr", "test/accuracy:max"],
        ["show", "runs/run_1", "--leaves"],
        ["compare", "runs/run_1", "runs/run_2", "runs/run_10"],
    ],
)
def test_output_fits_the_terminal(root, columns, arguments):
    output = run_on_terminal(*arguments, cwd=root, columns=columns)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    assert max(map(len, plain.splitlines())) <= columns
    assert "run_1" in plain
    assert "…" not in plain


@pytest.mark.slow
def test_wide_columns_are_wrapped(root):
    output = run_on_terminal("list", "runs", cwd=root, columns=40)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    assert "\n\n" not in plain
    for word in ("name", "step", "run_1", "90"):
        assert word in plain


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{}, {"COLUMNS": "20"}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}, {"LC_ALL": "C"}],
)
def test_output_is_independent_of_the_environment(run, root, environment):
    arguments = ("compare", "runs")
    expected = run(*arguments, cwd=root).stdout
    assert run_process(*arguments, cwd=root, **environment).stdout == expected


# Subprocesses


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["compare", "runs/run_1", "runs/run_2"], 0), (["show", "absent"], 1)],
)
def test_subprocess_output_matches_main(run, root, arguments, code):
    expected = run(*arguments, cwd=root, expect=code)
    assert run_process(*arguments, cwd=root, expect=code) == expected


def test_subprocess_with_wrong_usage(tmp_path):
    assert "fifteen archive --help" in run_process("archive", cwd=tmp_path, expect=2).stderr


def test_installed_command():
    (script,) = entry_points(group="console_scripts", name="fifteen")
    assert script.load() is main


@pytest.mark.slow
def test_list_of_many(run, tmp_path):
    for number in range(2000):
        (tmp_path / f"run_{number}").mkdir()
        (tmp_path / f"run_{number}" / "config.yaml").write_text(f"lr: {number}\n")
    start = time.monotonic()
    output = run("list", "--format", "csv", cwd=tmp_path).stdout
    assert output.splitlines()[-1].startswith("run_1999,")
    assert time.monotonic() - start < 60
