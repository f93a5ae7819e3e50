"""Our files in other readers, and damaged files."""

import json
import os
import shutil
import subprocess
import sys

import google_crc32c
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from fifteen.experiments import CheckpointDamagedError, CheckpointError
from fifteen.experiments.checkpoints import _decoding, _host_copy
from fifteen.experiments.checkpoints._safetensors import _reader, _save
from fifteen.experiments.storage import NewFile


@pytest.fixture
def tree():
    return {
        "a/b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": {"b": jnp.ones((3,), jnp.bfloat16), "flag": np.array([True, False])},
        "step": np.int64(7),
        "note": "text",
        "half": np.ones(3, np.int8),
    }


def test_safetensors_reads_it_as_numpy(handle, tree):
    loaded = safetensors.numpy.load_file(handle.save(tree))
    assert sorted(loaded) == ["a/b", "a/flag", "a~1b", "half", "step"]
    np.testing.assert_array_equal(loaded["a~1b"], tree["a/b"])
    assert loaded["a/b"].dtype == ml_dtypes.bfloat16
    assert loaded["step"].shape == ()
    assert loaded["step"] == 7


def test_safetensors_reads_it_as_torch(handle, tree):
    torch = pytest.importorskip("torch")
    import safetensors.torch

    loaded = safetensors.torch.load_file(handle.save(tree))
    assert loaded["a/b"].dtype == torch.bfloat16
    np.testing.assert_array_equal(loaded["a~1b"].numpy(), tree["a/b"])


@pytest.mark.parametrize("blocks", [1, 5])
def test_array_changed_during_writing_can_be_restored(handle, tmp_path, monkeypatch, blocks):
    monkeypatch.setattr(_host_copy, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(_save, "BLOCK_BYTES", 4096)
    array = np.zeros((blocks, 512))
    write_all = NewFile.write

    def write_changing(*arguments):
        # As another thread may do between the checksum and the write.
        array[:] += 1
        return write_all(*arguments)

    monkeypatch.setattr(NewFile, "write", write_changing)
    handle.save({"a": array})
    restored = handle.restore(None)["a"]
    assert set(np.unique(restored)) <= set(range(blocks + 1))


# In a subprocess, since Orbax leaves threads and warnings behind.
ORBAX = """
import sys, pathlib, numpy as np
from orbax.checkpoint import v1 as ocp
path = pathlib.Path(sys.argv[1])
with ocp.Context(checkpoint_layout=ocp.options.CheckpointLayout.SAFETENSORS):
    loaded = ocp.load(path)
np.testing.assert_array_equal(loaded["a~1b"], np.arange(6).reshape(2, 3))
assert loaded["a/b"].dtype == "bfloat16"
"""


@pytest.mark.slow
def test_orbax_reads_it(handle, tree):
    subprocess.run([sys.executable, "-c", ORBAX, handle.save(tree)], check=True)


def test_every_tensor_is_aligned_for_its_dtype(handle, tree):
    path = handle.save(tree)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    assert (8 + length) % 8 == 0
    sizes = {"F32": 4, "BF16": 2, "I64": 8}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] % sizes.get(entry["dtype"], 1) == 0


def test_header_lists_every_leaf_without_reading_any(handle, tree):
    path = handle.save(tree)
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    size = path.stat().st_size
    os.truncate(path, header)
    os.truncate(path, size)
    assert {name: str(info) for name, info in handle.leaves().items()} == {
        "a/b": "bfloat16[3]",
        "a/flag": "bool[2]",
        "a~1b": "float32[2,3]",
        "half": "int8[3]",
        "note": "str[]",
        "step": "int64[]",
    }
    with pytest.raises(CheckpointDamagedError):
        handle.restore(None)


@pytest.fixture
def file(handle):
    path = handle.save({"w": np.arange(5, dtype=np.int16), "v": jnp.ones(2), "n": 3})
    return path, path.read_bytes()


def test_truncated_file_is_damaged(handle, file):
    path, whole = file
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointDamagedError, match=path.name):
            handle.restore(None)


@pytest.mark.parametrize("offsets", [range(1), pytest.param(range(1, 8), marks=pytest.mark.slow)])
def test_flipped_bit_is_detected(handle, file, offsets):
    path, whole = file
    for at in range(len(whole)):
        for offset in offsets:
            changed = bytearray(whole)
            changed[at] ^= 1 << (at + offset) % 8
            path.write_bytes(changed)
            with pytest.raises(CheckpointDamagedError, match=path.name):
                handle.restore(None)


def test_trailing_bytes_are_detected(handle, file):
    path, whole = file
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointDamagedError, match=rf"expected {len(whole)} bytes, found"):
        handle.restore(None)


def test_damaged_leaf_is_named(handle, file):
    path, whole = file
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointDamagedError, match="w: its bytes are not those that were"):
        handle.restore(None)
    # Its intact leaves can still be restored.
    with pytest.warns(match="w: unexpected"):
        assert handle.restore({"n": 0}, partial=True) == {"n": 3}


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 8, b"\0" * 100, b"PK\x03\x04" * 50])
def test_file_of_another_format_is_damaged(handle, content):
    handle.directory.mkdir()
    (handle.directory / "checkpoint_5.safetensors").write_bytes(content)
    with pytest.raises(CheckpointDamagedError, match=r"checkpoint_5\.safetensors"):
        handle.restore({"w": 1})


def sealed(path, change):
    """Change a file's description and its checksum, as an attacker could."""
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    digits = header["__metadata__"]["fifteen.crc32c"]
    described = json.loads(header["__metadata__"]["fifteen.checkpoint"])
    change(header, described)
    header["__metadata__"]["fifteen.checkpoint"] = json.dumps(described)
    header["__metadata__"]["fifteen.crc32c"] = "0" * len(digits)
    text = json.dumps(header, separators=(",", ":")).encode()
    own = f"{google_crc32c.value(text):08x}"
    text = text.replace(b"0" * len(digits), (own + digits[8:]).encode(), 1)
    path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])


def nested(depth):
    node = []
    for _ in range(depth):
        node = [node]
    return node


@pytest.mark.parametrize(
    "change",
    [
        lambda header, described: described.update(version=99),
        lambda header, described: described.pop("leaves"),
        lambda header, described: described.update(leaves=3),
        lambda header, described: described["leaves"][0].__setitem__(1, True),
        lambda header, described: described["leaves"].append(["x", True]),
        lambda header, described: described["leaves"].append(["x", False, {"int": "zz"}]),
        lambda header, described: described["leaves"].append(["x", False, {"code": "1"}]),
        lambda header, described: described["leaves"].append(["x", False]),
        lambda header, described: described["leaves"].append(["x", False, {"float": "nan 00"}]),
        lambda header, described: described["leaves"].append(["x", False, {"complex": ["0x1p99999", "0x0p+0"]}]),
        lambda header, described: described["leaves"].__setitem__(1, ["v", True, {"dtype": "object"}]),
        lambda header, described: described["leaves"].__setitem__(1, ["v", True, {"dtype": 3}]),
        lambda header, described: described["leaves"].__setitem__(1, ["v", True, [1]]),
        lambda header, described: described["leaves"].__setitem__(1, ["v", True, {"key": "rbg", "dtype": "float32"}]),
        lambda header, described: described["leaves"].__setitem__(1, ["v", True, {"dtype": "key<rbg>"}]),
        lambda header, described: described["leaves"].append(["x", False, [1]]),
        lambda header, described: described["leaves"].append(["x", False, {"blob": 1}]),
        lambda header, described: described["leaves"].append(["x", False, {"bool": [1, 2]}]),
        lambda header, described: described["leaves"].append(["x", False, {"str": {"x": 1}}]),
        lambda header, described: header["w"].update(shape=[-1, -5]),
        lambda header, described: header["w"].update(shape=[5.0]),
        lambda header, described: header["w"].update(shape=[True, 5]),
        lambda header, described: header["w"].update(shape=[0, 2**70], data_offsets=[0, 0]),
        lambda header, described: header["w"].update(data_offsets=[float(x) for x in header["w"]["data_offsets"]]),
        lambda header, described: header["w"]["data_offsets"].__setitem__(1, float(header["w"]["data_offsets"][1])),
        lambda header, described: header.update(w=header["v"]),
        lambda header, described: described.update(structure={}),
        lambda header, described: described.update(structure=[0, 0, 1, 2]),
        lambda header, described: described["leaves"].__setitem__(1, ["v", True, {"key": "rbg", "dtype": "y"}]),
        lambda header, described: header["w"].update(shape=[10**30]),
        lambda header, described: header["w"].update(shape=["5"]),
        lambda header, described: header["w"].update(dtype="F8_E4M3"),
        lambda header, described: header["w"].update(data_offsets=[-10, 0]),
        lambda header, described: header.update(w=None),
        lambda header, described: described.update(structure=[99]),
        lambda header, described: described.update(structure="x"),
    ],
)  # fmt: skip
def test_invalid_description_is_damage(handle, file, change):
    path, _ = file
    sealed(path, change)
    with pytest.raises(CheckpointDamagedError, match=path.name):
        handle.restore(None)


@pytest.mark.parametrize("target", [None, np.zeros(2, np.float32), jnp.zeros(2)])
@pytest.mark.parametrize("dtype", ["float3_new", "i4,,"])
def test_unknown_dtype_is_not_damage(handle, file, target, dtype):
    path, _ = file
    sealed(
        path,
        lambda header, described: (
            described["leaves"].__setitem__(1, ["v", True, {"dtype": dtype}]),
            header["v"].update(dtype="U8", shape=[2, 4]),
        ),
    )
    assert str(handle.leaves()["v"]) == f"{dtype}[2]"
    target = None if target is None else {"w": np.zeros(5, np.int16), "v": target, "n": 0}
    with pytest.raises(CheckpointError, match=f"v: the dtype '{dtype}' is unknown here"):
        handle.restore(target)


def test_damaged_latest_error_names_a_readable_step(handle):
    for step in (1, 2, 3):
        path = handle.save({"w": np.arange(step)}, step, keep=9)
        if step > 1:
            # Only headers are read, and the header of step 2 shows that bytes are missing.
            end = b"xyz" if step == 3 else b""
            path.write_bytes(path.read_bytes()[:-3] + end)
    with pytest.raises(CheckpointDamagedError) as caught:
        handle.restore({"w": np.zeros(0)})
    assert "checkpoint_3.safetensors: w:" in str(caught.value)
    assert "the latest other one that opens is step 1: restore_checkpoint(..., step=1)" in str(
        caught.value
    )
    with pytest.raises(CheckpointDamagedError) as caught:
        handle.restore({"w": np.zeros(0)}, step=3)
    assert "step 1" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.symlink_to("nowhere"), "a link to neither a file nor a directory"),
        (lambda path: path.mkdir(), "a directory"),
        (os.mkfifo, "neither a file nor a directory"),
    ],
)
@pytest.mark.parametrize("name", ["checkpoint_2.safetensors", "checkpoint_2"])
def test_pipe_directory_or_link_with_a_checkpoint_name(handle, name, make, problem):
    handle.save({"w": 1}, 1)
    make(handle.directory / name)
    with pytest.raises(CheckpointDamagedError) as caught:
        handle.restore({"w": 0})
    text = str(caught.value)
    assert text.startswith(f"{handle.directory / name}: {problem}")
    assert "the latest other one that opens is step 1: restore_checkpoint(..., step=1)" in text
    handle.save({"w": 3}, 3)
    assert handle.restore({"w": 0}) == {"w": 3}
    # It may be a user's file; the target of a link may be on an unmounted disk.
    assert handle.names() == [name, "checkpoint_3.safetensors"]


def test_error_says_if_no_checkpoint_is_readable(handle):
    path = handle.save({"w": 1})
    path.write_bytes(b"")
    with pytest.raises(CheckpointDamagedError, match="there is no other one that opens"):
        handle.restore({"w": 1})


def test_file_replaced_during_reading(handle):
    path = handle.save({"w": np.zeros(1000)}, 1)
    stored = _reader.SafetensorsCheckpoint(path)
    other = handle.save({"w": np.ones(2000)}, 2)
    shutil.copy(other, path)
    assert not path.with_name("gone").exists()
    os.unlink(path)
    reopened = _reader.SafetensorsCheckpoint(other)
    os.unlink(other)
    *_, batch = reopened.read({("w",): None})
    assert batch["w",].sum() == 2000
    assert stored.leaves[("w",)].shape == (1000,)


def test_many_leaves_and_blocks(handle, assert_same, monkeypatch):
    monkeypatch.setattr(_host_copy, "BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(_save, "BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(_reader, "MAX_GROUP_BYTES", 1 << 10)
    random = np.random.default_rng(0)
    tree = [random.integers(0, 99, random.integers(0, 900)).astype("i1") for _ in range(2500)]
    tree += [random.normal(size=(50, 70)).T, random.normal(size=5000)]
    handle.save(tree)
    assert_same(handle.restore(tree), tree)


def test_small_restored_leaves_may_be_donated_one_by_one(handle, assert_same):
    tree = {f"w{number}": jnp.full(16, number, jnp.float32) for number in range(100)}
    handle.save(tree)
    restored, again = handle.restore(tree), handle.restore(tree)
    double = jax.jit(lambda leaf: leaf * 2, donate_argnums=0)
    for name in list(tree)[::2]:
        restored[name] = double(restored[name])
    assert_same(again, tree)
    expected = {name: leaf * (2 if int(name[1:]) % 2 == 0 else 1) for name, leaf in tree.items()}
    assert_same(restored, expected)
    handle.save(restored, 2)
    assert_same(handle.restore(tree), expected)


@pytest.mark.slow
def test_array_over_four_gib(handle):
    size = (4 << 30) + 3
    array = np.zeros(size, np.uint8)
    array[-3:] = 1, 2, 3
    handle.save({"array": array, "z": np.arange(3)})
    with pytest.warns(match="array: unexpected"):
        assert handle.restore({"z": np.zeros(3, int)}, partial=True)["z"].tolist() == [0, 1, 2]
    restored = handle.restore({"array": np.zeros(size, np.uint8), "z": np.zeros(3, int)})
    assert restored["array"].shape == (size,)
    assert restored["array"][-4:].tolist() == [0, 1, 2, 3]


def test_zero_length_texts_take_no_memory():
    empty = np.zeros((0, 0), np.uint8).reshape(10**15, 0)
    assert _decoding.decode(empty, {"dtype": "|S0"}).nbytes == 0


RESTORING_AT_EXIT = """
import atexit, sys
import numpy as np
from fifteen.experiments import Experiment

experiment = Experiment(sys.argv[1], verbose=False)
state = {"a": np.arange(3_000_000), "b": np.arange(3_000_000)}
experiment.save_checkpoint(state, 1)

@atexit.register
def restore():
    restored = experiment.restore_checkpoint(state)
    print("same" if all((restored[name] == state[name]).all() for name in state) else "other")
"""


@pytest.mark.slow
def test_restore_at_interpreter_exit(tmp_path):
    command = [sys.executable, "-c", RESTORING_AT_EXIT, str(tmp_path / "run")]
    run = subprocess.run(command, timeout=60, capture_output=True, text=True)
    assert run.stdout.strip() == "same", run.stderr
