"""Safetensors files of other libraries."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from fifteen.experiments import CheckpointDamagedError, CheckpointError, CheckpointMismatchError


@pytest.fixture
def path(handle):
    handle.directory.mkdir()
    return handle.directory / "checkpoint_10.safetensors"


def raw(path, header, data=b""):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_names_with_slashes_are_nested(handle, path, assert_same, metadata):
    tensors = {
        "params/dense/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "params/dense/bias": np.ones(3, np.float16),
        "step": np.asarray(7),
        "empty": np.zeros((0, 3), np.int8),
        "flag": np.array([True, False]),
    }
    safetensors.numpy.save_file(tensors, path, metadata)
    nested = {
        "params": {
            "dense": {
                "kernel": tensors["params/dense/kernel"],
                "bias": tensors["params/dense/bias"],
            }
        },
        "step": tensors["step"],
        "empty": tensors["empty"],
        "flag": tensors["flag"],
    }
    assert handle.steps() == [10]
    assert_same(handle.restore(None), nested)
    assert_same(handle.restore(jax.tree.map(np.zeros_like, nested), strict=True), nested)
    on_device = jax.tree.map(jnp.zeros_like, nested["params"])
    with pytest.warns(match="step: unexpected"):
        restored = handle.restore({"params": on_device}, partial=True)
    assert_same(restored["params"], jax.tree.map(jnp.asarray, nested["params"]))
    leaves = {name: str(info) for name, info in handle.leaves().items()}
    assert leaves == {
        "params/dense/kernel": "float32[2,3]",
        "params/dense/bias": "float16[3]",
        "step": "int64[]",
        "empty": "int8[0,3]",
        "flag": "bool[2]",
    }


def test_names_with_dots_are_kept(handle, path, assert_same):
    tensors = {"layers.0.weight": np.ones((2, 3), np.float32), "layers.0.bias": np.zeros(2)}
    safetensors.numpy.save_file(tensors, path)
    assert_same(handle.restore(None), tensors)
    assert_same(handle.restore(jax.tree.map(np.zeros_like, tensors)), tensors)
    with pytest.raises(CheckpointMismatchError, match=r"did you mean its layers.0.weight\?"):
        handle.restore({"layers.0.weights": np.ones((2, 3))})


@pytest.mark.parametrize(
    "names", [("a", "a/b"), ("a/b/c", "a"), ("a~", "a~0"), ("~", "a")], ids=str
)
def test_conflicting_names_stay_flat(handle, path, assert_same, names):
    tensors = {name: np.full(2, number) for number, name in enumerate(names)}
    safetensors.numpy.save_file(tensors, path)
    assert_same(handle.restore(None), tensors)
    assert len(handle.leaves()) == 2


def test_file_rewritten_by_another_library_keeps_its_names(handle, path, assert_same):
    tree = {"a/b": np.ones(2), "c": {"d~": np.zeros(3)}, "__metadata__": np.ones(1)}
    ours = handle.save(tree, 9)
    safetensors.numpy.save_file(safetensors.numpy.load_file(ours), path)
    assert_same(handle.restore(None, 10), tree)


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2"), ("F8_E8M0", "float8_e8m0fnu"),
        ("F8_E4M3FNUZ", "float8_e4m3fnuz"), ("F8_E5M2FNUZ", "float8_e5m2fnuz"),
        ("BF16", "bfloat16"), ("C64", "complex64"), ("U16", "uint16"),
    ],
)  # fmt: skip
def test_every_dtype_of_the_format_is_read(handle, path, stored, name):
    dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
    value = np.array([1, 2, 4], np.float32).astype(dtype)
    raw(path, {"x": entry(stored, [3], 0, value.nbytes)}, value.tobytes())
    with safetensors.safe_open(path, "numpy") as file:
        assert file.get_slice("x").get_dtype() == stored
    restored = handle.restore(None)["x"]
    assert restored.dtype == dtype
    assert restored.tobytes() == value.tobytes()


def test_dtype_unknown_to_numpy_is_not_damage(handle, path):
    raw(path, {"x": entry("F4", [4], 0, 2)}, b"\0\0")
    with pytest.raises(CheckpointError, match="x: another library has saved it as 'F4'") as caught:
        handle.restore(None)
    assert not isinstance(caught.value, CheckpointDamagedError)


def test_unaligned_tensors_are_read(handle, path, assert_same):
    data = b"\1" + np.arange(3.0).tobytes()
    raw(path, {"a": entry("U8", [1], 0, 1), "b": entry("F64", [3], 1, 25)}, data)
    restored = handle.restore(None)
    assert_same(restored, {"a": np.array([1], np.uint8), "b": np.arange(3.0)})
    assert restored["b"].flags.aligned


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)},
        {"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 4, 6)},
        {"a": entry("U8", [7], 0, 7)},
        {"a": entry("U8", [5], 0, 5)},
        {"a": entry("U8", [6], 0, 5)},
        {"a": entry("U8", [-6], 0, 6)},
        {"a": entry("U8", [2, 3.0], 0, 6)},
        {"a": entry("U8", ["6"], 0, 6)},
        {"a": entry(["U8"], [6], 0, 6)},
        {"a": {"dtype": "U8", "shape": [6]}},
        {"a": 3},
        {"a": entry("U8", [6], 0, 6), "__metadata__": 3},
        {"a": entry("U8", [6], 0, 6), "__metadata__": {"fifteen.checkpoint": "{}"}},
        {"a": entry("U8", [6], 0, 6), "__metadata__": {"fifteen.crc32c": "00000000"}},
        b"[]",
        b"3",
        b"{",
        b'{"a"}',
        b'"\xff"',
        b"",
    ],
    ids=str,
)
def test_invalid_header_is_damage(handle, path, header):
    raw(path, header, b"\0" * 6)
    for call in (lambda: handle.restore(None), handle.leaves):
        with pytest.raises(CheckpointDamagedError, match=path.name):
            call()


@pytest.mark.parametrize("header", [b'{"a":' * 100_000, None], ids=["json", "names"])
def test_deeply_nested_header_is_refused(handle, path, header):
    raw(path, header or {"/".join("a" * 20_000): entry("U8", [1], 0, 1)}, b"\0")
    with pytest.raises(CheckpointError, match=path.name):
        handle.restore(None)


def test_our_damaged_file_is_not_read_as_a_foreign_one(handle):
    path = handle.save({"w": np.arange(3)}, 1)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    for at in range(8, 8 + length):
        for bit in (1, 32):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            with pytest.raises(CheckpointDamagedError):
                handle.restore(None)
