"""Experiments in object stores work like those in directories."""

import dataclasses
import os
import pathlib
import pickle
import stat
import subprocess
import sys
import time
import uuid

import jax.numpy as jnp
import numpy as np
import pytest

from fifteen.experiments import (
    CheckpointDamagedError,
    CheckpointNotFoundError,
    Experiment,
    ExperimentExistsError,
    ExperimentNotFoundError,
    FifteenError,
    MetadataNotFoundError,
    MissingExtraError,
    TensorboardLogData,
    UnsafePathError,
)
from fifteen.experiments.storage import Directory
from fifteen.experiments.storage._remote import _store


@dataclasses.dataclass
class Config:
    lr: float = 0.1


@pytest.fixture(params=["memory", "server", "local"])
def root(request, tmp_path):
    """An unused address or path."""
    if request.param == "local":
        return str(tmp_path)
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return request.getfixturevalue("bucket")


@pytest.fixture
def experiment(root):
    experiment = Experiment(f"{root}/runs/a", verbose=False)
    yield experiment
    experiment.close()


def test_metadata_round_trip(experiment):
    experiment.write_metadata("config", Config(0.2))
    experiment.write_metadata("eval/step_1", {"accuracy": 0.5})
    experiment.annotate(note="a note", tags=["x"])
    assert experiment.read_metadata("config", Config) == Config(0.2)
    assert experiment.read_metadata("notes") == {"note": "a note", "tags": ["x"]}
    assert experiment.metadata_names() == ["config", "eval/step_1", "notes"]
    with pytest.raises(MetadataNotFoundError, match=r"other.yaml: no metadata 'other'; known"):
        experiment.read_metadata("other")
    with pytest.raises(UnsafePathError, match=r"goes through '\.\.'"):
        experiment.write_metadata("../config", 1)


@pytest.mark.parametrize("name", [os.fsdecode(b"\xff"), "\ud800", "a\tb", "a\nb", "a\x7fb"])
def test_names_that_no_object_can_have_are_refused(name):
    experiment = Experiment(f"memory://{uuid.uuid4().hex}/a", verbose=False)
    file = experiment.data_dir / name
    for action in (
        lambda: experiment.write_metadata(name, 1),
        lambda: experiment.read_metadata(f"eval/{name}"),
        lambda: experiment.save_checkpoint({"x": 1}, 1, prefix=name),
        lambda: file.write_text("x"),
        file.read_bytes,
        file.exists,
        file.unlink,
        lambda: list(file.iterdir()),
        lambda: experiment.move(file),
        lambda: Experiment(str(file)),
    ):
        with pytest.raises(FifteenError, match=r"\\[udtnx].*: no (object|file name) can"):
            action()


def test_checkpoints_round_trip_and_old_ones_are_removed(experiment):
    with pytest.raises(CheckpointNotFoundError, match="because there is no such directory"):
        experiment.restore_checkpoint(None)
    for step in range(1, 5):
        saved = experiment.save_checkpoint(
            {"w": jnp.full(3, step), "n": step}, step, keep=2, blocking=step % 2 == 0
        )
    assert saved == f"{experiment.data_dir}/checkpoint_4.safetensors"
    assert experiment.checkpoint_steps() == [3, 4]
    assert experiment.checkpoint_prefixes() == ["checkpoint_"]
    assert experiment.restore_checkpoint(None, step=3)["n"] == 3
    restored = experiment.restore_checkpoint({"w": jnp.zeros(3, int), "n": 0})
    assert restored["w"].tolist() == [4, 4, 4]
    assert list(experiment.checkpoint_leaves()) == ["n", "w"]
    experiment.save_checkpoint({"w": jnp.zeros(3)}, 2, overwrite=True)
    assert experiment.checkpoint_steps() == [2]


@pytest.mark.slow
def test_large_checkpoint_is_transferred_in_parts(experiment):
    state = {f"w{i}": np.random.default_rng(i).random((5 << 20) + i) for i in range(2)}
    state["small"] = np.arange(5)
    experiment.save_checkpoint(state, 1)
    restored = experiment.restore_checkpoint(state)
    for name, values in state.items():
        np.testing.assert_array_equal(restored[name], values)
    partial = experiment.restore_checkpoint({"small": np.zeros(5, int)}, partial=True)
    assert partial["small"].tolist() == [0, 1, 2, 3, 4]


def test_array_changed_by_another_thread_while_it_is_sent(bucket, monkeypatch):
    array = np.zeros(3 << 20)
    put = _store.put

    def put_changing(*arguments):
        # After the checksum, which is sent first.
        array[:] += 1
        put(*arguments)

    with Experiment(bucket, verbose=False) as experiment:
        monkeypatch.setattr(_store, "put", put_changing)
        experiment.save_checkpoint({"a": array, "b": np.ones(3)}, 1)
        assert (experiment.restore_checkpoint(None)["a"] == 1).all()


@pytest.mark.slow
def test_single_leaf_takes_few_requests(bucket, proxy):
    experiment = Experiment(bucket, verbose=False)
    experiment.save_checkpoint({f"w{number}": np.arange(1 << 20) for number in range(9)}, 1)
    before = len(proxy.requests)
    assert len(experiment.checkpoint_leaves()) == 9
    assert len(proxy.requests) - before <= 3
    before = len(proxy.requests)
    experiment.restore_checkpoint({"w4": np.zeros(1 << 20, int)}, partial=True)
    assert len(proxy.requests) - before <= 4


def test_save_lists_the_directory_once_before_and_once_after_it(bucket, proxy):
    experiment = Experiment(bucket, verbose=False)
    for step in range(5):
        before = len(proxy.requests)
        experiment.save_checkpoint({"x": step}, step, keep=2, blocking=False)
        experiment.flush()
        lists = [one for one in proxy.requests[before:] if "list" in one.path]
        assert len(lists) == 2
    assert experiment.checkpoint_steps() == [3, 4]
    experiment.close()


@pytest.mark.parametrize("damage", ["a flipped bit", "truncated", "empty"])
def test_damaged_checkpoint_is_not_restored(experiment, damage):
    for step in (1, 2):
        experiment.save_checkpoint({"w": np.arange(100.0) + step}, step, keep=2)
    directory = Directory(experiment.data_dir)
    content = bytearray(directory.read("checkpoint_2.safetensors"))
    content[-5] ^= 1
    length = {"a flipped bit": len(content), "truncated": 50, "empty": 0}[damage]
    with directory.replace("checkpoint_2.safetensors") as file:
        file.write(content[:length])
    leaf = ".* w: " if damage == "a flipped bit" else ""
    match = f"{experiment.data_dir}/checkpoint_2{leaf}"
    with pytest.raises(CheckpointDamagedError, match=match):
        experiment.restore_checkpoint(None)
    assert experiment.restore_checkpoint(None, step=1)["w"][0] == 1


def test_summary_writer_writes_to_the_address(experiment):
    experiment.summary_writer.add_text("text", "hello", 1)
    experiment.summary_writer.add_image("image", np.zeros((3, 8, 8), np.uint8), 1)
    experiment.summary_writer.add_scalar("loss", 0.5, 1)
    experiment.close()
    assert experiment.read_scalars()["loss"].value.tolist() == [0.5]
    (name,) = Directory(experiment.data_dir).names()
    content = Directory(experiment.data_dir).read(name)
    assert b"hello" in content
    assert b"\x89PNG" in content


def test_curves_round_trip_and_are_rewound(experiment):
    for step in range(5):
        experiment.log(TensorboardLogData(scalars={"loss": 1.0 / (step + 1)}), step)
    assert experiment.read_scalars()["loss"].step.tolist() == [0, 1, 2, 3, 4]
    experiment.rewind_logs(2)
    experiment.close()
    assert Experiment(experiment.data_dir).read_scalars()["loss"].step.tolist() == [0, 1, 2]


def test_assert_new_assert_exists_and_clear(root, experiment):
    other = Experiment(f"{root}/runs/ab", verbose=False)
    other.write_metadata("config", 1)
    experiment.assert_new()
    with pytest.raises(ExperimentNotFoundError):
        experiment.assert_exists()
    experiment.write_metadata("config", Config())
    experiment.assert_exists()
    with pytest.raises(ExperimentExistsError, match=r"found config\.yaml"):
        experiment.assert_new()
    experiment.clear().assert_new()
    assert other.read_metadata("config") == 1


def test_data_dir_behaves_like_a_path(root):
    experiment = Experiment(f"{root}/runs/./x/../a", verbose=False)
    experiment.write_metadata("config", Config())
    path = experiment.data_dir
    assert str(path) == f"{root}/runs/a"
    assert (path.name, str(path.parent)) == ("a", f"{root}/runs")
    assert "lr: 0.1" in (path / "config.yaml").read_text()
    assert "config.yaml" in [file.name for file in path.iterdir()]
    assert path.is_dir()
    assert not (path / "other").exists()
    assert (path / "config.yaml").relative_to(path) == pathlib.PurePath("config.yaml")
    assert {Experiment(str(path), verbose=False), Experiment(path, verbose=False)} == {experiment}
    assert pickle.loads(pickle.dumps(experiment)) == experiment


def test_data_dir_reads_writes_and_finds_files_as_a_path_does(root):
    path = Experiment(f"{root}/runs/a", verbose=False).data_dir
    path.mkdir(parents=True, exist_ok=True)
    file = path / "notes.txt"
    assert file.write_text("naïve\n") == 6
    assert (file.read_text(), file.read_bytes()) == ("naïve\n", "naïve\n".encode())
    status = file.stat()
    assert status.st_size == 7
    assert stat.S_ISREG(status.st_mode)
    assert abs(status.st_mtime - time.time()) < 60
    assert stat.S_ISDIR(path.stat().st_mode)
    with (path / "table.csv").open("w") as output:
        output.write("a,b\n1,2\n")
    with (path / "table.csv").open() as lines:
        assert list(lines) == ["a,b\n", "1,2\n"]
    (path / "sub/deep").mkdir(parents=True)
    with (path / "sub/deep/x.npy").open("wb") as output:
        np.save(output, np.arange(1 << 20))
    with (path / "sub/deep/x.npy").open("rb") as array:
        assert np.load(array)[-1] == (1 << 20) - 1
        array.seek(-8, 2)
        assert array.read() == np.int64((1 << 20) - 1).tobytes()

    def found(paths):
        return sorted(str(path_of.relative_to(path)) for path_of in paths)

    assert found(path.iterdir()) == ["notes.txt", "sub", "table.csv"]
    assert found(path.glob("*.[tc]??")) == ["notes.txt", "table.csv"]
    assert found(path.glob("sub/*/*.npy")) == ["sub/deep/x.npy"]
    assert found(path.glob("**/*")) == [
        "notes.txt",
        "sub",
        "sub/deep",
        "sub/deep/x.npy",
        "table.csv",
    ]
    assert found(path.rglob("*.npy")) == found(path.glob("**/x.npy")) == ["sub/deep/x.npy"]
    assert found(path.glob("*.absent")) == []
    with pytest.raises(FileExistsError):
        path.mkdir()
    file.unlink()
    assert not file.exists()
    file.unlink(missing_ok=True)
    for act in (file.unlink, file.stat, file.read_text, file.open):
        with pytest.raises(FileNotFoundError, match=r"notes\.txt"):
            act()


def test_clear_of_a_whole_bucket_is_refused(bucket):
    with pytest.raises(UnsafePathError, match="refusing to delete it: it is a whole bucket"):
        Experiment("/".join(bucket.split("/")[:3]), verbose=False).clear()


def test_missing_obstore_error_names_the_extra():
    code = """
import sys
sys.modules["obstore"] = None
from fifteen.experiments import Experiment
Experiment("runs")
Experiment("s3://bucket/runs/a")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    message = "s3://bucket/runs/a needs obstore, which is not installed; install it with"
    assert f"{MissingExtraError.__name__}: {message} pip install 'fifteen[remote]'" in result.stderr


def test_obstore_is_imported_only_for_an_address():
    code = (
        "import sys, fifteen.experiments as e; e.Experiment('x'); print('obstore' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr
