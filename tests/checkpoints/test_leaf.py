"""Leaves of every dtype and every Python type round-trip exactly."""

import enum
import math
import struct

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.extend import random as jax_random

from fifteen.experiments import CheckpointError

NATIVE = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64",
]  # fmt: skip
OTHERS = [
    "complex64", "complex128", "int2", "uint2", "int4", "uint4", "float4_e2m1fn",
    "float6_e2m3fn", "float6_e3m2fn", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz",
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
]  # fmt: skip


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name, None) or name)


@pytest.mark.parametrize("name", NATIVE + OTHERS)
def test_every_numpy_dtype(handle, assert_same, name):
    values = np.array([0, 1, 1, 0, 1, 1], np.float32).astype(dtype_of(name))
    tree = {
        "scalar": values[1],
        "axis-free": values[1].reshape(()),
        "empty": values[:0].reshape(0, 3),
        "matrix": values.reshape(2, 3),
        "turned": values.reshape(2, 3).T,
        "strided": values[::2],
    }
    handle.save(tree)
    assert_same(handle.restore(tree), tree)
    assert {info.dtype for info in handle.leaves().values()} == {name}
    assert handle.leaves()["turned"].shape == (3, 2)


@pytest.mark.parametrize(
    "name", [n for n in NATIVE + OTHERS if n not in ("float6_e2m3fn", "float6_e3m2fn")]
)
def test_every_jax_dtype(handle, assert_same, name):
    with jax.enable_x64(True):
        values = jnp.asarray(np.array([0, 1, 1], np.float32).astype(dtype_of(name)))
        assert values.dtype.name == name
        tree = {"scalar": values[1], "vector": values, "empty": values[:0]}
        handle.save(tree)
        assert_same(handle.restore(tree), tree)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_nan_payloads_and_signed_zeros(handle, kind):
    bits = np.array([0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000], np.uint32)
    handle.save([kind(bits.view(np.float32))])
    (restored,) = handle.restore([kind(np.zeros(4, np.float32))])
    np.testing.assert_array_equal(np.asarray(restored).view(np.uint32), bits)


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_random_keys(handle, assert_same, implementation):
    tree = {
        "one": jax.random.key(3, impl=implementation),
        "many": jax.random.split(jax.random.key(3, impl=implementation), (2, 3)),
        "old": jax.random.PRNGKey(3),
    }
    handle.save(tree)
    restored = handle.restore(tree)
    assert_same(restored, tree)
    assert jax.random.normal(restored["one"]) == jax.random.normal(tree["one"])
    assert handle.leaves()["many"].shape == (2, 3)
    untargeted = handle.restore(None)
    assert jax.random.key_impl(untargeted["many"]) == jax.random.key_impl(tree["many"])


PYTHON = {
    "int": 3,
    "negative": -(2**200),
    "long": 10**5000,
    "true": True,
    "float": 0.1,
    "tiny": 5e-324,
    "minus zero": -0.0,
    "infinite": -math.inf,
    "nan": math.nan,
    "another nan": struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0],
    "complex": complex(0.1, -math.inf),
    "text": "naïve \0 \n \u2028 \U0001f600 \ud800",
    "no text": "",
    "bytes": bytes(range(256)),
    "no bytes": b"",
    "none": None,
}


def test_python_values(handle, assert_same):
    handle.save(PYTHON)
    assert_same(handle.restore(PYTHON), PYTHON)
    assert_same(handle.restore(None), PYTHON)
    assert handle.leaves()["text"].dtype == "str"


def test_value_of_a_subclass_is_restored_as_its_base(handle):
    class Color(enum.IntEnum):
        RED = 3

    handle.save([Color.RED, np.float64(0.5), np.str_("a")])
    assert handle.restore(None) == [3, 0.5, "a"]


@pytest.mark.parametrize(
    "value",
    [
        np.array(["a", "long", ""]),
        np.array([b"a", b"bc"]),
        np.array(["2020-01-01", "NaT"], "datetime64[ns]"),
        np.array([1, 2], "timedelta64[D]"),
        np.arange(3, dtype=np.longdouble),
        np.arange(3, dtype=np.clongdouble),
        np.arange(6, dtype="<g").reshape(2, 3).T,
        np.zeros((2, 3), jax.dtypes.float0),
        np.datetime64("2020-01-01"),
    ],
    ids=lambda value: str(value.dtype),
)
def test_numpy_only_dtypes(handle, assert_same, value):
    handle.save([value])
    assert_same(handle.restore([value]), [value])


@pytest.mark.parametrize("dtype", [">i4", ">f8", ">c16", ">u2", ">M8[s]"])
def test_big_endian_arrays(handle, assert_same, dtype):
    value = np.arange(6).astype(dtype).reshape(2, 3)
    handle.save([value])
    assert_same(handle.restore([value]), [value])
    # Without a target the byte order is unknown.
    assert_same(handle.restore(None), [value.astype(value.dtype.newbyteorder("<"))])


def test_all_unsupported_leaves_are_listed_and_nothing_is_written(handle):
    tree = {
        "ok": 1,
        "object": object(),
        "set": {1},
        "references": np.array([{}], object),
        "fields": np.zeros(2, [("x", "i4"), ("y", "f4")]),
        "dtype": np.dtype("int8"),
        "masked": np.ma.masked_array([1, 2], [True, False]),
    }
    with pytest.raises(CheckpointError) as caught:
        handle.save(tree)
    text = str(caught.value)
    assert "object: expected an array, a number, a str, bytes or None, found object" in text
    assert "set: expected an array, a number, a str, bytes or None, found set" in text
    assert "references: cannot save a NumPy array of dtype object" in text
    assert (
        "fields: cannot save a NumPy array of dtype [('x', '<i4'), ('y', '<f4')]; save its fields"
        in text
    )
    assert "masked: cannot save a masked array; save its data and its mask" in text
    assert "ok" not in text.replace("object", "")
    assert not handle.directory.exists()


def test_deleted_array_is_named(handle):
    value = jnp.ones(3)
    value.delete()
    with pytest.raises(CheckpointError, match="layer/w: Array has been deleted"):
        handle.save({"layer": {"w": value}})


def test_functions_come_from_the_target(handle):
    handle.save({"f": jnp.tanh, "w": 1, "t": jnp.float32})
    assert list(handle.leaves()) == ["w"]
    assert handle.restore({"f": jnp.sin, "w": 0, "t": int}) == {"f": jnp.sin, "w": 1, "t": int}
    assert handle.restore(None) == {"f": None, "w": 1, "t": None}


def test_traced_value_is_named(handle):
    with pytest.raises(CheckpointError, match=r"w: it is a tracer.* save outside of jit"):
        jax.jit(lambda w: handle.save({"w": w}))(jnp.ones(3))


class Word(str):
    def __str__(self):
        return "something else"


def test_text_of_a_str_subclass_is_kept(handle):
    handle.save({"word": Word("text")}, 1)
    assert handle.restore({"word": ""}) == {"word": "text"}


def test_text_array_without_a_length_is_named(handle):
    array = np.array(["a"], np.dtypes.StringDType())
    with pytest.raises(CheckpointError, match=r"deep/x: cannot save a NumPy array of dtype"):
        handle.save({"deep": {"x": array}}, 1)


def test_reserved_name_of_safetensors_is_escaped(handle):
    state = {"__metadata__": np.ones(2), "~__metadata__": np.zeros(1), "a": np.ones(3)}
    handle.save(state, 1)
    restored = handle.restore(None)
    assert set(restored) == set(state)
    for name, value in state.items():
        np.testing.assert_array_equal(restored[name], value)


def test_keys_of_an_unregistered_implementation_are_refused(handle):
    known = jax_random.threefry_prng_impl
    mine = jax_random.define_prng_impl(
        key_shape=(2,),
        seed=known.seed,
        split=known.split,
        random_bits=known.random_bits,
        fold_in=known.fold_in,
        name="mine",
        tag="mine",
    )
    tree = {"key": jax.random.key(3, impl=mine), "keys": jax.random.split(jax.random.key(0), 3)}
    with pytest.raises(
        CheckpointError, match=r"  key: JAX has no name for .*mine.*key_data of them"
    ):
        handle.save(tree)
    assert handle.steps() == []
