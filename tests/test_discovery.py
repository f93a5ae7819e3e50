import os
import pathlib
import threading
import time

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto

from fifteen.experiments import (
    Experiment,
    ExperimentNotFoundError,
    ExperimentWarning,
    TensorboardLogData,
    find_experiments,
    summarize,
)
from fifteen.experiments._walk import find_paths
from fifteen.experiments.events import _tfrecord
from fifteen.experiments.events.reading import read_ends
from fifteen.experiments.storage import Directory


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(root):
    return [os.path.relpath(path, root) for path in find_paths(root)]


def log(experiment, steps, tag="loss"):
    for step in steps:
        experiment.log(TensorboardLogData(scalars={tag: 1.0}), step=step)


# Finding


def test_every_kind_of_file_makes_an_experiment(tmp_path):
    touch(
        tmp_path,
        "metadata/config.yaml",
        "ours/checkpoint_3.safetensors",
        "ours_named/best_3.safetensors",
        "msgpack/checkpoint_3",
        "events/events.out.tfevents.1.host",
        "orbax/checkpoint_3/_METADATA",
        "orbax_v1/step_3/_CHECKPOINT_METADATA",
        "flax_0_7/checkpoint_3/checkpoint",
        "deep/er/still/config.yaml",
        "nothing/model.safetensors",
        "nothing/notes.txt",
        "nothing/slurm-123",
        "nothing/.hidden.yaml",
        "empty/folder/x.py",
    )
    assert found(tmp_path) == [
        "deep/er/still",
        "events",
        "flax_0_7",
        "metadata",
        "msgpack",
        "orbax",
        "orbax_v1",
        "ours",
        "ours_named",
    ]


def test_experiments_of_the_library_are_found(tmp_path):
    Experiment(tmp_path / "a", verbose=False).write_metadata("config", {"x": 1})
    Experiment(tmp_path / "b", verbose=False).save_checkpoint({"w": np.ones(2)}, step=1)
    with Experiment(tmp_path / "c", verbose=False) as experiment:
        log(experiment, [1])
    experiments = find_experiments(tmp_path)
    assert experiments == [Experiment(tmp_path / name, verbose=False) for name in "abc"]
    assert find_experiments(str(tmp_path)) == experiments


def test_root_and_experiments_below_it_are_found(tmp_path):
    touch(tmp_path, "sweep.yaml", "run_1/config.yaml", "run_2/config.yaml")
    assert found(tmp_path) == [".", "run_1", "run_2"]


def test_subfolders_belong_to_their_run(tmp_path):
    touch(
        tmp_path,
        "run/events.out.tfevents.1.host",
        "run/eval/step_100.yaml",
        "run/checkpoints/best_100.safetensors",
        "run/seed_0/config.yaml",
        "run/seed_0/checkpoint_1.safetensors",
        "run/curves/events.out.tfevents.1.host",
    )
    assert found(tmp_path) == ["run", "run/curves", "run/seed_0"]


def test_natural_order(tmp_path):
    names = [
        "lr_1e-5_a", "lr_2e-4_a", "lr_0.001_a", "lr_0.002_a", "lr_0.01_a", "lr_0.1_a", "lr_10_a",
        "run_1", "run_2", "run_010", "run_10", "run_3e5f",
        "v1.2.3", "v1.2.10", "v1.10.1", "x1.10", "x1.5", "y", "y/1", "y/10",
    ]  # fmt: skip
    touch(tmp_path, *(f"{name}/config.yaml" for name in reversed(names)))
    names.remove("run_3e5f")
    names.insert(names.index("run_010"), "run_3e5f")
    assert found(tmp_path) == names


def test_hidden_directories_environments_and_checkpoints_are_not_entered(tmp_path):
    touch(
        tmp_path,
        ".git/config.yaml",
        "venv/pyvenv.cfg",
        "venv/lib/package/config.yaml",
        "node_modules/x/config.yaml",
        "run/checkpoint_1/_METADATA",
        "run/checkpoint_1/default/config.yaml",
        "run/checkpoint_2.orbax-checkpoint-tmp-3/config.yaml",
    )
    assert found(tmp_path) == ["run"]


def test_links(tmp_path):
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    touch(outside, "a/config.yaml", "b/config.yaml")
    touch(root, "run/config.yaml")
    (root / "latest").symlink_to("run")
    (root / "away").symlink_to(outside)
    (root / "away_again").symlink_to(outside)
    (root / "up").symlink_to("..")
    (root / "run" / "loop").symlink_to("..")
    (outside / "back").symlink_to(root)
    (root / "itself").symlink_to("itself")
    (root / "itself.yaml").symlink_to("itself.yaml")
    (root / "broken").symlink_to("absent")
    assert found(root) in (
        ["away/a", "away/b", "run"],
        ["away_again/a", "away_again/b", "run"],
    )
    (tmp_path / "link").symlink_to(root)
    assert found(tmp_path / "link") == found(root)


def test_link_cycle_outside(tmp_path):
    outside = tmp_path / "outside"
    touch(outside, "a/config.yaml")
    (outside / "a" / "up").symlink_to(outside)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(outside)
    assert found(tmp_path / "root") == ["link/a"]


def test_root_without_experiments(tmp_path):
    with pytest.raises(ExperimentNotFoundError, match="absent: expected a directory, found not"):
        find_paths(tmp_path / "absent")
    touch(tmp_path, "file")
    with pytest.raises(NotADirectoryError, match="file: expected a directory, found a file"):
        find_paths(tmp_path / "file")
    assert find_paths(tmp_path) == []


def test_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path, "runs/a/config.yaml")
    for path in ("~/runs/a", pathlib.Path("~/runs/a")):
        assert Experiment(path).data_dir == tmp_path / "runs" / "a"
        assert summarize(path).metadata == ["config"]
    assert [found.data_dir.name for found in find_experiments("~/runs")] == ["a"]


def test_last_step_is_the_same_in_every_reader_of_a_copy(tmp_path):
    """The files of a copy may have any modification times."""
    for number, steps in enumerate((range(100), range(50, 71))):
        with Experiment(tmp_path / "run", verbose=False) as experiment:
            if number:
                experiment.rewind_logs(49)
            log(experiment, steps)
    events = sorted(experiment.data_dir.glob("*tfevents*"))
    assert len(events) == 2
    for times in ((1, 2), (2, 1)):
        for path, seconds in zip(events, times, strict=True):
            os.utime(path, (seconds, seconds))
        last = int(experiment.read_scalars()["loss"].step[-1])
        assert summarize(experiment.data_dir).last_step == last == 70


def test_parent_of_experiments_is_not_an_experiment(tmp_path):
    touch(tmp_path, "sweep/run_1/config.yaml", "sweep/run_2/config.yaml", "other/model.pkl")
    with pytest.raises(
        ExperimentNotFoundError, match=r"sweep: no experiment, but it contains 2, such"
    ):
        Experiment(tmp_path / "sweep").assert_exists()
    Experiment(tmp_path / "sweep" / "run_1").assert_exists()
    Experiment(tmp_path / "other").assert_exists()
    touch(tmp_path, "sweep/checkpoint_3/_METADATA")
    Experiment(tmp_path / "sweep").assert_exists()


def test_unreadable_directory_is_reported(tmp_path, monkeypatch):
    touch(tmp_path, "a/config.yaml", "locked/config.yaml")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(ExperimentWarning, match="locked: left out.*Permission denied"):
        assert found(tmp_path) == ["a"]


@pytest.mark.slow
def test_ten_thousand_experiments(tmp_path):
    for number in range(10_000):
        touch(tmp_path, f"group_{number // 100}/run_{number}/config.yaml")
    paths = find_paths(tmp_path)
    assert len(paths) == 10_000
    assert paths[-1].name == "run_9999"


# Curves


def test_tags_may_be_patterns(tmp_path):
    with Experiment(tmp_path, verbose=False) as experiment:
        scalars = {"train/loss": 1.0, "train/accuracy": 2.0, "test/loss": 3.0, "a[1]": 4.0}
        experiment.log(TensorboardLogData(scalars, {"train/w": np.ones(3)}), step=1)
    read = experiment.read_scalars
    assert list(read(["train/*"])) == ["train/accuracy", "train/loss"]
    assert list(read(["*/loss", "a[1]"])) == ["a[1]", "test/loss", "train/loss"]
    assert list(read(tag for tag in ["*/*"])) == ["test/loss", "train/accuracy", "train/loss"]
    assert list(read()) == sorted(scalars)
    assert read([]) == read(["Train/*"]) == {}
    assert list(experiment.read_histograms(["train/*"])) == ["train/w"]


def test_reading_a_missing_directory_is_an_error(tmp_path):
    for read in (
        Experiment(tmp_path / "tpyo").read_scalars,
        Experiment(tmp_path / "a").read_histograms,
    ):
        with pytest.raises(ExperimentNotFoundError, match="found no directory; check the path"):
            read()


# Summaries


def test_summary(tmp_path):
    before = time.time() - 1
    with Experiment(tmp_path / "a", verbose=False) as experiment:
        experiment.write_metadata("config", {"x": 1})
        experiment.write_metadata("eval/step_1", {"x": 1})
        for step in (5, 10, 15):
            experiment.save_checkpoint({"w": np.ones(1000)}, step=step, keep=2)
        experiment.save_checkpoint({"w": np.ones(2)}, step=7, prefix="best_")
        log(experiment, range(20))
    summary = summarize(experiment.data_dir)
    assert summary.path == experiment.data_dir
    assert summary.metadata == ["config", "eval/step_1"]
    assert summary.checkpoints == {"best_": [7], "checkpoint_": [10, 15]}
    assert summary.last_step == 19
    assert summary.latest_step == 19
    files = [path for path in experiment.data_dir.rglob("*") if path.is_file()]
    assert summary.size == sum(path.stat().st_size for path in files)
    assert before < summary.modified <= time.time()


def test_summary_of_nothing(tmp_path):
    summary = summarize(tmp_path)
    assert (summary.metadata, summary.checkpoints, summary.size) == ([], {}, 0)
    assert summary.last_step is None
    assert summary.latest_step is None
    with pytest.raises(ExperimentNotFoundError, match="absent"):
        summarize(tmp_path / "absent")


def test_latest_step_of_a_checkpoint(tmp_path):
    with Experiment(tmp_path, verbose=False) as experiment:
        experiment.save_checkpoint({"w": 1}, step=30)
        log(experiment, range(20))
    assert summarize(tmp_path).latest_step == 30


def test_last_step_after_a_rewind(tmp_path):
    with Experiment(tmp_path, verbose=False) as experiment:
        log(experiment, range(100))
        experiment.rewind_logs(50)
        experiment.flush()
        assert summarize(tmp_path).last_step == 50
        log(experiment, [51, 52])
    assert summarize(tmp_path).last_step == 52


def test_last_step_over_several_files(tmp_path):
    for steps, rewind in ((range(100), None), ([], 70), ([], None)):
        with Experiment(tmp_path, verbose=False) as experiment:
            log(experiment, steps)
            if rewind is not None:
                experiment.rewind_logs(rewind)
            experiment.log_hparams({"x": 1})
    assert len(list(tmp_path.glob("*tfevents*"))) == 3
    assert summarize(tmp_path).last_step == 70


def test_last_step_is_independent_of_file_times(tmp_path):
    for step in (99, 70):
        with Experiment(tmp_path, verbose=False) as experiment:
            experiment.log(TensorboardLogData(scalars={"x": 1.0}), step)
    paths = sorted(tmp_path.iterdir())
    for now, path in enumerate(reversed(paths)):
        os.utime(path, (now, now))
    assert summarize(tmp_path).last_step == 70


def test_last_step_with_the_plugin_named_only_once(tmp_path):
    def event(step, plugin):
        value = Summary.Value(
            tag="x",
            tensor=TensorProto(dtype="DT_FLOAT", float_val=[0.5]),
            metadata=SummaryMetadata(plugin_data={"plugin_name": plugin}) if plugin else None,
        )
        return _tfrecord.frame(
            Event(step=step, wall_time=1.0, summary=Summary(value=[value])).SerializeToString()
        )

    records = [event(0, "scalars"), *(event(step, "") for step in range(1, 300))]
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"".join(records))
    assert Experiment(tmp_path).read_scalars()["x"].step[-1] == 299
    assert summarize(tmp_path).last_step == 299


def test_last_step_needs_only_the_end_of_a_long_file(tmp_path):
    with Experiment(tmp_path, verbose=False) as experiment:
        steps = np.arange(50_000)
        experiment.log(TensorboardLogData(scalars={"loss": np.sqrt(steps)}), step=steps)
    (path,) = tmp_path.glob("*tfevents*")
    ends = read_ends(Directory(tmp_path), [1 << 13])
    assert path.stat().st_size > 20 << 13
    assert ends.timeline.last_step == summarize(tmp_path).last_step == 49_999
    assert not ends.is_complete
    assert len(ends.curves["loss"]) < 1000


def test_last_step_before_a_long_record(tmp_path):
    with Experiment(tmp_path, verbose=False) as experiment:
        log(experiment, [3])
        experiment.flush()
        experiment.summary_writer.add_text("notes", "x" * 1_000_000, 9)
    assert summarize(tmp_path).last_step == 3


@pytest.mark.slow
def test_last_step_of_a_truncated_file(tmp_path):
    with Experiment(tmp_path, verbose=False) as experiment:
        log(experiment, range(10))
    (path,) = tmp_path.glob("*tfevents*")
    whole = path.read_bytes()
    seen = []
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        seen.append(summarize(tmp_path).last_step)
    assert seen[0] is None
    assert seen[-1] == 9
    numbers = [-1 if step is None else step for step in seen]
    assert numbers == sorted(numbers)


def test_last_step_of_garbage(tmp_path):
    (tmp_path / "events.out.tfevents.1.host").write_bytes(os.urandom(100_000))
    (tmp_path / "events.out.tfevents.2.host").write_bytes(bytes(100_000))
    assert summarize(tmp_path).last_step is None


def test_last_step_of_an_unreadable_file(tmp_path):
    (tmp_path / "events.out.tfevents.1.host").mkdir()
    (tmp_path / "events.out.tfevents.2.host").symlink_to("absent")
    assert summarize(tmp_path).last_step is None


def test_last_step_before_an_invalid_event(tmp_path):
    with Experiment(tmp_path, verbose=False) as experiment:
        log(experiment, [3])
    (path,) = tmp_path.glob("*tfevents*")
    path.write_bytes(path.read_bytes() + _tfrecord.frame(b"\xff" * 20))
    assert summarize(tmp_path).last_step == 3


def test_checkpoint_deleted_during_the_summary_is_omitted(tmp_path):
    path = tmp_path / "best_3.safetensors"
    is_over = threading.Event()

    def toggle():
        while not is_over.is_set():
            path.touch()
            path.unlink()

    thread = threading.Thread(target=toggle)
    thread.start()
    try:
        found = {repr(summarize(tmp_path).checkpoints) for _ in range(500)}
    finally:
        is_over.set()
        thread.join()
    assert found <= {"{}", "{'best_': [3]}"}
