"""Experiments: many experiments at once."""

import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from fifteen.cli import main
from fifteen.experiments import (
    Experiment,
    Experiments,
    ExperimentWarning,
    ExpressionError,
    LogDataError,
    MissingExtraError,
    TensorboardLogData,
    find_experiments,
)
from fifteen.experiments._missing import ABSENT, UNREADABLE
from fifteen.view._columns import best_of


@pytest.fixture
def root(tmp_path):
    """Four runs with two rates and two seeds; one has no scalars, one diverged."""
    for number, (rate, seed) in enumerate([(0.1, 0), (0.1, 1), (0.01, 0), (0.01, 1)]):
        with Experiment(tmp_path / f"run_{number}", verbose=False) as experiment:
            experiment.write_metadata(
                "config", {"lr": rate, "seed": seed, "layers": [64], "name": "adam"}
            )
            if number == 3:
                continue
            for step in range(5):
                loss = math.nan if number == 1 and step > 2 else rate * (5 - step)
                scalars = {"train/loss": loss, "test/accuracy": step / 10}
                experiment.log(TensorboardLogData(scalars=scalars), step=step)
    return tmp_path


def names(experiments):
    return [experiment.data_dir.name for experiment in experiments]


def test_experiments_is_a_sequence(root):
    found = find_experiments(root)
    assert isinstance(found, Experiments)
    assert len(found) == 4
    assert names(found) == ["run_0", "run_1", "run_2", "run_3"]
    assert found[1].data_dir.name == "run_1"
    assert found[-1] == found[3]
    assert found[np.int64(0)] == found[0]
    assert isinstance(found[1:3], Experiments)
    assert names(found[1:3]) == ["run_1", "run_2"]
    assert found == list(found)
    assert list(found) == found
    assert found != found[1:]
    assert found[0] in found
    assert names(reversed(found))[0] == "run_3"
    assert found.index(found[2]) == 2
    assert names(found[:1] + found[3:]) == ["run_0", "run_3"]
    assert names(found[:1].__add__([found[2]])) == ["run_0", "run_2"]
    assert repr(found) == "<4 experiments: run_0, run_1, run_2, ...>"
    assert repr(found[:0]) == "<0 experiments>"
    with pytest.raises(IndexError):
        found[4]
    with pytest.raises(TypeError):
        found["run_0"]
    with pytest.raises(TypeError):
        hash(found)


def test_experiments_can_be_built_from_any_iterable(root):
    experiments = Experiments(
        Experiment(root / f"run_{number}", verbose=False) for number in (2, 0)
    )
    assert experiments.values("name") == ["run_2", "run_0"]
    assert Experiments([]).where("anything > 1") == []


def test_where(root):
    found = find_experiments(root)
    assert names(found.where("config.lr < 0.05")) == ["run_2", "run_3"]
    assert names(found.where("lr < 0.05 and min(train/loss) < 1")) == ["run_2"]
    assert names(found.where("config.lr < 0.1 and min(train/loss) < 0.5")) == ["run_2"]
    assert names(found.where("not exists(loss)")) == ["run_3"]
    assert names(found.where("name == 'run_1' or matches(name, '*_3')")) == ["run_1", "run_3"]
    assert names(found.where("config.name == 'adam'")) == names(found)
    assert names(found.where("min(loss) < 0.35 and max(loss) > 0.45")) == ["run_0", "run_1"]
    assert names(found.where("step >= 4 and size > 0 and age < 1e6 and checkpoints == 0")) == [
        "run_0", "run_1", "run_2",
    ]  # fmt: skip


def test_where_error_lists_existing_names(root):
    known = r"called 'lrr'; known: config\.lr, .*train/loss.*; did you mean 'config.lr'\?$"
    with pytest.raises(ExpressionError, match=known):
        find_experiments(root).where("lrr < 1")
    with pytest.raises(ExpressionError, match="cannot be parsed"):
        find_experiments(root).where("lr <")


def test_ambiguous_names(tmp_path):
    experiment = Experiment(tmp_path / "a", verbose=False)
    experiment.write_metadata("config", {"a": {"x": 1}, "b": {"x": 2}})
    with pytest.raises(ExpressionError, match=r"'x' is ambiguous: config\.a\.x, config\.b\.x"):
        find_experiments(tmp_path).where("x < 1")


def test_fields_of_a_sweep_exclude_experiments_below(tmp_path):
    sweep = Experiment(tmp_path / "sweep", verbose=False)
    sweep.write_metadata("config", {"lr": 1})
    sweep.write_metadata("results/best", {"seed": 7})
    with Experiment(tmp_path / "sweep" / "run", verbose=False) as run:
        run.write_metadata("config", {"lr": 2})
        run.write_metadata("eval/step_1", {"accuracy": 1})
        run.log(TensorboardLogData(scalars={"loss": 1.0}), 1)
    found = find_experiments(tmp_path)
    assert found.values("lr") == [1, ABSENT, 2]
    assert [list(field.metadata()) for field in found.fields] == [
        ["config.lr"], ["best.seed"], ["config.lr", "eval/step_1.accuracy"],
    ]  # fmt: skip


def test_sort(root):
    found = find_experiments(root)
    assert names(found.sort("min(loss)")) == ["run_2", "run_0", "run_1", "run_3"]
    assert names(found.sort("loss")) == ["run_2", "run_0", "run_1", "run_3"]
    assert names(found.sort("loss", reverse=True)) == ["run_0", "run_2", "run_1", "run_3"]
    assert names(found.sort("lr * 10 + seed")) == ["run_2", "run_0", "run_3", "run_1"]
    assert names(found.sort(lambda experiment: experiment.data_dir.name, reverse=True)) == [
        "run_3", "run_2", "run_1", "run_0",
    ]  # fmt: skip
    assert names(found.sort("name", reverse=True))[0] == "run_3"


def test_sort_by_values_of_all_kinds(tmp_path):
    values = [[64, 8], "b", 2, None, [8, 64], -1.5, math.nan, "run_10", True, "run_9", math.inf, -3]
    for number, value in enumerate(values):
        Experiment(tmp_path / f"{number}", verbose=False).write_metadata("config", {"x": value})
    Experiment(tmp_path / "without", verbose=False).write_metadata("other", {"y": 1})
    known = [-3, -1.5, True, 2, math.inf, "b", "run_9", "run_10", [8, 64], [64, 8]]
    found = find_experiments(tmp_path)
    assert repr(found.sort("x").values("x")) == repr([*known, math.nan, None, ABSENT])
    assert repr(found.sort("x", reverse=True).values("x")) == repr(
        [*known[::-1], math.nan, None, ABSENT]
    )


def test_sort_by_a_function(root):
    found = find_experiments(root)[:3]
    steps = dict(zip(found, (np.int32(-2), np.float32("nan"), np.int64(-10)), strict=True))
    assert names(found.sort(lambda run: steps[run])) == ["run_2", "run_0", "run_1"]
    pairs = dict(zip(found, ((1, -2), (0, 5), (1, -10)), strict=True))
    assert names(found.sort(pairs.__getitem__)) == ["run_1", "run_2", "run_0"]


def test_values(root):
    found = find_experiments(root)
    assert found.values("lr") == [0.1, 0.1, 0.01, 0.01]
    losses = found.values("loss:min")
    assert losses[:3] == pytest.approx([0.1, 0.3, 0.01])
    assert losses[3] is ABSENT
    assert found.values("min(loss)")[:3] == losses[:3]
    assert found.differing_fields() == ["config.lr", "config.seed"]


def test_tags_and_notes(root):
    Experiment(root / "run_0", verbose=False).write_metadata(
        "notes", {"note": "the best so far", "tags": ["paper"]}
    )
    found = find_experiments(root)
    assert names(found.where("'paper' in tags")) == ["run_0"]
    assert found.values("tags") == [["paper"], [], [], []]
    assert found.values("note")[:2] == ["the best so far", ABSENT]
    assert found.differing_fields() == ["config.lr", "config.seed"]


def test_to_pandas(root):
    frame = find_experiments(root).to_pandas()
    assert frame.index.tolist() == ["run_0", "run_1", "run_2", "run_3"]
    assert frame["config.lr"].tolist() == [0.1, 0.1, 0.01, 0.01]
    assert frame["train/loss:min"].tolist()[:3] == pytest.approx([0.1, 0.3, 0.01])
    assert frame["test/accuracy:max"].tolist()[:3] == pytest.approx([0.4] * 3)
    assert frame["status"].tolist() == ["finished", "diverged", "finished", "unknown"]
    assert math.isnan(frame["train/loss:last"]["run_1"])
    assert math.isnan(frame["train/loss:last"]["run_3"])
    assert frame["config.layers"].tolist() == [[64]] * 4
    assert frame["problem"].isna().all()


def test_scalars(root):
    frame = find_experiments(root).scalars(["train/*"])
    assert list(frame.columns) == [
        "name", "config.lr", "config.seed", "tag", "step", "wall_time", "value",
    ]  # fmt: skip
    assert len(frame) == 15
    assert set(frame["tag"]) == {"train/loss"}
    second = frame[frame["name"] == "run_2"]
    assert second["step"].tolist() == [0, 1, 2, 3, 4]
    assert second["value"].tolist() == pytest.approx([0.05, 0.04, 0.03, 0.02, 0.01])
    assert set(second["config.lr"]) == {0.01}
    assert len(find_experiments(root).scalars()) == 30
    assert len(find_experiments(root).scalars(["none"])) == 0
    with pytest.raises(LogDataError, match="expected several tags"):
        find_experiments(root).scalars("train/*")


def test_globs_work_as_in_read_scalars_and_the_command_line(root, capsys):
    with Experiment(root / "run_0", verbose=False) as run:
        run.log(TensorboardLogData({"train/loss[0]": 1, "b": 2, "train/a/b": 3}), 9)
    for tags in (["train/*"], ["*/loss*", "b"], ["train/loss[0]"], ["t?st/*"], ["[bt]*"]):
        read = set(run.read_scalars(tags))
        frame = find_experiments(root).where("name == 'run_0'").scalars(tags)
        assert set(frame["tag"]) == read != set()
        assert main(["scalars", str(root / "run_0"), "--format", "json", "--tags", *tags]) == 0
        assert set(json.loads(capsys.readouterr().out)) == read


@pytest.mark.slow
def test_nothing_is_cached_on_disk(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    script = f"""
from fifteen.experiments import find_experiments
found = find_experiments({str(root)!r}).load()
found.where("lr < 1 and min(loss) < 9").sort("loss").to_pandas()
found.scalars(), found._repr_html_()
"""
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    environment = os.environ | {"HOME": str(home), "TMPDIR": str(home), "MPLCONFIGDIR": str(root)}
    environment.pop("XDG_CACHE_HOME", None)
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, env=environment)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert list(home.rglob("*")) == []


UNKNOWN_OF_READABLE = (
    r"^no experiment whose files can be read has metadata or a scalar called 'absent'; "
    r"known: .*loss.*; unreadable: run_0$"
)


def test_unreadable_values_are_marked(root):
    (root / "run_0" / "config.yaml").write_text("lr: [1,")
    os.truncate(next((root / "run_2").glob("*tfevents*")), 0)
    found = find_experiments(root)
    assert found.values("lr") == [UNREADABLE, 0.1, 0.01, 0.01]
    assert found.values("min(loss)")[:2] == pytest.approx([0.1, 0.3])
    with pytest.warns(ExperimentWarning, match=UNKNOWN_OF_READABLE):
        assert found.values("absent")[0] is UNREADABLE
    with pytest.warns(ExperimentWarning, match=UNKNOWN_OF_READABLE) as caught:
        assert names(found.where("lr < 1 and absent < 1")) == []
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(ExperimentWarning, match=UNKNOWN_OF_READABLE):
        assert names(found.sort("absent * 2"))[0] == "run_0"
    assert found[:1].values("absent") == [UNREADABLE]  # Of which nobody knows anything.
    assert names(found.where("lr < 1")) == ["run_1", "run_2", "run_3"]
    assert names(found.sort("lr", reverse=True)) == ["run_1", "run_2", "run_3", "run_0"]
    frame = found.to_pandas()
    assert "config.yaml" in frame["problem"]["run_0"]
    assert math.isnan(frame["config.lr"]["run_0"])


def test_deleted_experiments_are_marked(root):
    found = find_experiments(root)
    found[2].clear()
    assert found.values("step") == [4, 4, UNREADABLE, ABSENT]
    assert found.values("lr") == [0.1, 0.1, UNREADABLE, 0.01]
    assert len(found.to_pandas()) == 4


def test_values_are_read_once(root):
    found = find_experiments(root)
    assert found.values("lr")[0] == 0.1
    Experiment(root / "run_0", verbose=False).write_metadata("config", {"lr": 5})
    assert found.where("lr > 0").values("lr")[0] == 0.1
    assert find_experiments(root).values("lr")[0] == 5


def test_missing_pandas_error_names_the_extra(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for ask in (find_experiments(root).to_pandas, find_experiments(root).scalars):
        with pytest.raises(MissingExtraError, match=r"pip install 'fifteen\[pandas\]'"):
            ask()


@pytest.mark.slow
@pytest.mark.parametrize("ended", ["SIG_DFL", "SIG_IGN"])
def test_many_experiments_are_read_in_several_processes(root, ended):
    (root / "run_0" / "config.yaml").write_text("lr: [1,")
    (root / "run_2" / "notes.yaml").write_text("note: [1,")
    script = f"""
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.{ended})
from fifteen.experiments import _loading, find_experiments
read = _loading._read
_loading._read = lambda fields: [one | {{"process": os.getpid()}} for one in read(fields)]
os.sched_getaffinity = lambda pid: {{0, 1}}
_loading._MIN_PARALLEL = 2
alone, together = find_experiments({str(root)!r}), find_experiments({str(root)!r})
together.load()
assert os.getpid() not in {{field.process for field in together.fields}}
assert together == alone
assert [len(field.problems) for field in together.fields] == [1, 0, 0, 0]
for name in ("lr", "loss", "min(loss)", "status", "step", "diverged_at", "tags"):
    assert repr(together.values(name)) == repr(alone.values(name)), name
assert [f.problems for f in together.fields] == [f.problems for f in alone.fields]
assert together.fields[0].problems
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_experiments_of_a_killed_process_are_read_later(root):
    script = f"""
import os, signal
from fifteen.experiments import _loading, find_experiments
parent, read = os.getpid(), _loading._read
def die_in_the_second(fields):
    if os.getpid() != parent and fields[0].name == "run_1":
        os.kill(os.getpid(), signal.SIGKILL)
    return read(fields)
_loading._read = die_in_the_second
os.sched_getaffinity = lambda pid: {{0, 1}}
_loading._MIN_PARALLEL, _loading._CHUNK = 2, 1
alone, together = find_experiments({str(root)!r}), find_experiments({str(root)!r})
together.load()
assert "contents" in vars(together.fields[2]) and "contents" not in vars(together.fields[1])
for name in ("lr", "loss", "min(loss)", "status"):
    assert repr(together.values(name)) == repr(alone.values(name)), name
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.slow
def test_an_interrupted_load_ends_its_processes(root):
    script = f"""
import os
from fifteen.experiments import _loading, find_experiments
parent, read = os.getpid(), _loading._read
much = [{{"much": bytes(1 << 20)}}]
_loading._read = lambda fields: much if os.getpid() != parent else read(fields)
def interrupted(pipe):
    raise KeyboardInterrupt
_loading.pickle.load = interrupted
os.sched_getaffinity = lambda pid: {{0, 1}}
_loading._MIN_PARALLEL, _loading._CHUNK = 2, 1
try:
    find_experiments({str(root)!r}).load()
except KeyboardInterrupt:
    print("interrupted")
"""
    command = [sys.executable, "-c", script]
    assert b"interrupted" in subprocess.check_output(command, timeout=60)


@pytest.mark.parametrize(
    "hindrance", ["signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "os.fork = refuse_the_second"]
)
def test_experiments_are_read_without_processes(root, hindrance):
    script = f"""
import errno, os, signal
from fifteen.experiments import _loading, find_experiments
fork, calls = os.fork, []
def refuse_the_second():
    calls.append("fork")
    if len(calls) == 2:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
    return fork()
{hindrance}
os.sched_getaffinity = lambda pid: {{0, 1}}
_loading._MIN_PARALLEL, _loading._CHUNK = 2, 1
alone, together = find_experiments({str(root)!r}), find_experiments({str(root)!r})
together.load()
assert repr(together.values("loss")) == repr(alone.values("loss"))
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_neither_jax_nor_pandas_is_imported(root):
    script = f"""
import sys
from fifteen.experiments import find_experiments
assert len(find_experiments({str(root)!r}).where("lr < 1 and min(loss) < 9").sort("loss")) == 3
assert not {{"jax", "pandas"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_hostile_names(tmp_path):
    name = "\x1b[31m<script> a b\n'\"日本"
    Experiment(tmp_path / name, verbose=False).write_metadata("config", {name: {"x": 1}})
    found = find_experiments(tmp_path)
    assert found.values("name") == [name]
    assert found.values(f"config.{name}.x") == [1]
    assert found.where(f"`config.{name}.x` == 1") == found
    assert pathlib.Path(found[0].data_dir).name == name


def read_in_all_ways(root, capsys):
    """Read all experiments in every way, and return the output of `list`."""
    found = find_experiments(root)
    repr(found), found.to_pandas(), found.scalars(), found._repr_html_()
    for run in found.sort("status"):
        run._repr_html_()
    main(["list", str(root), "--format", "json"])
    main(["list", str(root), "--all", "--columns", "tags", "note"])
    capsys.readouterr()
    main(["list", str(root)])
    return capsys.readouterr().out


def test_exact_name_in_one_experiment_is_not_ambiguous(tmp_path, capsys):
    Experiment(tmp_path / "a", verbose=False).write_metadata("config", {"lr": 1})
    other = Experiment(tmp_path / "b", verbose=False)
    for name in ("x", "y"):
        other.write_metadata(name, {"config": {"lr": 2}})
    found = find_experiments(tmp_path)
    assert names(found.where("config.lr > 0")) == ["a"]
    assert found.values("config.lr") == [1, ABSENT]
    with pytest.raises(ExpressionError, match=r"is ambiguous: x\.config\.lr, y\.config\.lr"):
        found.where("lr > 0")
    assert "y.config.lr" in read_in_all_ways(tmp_path, capsys)


def test_edited_notes(tmp_path, capsys):
    texts = ["tags: 5\nnote: [1, 2]", "tags: paper", "tags: {a: 1}", "- 1", "tags: [1,", "note:"]
    for number, text in enumerate(texts):
        run = Experiment(tmp_path / f"{number}", verbose=False)
        run.write_metadata("config", {"a": 1})
        (run.data_dir / "notes.yaml").write_text(text)
    found = find_experiments(tmp_path)
    assert found.values("tags") == [[5], ["paper"], [], [], UNREADABLE, []]
    assert found.values("note") == [[1, 2], ABSENT, ABSENT, ABSENT, UNREADABLE, ABSENT]
    assert names(found.where("'paper' in tags")) == ["1"]
    assert read_in_all_ways(tmp_path, capsys)


@pytest.mark.slow
def test_odd_values(tmp_path, capsys):
    values = [
        "0x" + "f" * 10_000,
        "[[0x" + "f" * 10_000 + "]]",
        "9" * 5000,
        ".nan",
        "true",
        "x" * 5000,
    ]
    for number, value in enumerate(values):
        run = Experiment(tmp_path / f"{number}", verbose=False)
        run.log(TensorboardLogData({"loss": 1.0}), step=4)
        run.close()
        (run.data_dir / "config.yaml").write_text(f"steps: {value}")
    listed = read_in_all_ways(tmp_path, capsys)
    assert max(map(len, listed.splitlines())) < 400
    assert find_experiments(tmp_path).values("progress") == [ABSENT] * len(values)
    Experiment(tmp_path / "huge", verbose=False).write_metadata("config", {"steps": 10**4000})
    main(["list", str(tmp_path), "--columns", "steps * steps", "--sort", "steps * steps"])
    assert "huge" in capsys.readouterr().out


def test_odd_files(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("lr: 1")
    for name in ("config.yaml", "events.out.tfevents.1.x"):
        os.mkfifo(tmp_path / name)
    for name in ("b.yaml", "events.out.tfevents.2.x"):
        (tmp_path / name).mkdir()
    (tmp_path / "c.yaml").symlink_to("nowhere")
    (tmp_path / "d.yaml").symlink_to("d.yaml")
    (tmp_path / "e.yaml").write_text("a.b: 1\na: {b: 2}")
    assert read_in_all_ways(tmp_path, capsys)
    (found,) = find_experiments(tmp_path).fields
    assert found.metadata() == {"a.lr": 1}
    assert found.unreadable == {"config", "c", "d", "e"}
    assert all(str(tmp_path) in problem for problem in found.problems)


def test_names_that_are_not_text(tmp_path, capsys):
    folder = os.fsencode(tmp_path) + b"/\xff\n"
    os.mkdir(folder)
    with open(folder + b"/\xfe.yaml", "w") as file:
        file.write("lr: 1")
    found = find_experiments(tmp_path)
    assert repr(found) == r"<1 experiment: \udcff\n>"
    assert found.where(r"name == '\\udcff\n' and lr == 1") == found
    assert r"\udcff\n" in read_in_all_ways(tmp_path, capsys)


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (
            "loss train/loss valLoss test_err error_rate rmse val/MSE max(loss) loss:max x:min",
            "min",
        ),
        ("Accuracy val_acc top5_acc valAcc acc/top1 mIoU auroc f1_macro reward_mean", "max"),
        ("accuracy:min min(accuracy) mean(test/accuracy) max(x)", "max"),
        ("lr confidence previous override applied accumulated grad_norm step", None),
    ],
)
def test_name_of_a_scalar_decides_which_value_is_best(names, best):
    for name in names.split():
        assert best_of(name) == best, name


def test_a_scalar_is_not_unreadable_because_the_config_is(tmp_path):
    for name in "abc":
        with Experiment(tmp_path / name, verbose=False) as experiment:
            experiment.write_metadata("config", {"lr": 1})
            if name == "a":
                experiment.log(TensorboardLogData(scalars={"train/loss": 0.5}), step=1)
    (tmp_path / "b" / "config.yaml").write_text("lr: [1,")
    found = find_experiments(tmp_path)
    assert found.values("loss") == found.values("train/loss:min") == [0.5, ABSENT, ABSENT]
    assert found.values("lr") == [1, UNREADABLE, 1]
