"""Flax files, restored without flax."""

import struct
import warnings

import flax.serialization
import flax.struct
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import ml_dtypes
import msgpack
import numpy as np
import optax
import pytest
from flax.training import train_state

from fifteen.experiments import CheckpointDamagedError, ExperimentWarning
from fifteen.experiments.checkpoints import Checkpoints
from fifteen.experiments.storage import ReadableFile


def save(tmp_path, target, name="checkpoint_3"):
    (tmp_path / name).write_bytes(flax.serialization.to_bytes(target))


def restore(tmp_path, target, step=None, strict=True, partial=False):
    return Checkpoints(tmp_path).restore(target, step, "checkpoint_", strict, partial)[0]


def assert_same(one, other):
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b), strict=True),
        one,
        other,
    )


@pytest.mark.slow
def test_train_state_round_trips(tmp_path):
    params = {"dense": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3, jnp.bfloat16)}}
    state = train_state.TrainState.create(apply_fn=len, params=params, tx=optax.adam(1e-3))
    state = state.apply_gradients(grads=jax.tree.map(jnp.ones_like, params))
    save(tmp_path, state)
    blank = train_state.TrainState.create(
        apply_fn=len, params=jax.tree.map(jnp.zeros_like, params), tx=state.tx
    )
    restored = restore(tmp_path, blank)
    assert_same(restored, state)
    assert isinstance(restored.params["dense"]["bias"], jax.Array)
    assert restored.step == 1


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=dtype).reshape(2, 3)
        for dtype in (np.float64, np.int8, np.uint64, np.complex64, np.float16)
    ]
    + [
        np.ones(3, ml_dtypes.bfloat16),
        np.array([True, False]),
        np.zeros((0, 4), np.float32),
        np.array(3.5),
        np.float32(2.5),
        np.int64(-1),
        7,
        -(2**62),
        2.5,
        True,
        1 + 2j,
        "text",
        b"bytes",
        np.arange(100_000),
        np.ones(40, np.uint8),
        np.ones(300, np.uint8),
    ],
    ids=repr,
)
def test_every_kind_of_leaf_round_trips(tmp_path, value):
    save(tmp_path, {"a": value})
    found = restore(tmp_path, {"a": value})["a"]
    assert type(found) is type(value)
    if isinstance(value, np.ndarray | np.generic):
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)
    else:
        assert found == value
    assert restore(tmp_path, None)["a"] == value if np.ndim(value) == 0 else True


def test_lists_tuples_and_none(tmp_path):
    target = {
        "l": [np.ones(1), (np.zeros(2), None)],
        "none": None,
        "empty": {},
        "ints": {3: np.ones(3)},
    }
    save(tmp_path, target)
    assert_same(restore(tmp_path, target), target)
    nested = restore(tmp_path, None)
    assert nested["none"] is None
    assert nested["empty"] == {}
    assert nested["l"]["1"]["1"] is None


def test_single_array(tmp_path):
    save(tmp_path, np.arange(3))
    np.testing.assert_array_equal(restore(tmp_path, np.zeros(3, int)), np.arange(3))


def test_chunked_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 100)
    target = {"a": np.arange(500.0).reshape(5, 100), "b": {"c": jnp.arange(1000)}}
    save(tmp_path, target)
    assert b"__msgpack_chunked_array__" in (tmp_path / "checkpoint_3").read_bytes()
    assert_same(restore(tmp_path, target), target)
    assert Checkpoints(tmp_path).leaves(3, "checkpoint_")["a"].shape == (5, 100)


def test_namedtuples_of_the_first_versions(tmp_path):
    count = np.asarray(3, np.int32)
    adam = optax.ScaleByAdamState(count=count, mu={"w": np.ones(2)}, nu={"w": np.zeros(2)})
    old = {
        "name": "ScaleByAdamState",
        "fields": {"0": "count", "1": "mu", "2": "nu"},
        "values": {"0": count, "1": {"w": np.ones(2)}, "2": {"w": np.zeros(2)}},
    }
    save(tmp_path, {"opt": old})
    assert_same(restore(tmp_path, {"opt": adam}), {"opt": adam})


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        (np.arange(3.0), np.ones(3)),
        ([np.ones(2)], [np.zeros(2)]),
        (["x", "y"], [np.ones(2)]),
        (["x y"], [np.ones(2)]),
        (["x", "x"], [np.ones(2), np.ones(2)]),
        ({"0": "x", "2": "y"}, {"0": np.ones(2), "2": np.ones(2)}),
        ({"0": "x"}, {"1": np.ones(2)}),
        (["x"], 3.5),
    ],
    ids=repr,
)
def test_dict_with_the_keys_of_a_namedtuple_stays_a_dict(tmp_path, fields, values):
    target = {"name": "heat", "fields": fields, "values": values}
    save(tmp_path, target)
    assert_same(restore(tmp_path, target), target)


@pytest.mark.parametrize("length", [0, 1, 5, 40, -1])
def test_truncated_file_is_damaged(tmp_path, length):
    save(tmp_path, {"a": np.arange(100), "b": 3})
    path = tmp_path / "checkpoint_3"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointDamagedError, match="checkpoint_3: "):
        restore(tmp_path, {"a": np.zeros(100, int), "b": 0})


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 an archive",
        msgpack.packb({"a": msgpack.ExtType(77, b"")}),
        msgpack.packb({"a": msgpack.ExtType(1, b"\x93")}),
        msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb(((2,), "object", b"1" * 16)))}),
        msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb(((9,), "int8", b"1")))}),
        msgpack.packb({"a": {"__msgpack_chunked_array__": True, "shape": {"0": 3}, "chunks": {}}}),
        struct.pack("B", 0xDF) + b"\xff" * 4,
    ],
)
def test_msgpack_of_other_origin_is_damaged(tmp_path, content):
    (tmp_path / "checkpoint_3").write_bytes(content)
    with pytest.raises(CheckpointDamagedError, match="checkpoint_3: "):
        restore(tmp_path, None, 3)


def test_only_requested_leaves_are_read(tmp_path, monkeypatch):
    save(tmp_path, {"a": np.ones(1 << 20), "b": np.arange(3), "c": np.ones(1 << 20), "d": 7})
    total = 0
    read, read_into = ReadableFile.read, ReadableFile.read_into

    def count(file, *rest):
        nonlocal total
        found = read(file, *rest)
        total += len(found)
        return found

    def count_into(file, buffer, start):
        nonlocal total
        total += len(buffer)
        return read_into(file, buffer, start)

    monkeypatch.setattr(ReadableFile, "read", count)
    monkeypatch.setattr(ReadableFile, "read_into", count_into)
    with pytest.warns(ExperimentWarning, match="unexpected"):
        found = restore(tmp_path, {"b": np.zeros(3, int), "d": 0}, partial=True)
    assert found["b"].tolist() == [0, 1, 2]
    assert found["d"] == 7
    assert total < 1 << 16


@hypothesis.given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
        | st.binary() | st.sampled_from([1, 2**7, 2**15, 2**16]).map(lambda size: "x" * size),
        lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
        max_leaves=40,
    )
)  # fmt: skip
def test_every_form_of_msgpack_is_read(tmp_path_factory, tree):
    directory = tmp_path_factory.mktemp("run")
    (directory / "checkpoint_3").write_bytes(msgpack.packb({"a": tree}))
    found = restore(directory, None, 3) if tree is not None else {"a": None}
    assert repr(found) == repr({"a": tree})


def test_arrays_of_several_processes_are_next_to_the_file(tmp_path):
    import tensorstore

    spread = np.arange(24, dtype=np.float32).reshape(4, 6)
    save(tmp_path, {"params": {"w": "//GDAPlaceholder:params/w"}, "step": 5})
    directory = tmp_path / "checkpoint_3_gda" / "params" / "w"
    tensorstore.open(
        {
            "driver": "zarr",
            "kvstore": {"driver": "file", "path": f"{directory}/"},
            "metadata": {"compressor": {"id": "gzip"}, "shape": [4, 6], "chunks": [2, 6]},
            "dtype": "float32",
        },
        create=True,
    ).result().write(spread).result()
    target = {"params": {"w": jnp.zeros((4, 6))}, "step": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restored = restore(tmp_path, target)
    np.testing.assert_array_equal(restored["params"]["w"], spread)
    assert restored["step"] == 5
    assert str(Checkpoints(tmp_path).leaves(3, "checkpoint_")["params/w"]) == "float32[4,6]"
    assert Checkpoints(tmp_path).steps("checkpoint_") == [3]
