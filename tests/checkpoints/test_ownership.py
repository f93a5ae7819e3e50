"""Only known checkpoints may be removed; foreign files are kept, whatever their names."""

import contextlib
import os
import pathlib
import pickle
import subprocess
import sys

import jax.numpy as jnp
import msgpack
import numpy as np
import pytest
import safetensors.numpy
from flax import serialization

from fifteen.experiments import CheckpointError, CheckpointExistsError
from fifteen.experiments.checkpoints import _ownership
from fifteen.experiments.storage import Directory


def is_checkpoint(path):
    return _ownership.is_checkpoint(Directory(path.parent), path.name)


def may_be_checkpoint(path):
    return _ownership.may_be_checkpoint(Directory(path.parent), path.name)


def content_of(directory):
    return {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def save_all(handle, prefix):
    """Save in every way that removes or refuses something."""
    for step, keep, overwrite in [(2025, 1, False), (2026, 1, False), (1, 1, True), (10, 2, True),
                                  (10, 1, True), (2, 1, True), (3000, 1, True)]:  # fmt: skip
        with contextlib.suppress(CheckpointExistsError):
            handle.save({"w": jnp.ones(3)}, step, prefix, keep, overwrite, 3)


TABLE = safetensors.numpy.save({"w": np.arange(3)})
STRANGE_FILES = {
    "another library's": TABLE,
    "with metadata": safetensors.numpy.save({"w": np.arange(3)}, {"format": "pt"}),
    "empty": b"",
    "zeros": bytes(100),
    "cut": TABLE[:9],
    "text": b"Notes of the year.\n",
    "hebrew": "ינואר".encode(),
    "thaana": "އާދީއްތަ".encode(),
    "pickle": pickle.dumps({"w": 1}),
    "numpy": b"\x93NUMPY\x01\x00",
    "png": b"\x89PNG\r\n\x1a\n",
    "list": msgpack.packb([1, 2]),
}


@pytest.mark.parametrize("content", STRANGE_FILES.values(), ids=STRANGE_FILES)
@pytest.mark.parametrize("name", ["checkpoint_10.safetensors", "2024", "checkpoint_2"])
def test_foreign_file_is_kept(handle, name, content):
    handle.directory.mkdir()
    path = handle.directory / name
    path.write_bytes(content)
    assert not is_checkpoint(path)
    save_all(handle, "" if name == "2024" else "checkpoint_")
    assert path.read_bytes() == content


FOLDERS = {
    "photos": ["2024/a.jpg"],
    "a folder called checkpoint": ["2024/checkpoint/a.txt"],
    "a run of Orbax's": ["2024/checkpoint_5/_METADATA", "2024/notes.txt"],
    "a run with items of Orbax's": ["2024/state/_METADATA", "2024/thesis.tex"],
    "a run of several processes": ["2024/best_3/fifteen.json", "2024/best_3/_METADATA"],
    "TensorFlow's": ["2024/checkpoint", "2024/model.index"],
    "no arrays beside": ["2024_gda/a.jpg"],
    "arrays and more beside": ["2024_gda/w/.zarray", "2024_gda/b/notes.txt"],
}


@pytest.mark.parametrize("names", FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize("prefix", ["", "run_"])
def test_foreign_folder_is_kept(handle, names, prefix):
    for name in names:
        path = handle.directory / f"{prefix}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('model_checkpoint_path: "model"')
    before = content_of(handle.directory)
    save_all(handle, prefix)
    assert content_of(handle.directory).items() >= before.items()


@pytest.mark.parametrize("name", ["2024", "run_2/checkpoint/a.txt", "2024/best_3/fifteen.json"])
def test_foreign_files_are_not_listed_as_checkpoints(handle, name):
    path = handle.directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("Notes of the year.")
    assert handle.steps("") == handle.steps("run_") == []
    handle.save({"w": 1}, 1, prefix="")
    assert handle.restore(None, prefix="") == {"w": 1}


def test_retention_counts_only_known_checkpoints(handle):
    handle.directory.mkdir()
    strange = handle.directory / "checkpoint_10.safetensors"
    strange.write_bytes(TABLE)
    for step in (11, 12, 13, 14):
        handle.save({"w": step}, step, keep=2)
    assert handle.steps() == [10, 13, 14]
    assert strange.read_bytes() == TABLE


def test_save_refuses_to_replace_a_foreign_file(handle):
    handle.save({"w": 1}, 1)
    (handle.directory / "checkpoint_10.safetensors").write_bytes(TABLE)
    for step in (2, 10):
        with pytest.raises(CheckpointExistsError) as caught:
            handle.save({"w": 2}, step, overwrite=True)
        assert "it would replace checkpoint_10.safetensors, which is not known to be" in str(
            caught.value
        )
        assert "move it away, or choose another prefix" in str(caught.value)
    assert handle.restore(None, 1) == {"w": 1}
    (handle.directory / "checkpoint_10.safetensors").rename(handle.directory / "theirs")
    handle.save({"w": 2}, 2, overwrite=True)
    assert handle.steps() == [2]


def test_folder_with_the_name_of_a_checkpoint_file_is_refused(handle):
    (handle.directory / "checkpoint_3.safetensors").mkdir(parents=True)
    with pytest.raises(CheckpointError):
        handle.save({"w": 2}, 3, overwrite=True)
    assert handle.names() == ["checkpoint_3.safetensors"]


@pytest.mark.parametrize(
    "state",
    [{}, {"w": np.ones(3)}, {str(n): n for n in range(20)}, {str(n): n for n in range(70_000)},
     np.ones(3), np.ones(300), np.ones(70_000), np.float32(1), 1j,
     {"a name that is longer than 31 bytes, which has a length": 1}],
    ids=repr,
)  # fmt: skip
def test_flax_files_are_recognised(tmp_path, state):
    path = tmp_path / "checkpoint_1"
    path.write_bytes(serialization.msgpack_serialize(state))
    assert is_checkpoint(path)
    assert may_be_checkpoint(path)


@pytest.mark.parametrize("keys", [1, 3, 5_000])
def test_our_damaged_files_are_recognised(handle, keys):
    path = handle.save({str(n): np.ones(3) for n in range(keys)})
    assert is_checkpoint(path)
    data = path.read_bytes()
    path.write_bytes(data[:100])
    assert is_checkpoint(path)


ORBAX = """
import pathlib, sys
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import v1
directory = pathlib.Path(sys.argv[1])
with ocp.CheckpointManager(directory, options=ocp.CheckpointManagerOptions(step_prefix="run")) as manager:
    manager.save(3, args=ocp.args.Composite(state=ocp.args.StandardSave({"w": np.ones(3)}), more=ocp.args.JsonSave({"a": 1})))
    manager.wait_until_finished()
with ocp.PyTreeCheckpointer() as checkpointer:
    checkpointer.save(directory / "run_4", {"w": np.ones(3)})
v1.save_pytree(directory / "run_5", {"w": np.ones(3)})
"""


@pytest.mark.slow
def test_orbax_directories_are_recognised(handle):
    subprocess.run(
        [sys.executable, "-c", ORBAX, str(handle.directory)], check=True, capture_output=True
    )
    assert handle.steps("run_") == [3, 4, 5]
    assert all(is_checkpoint(handle.directory / f"run_{step}") for step in (3, 4, 5))
    handle.save({"w": 1}, 6, prefix="run_")
    assert handle.names() == ["run_6.safetensors"]


def test_pipe_does_not_block(handle):
    handle.directory.mkdir()
    os.mkfifo(handle.directory / "checkpoint_1")
    os.mkfifo(handle.directory / "checkpoint_2.safetensors")
    handle.save({"w": 1}, 3)
    assert len(handle.names()) == 3


def test_corpus_is_recognised():
    cases = pathlib.Path(__file__).with_name("corpus") / "cases"
    found = [path for path in cases.rglob("checkpoint_*") if path.name.split("_")[-1].isdecimal()]
    assert len(found) > 10
    assert [str(path) for path in found if not is_checkpoint(path)] == []
