"""Casting never truncates a value, nor changes its kind."""

import re
import warnings

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from fifteen.experiments import CheckpointMismatchError, ExperimentWarning

Struct = jax.ShapeDtypeStruct


def refused(handle, saved, target, **options):
    handle.save({"fits": 1, "x": saved, "y": saved})
    with pytest.raises(CheckpointMismatchError) as caught:
        handle.restore({"fits": 0, "x": target, "y": target}, **options)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"{handle.directory}/checkpoint_1")
    assert [line.split(":")[0] for line in lines] == ["  x", "  y"]
    return lines[0].removeprefix("  x: ")


@pytest.mark.parametrize(
    ("saved", "target", "text"),
    [
        (2**40, jnp.asarray(1), "target has dtype int32, checkpoint_1 has the int 1099511627776"),
        (300, np.int8(0), "target has dtype int8, checkpoint_1 has the int 300"),
        (300, np.array(0, np.int8), "target has dtype int8, checkpoint_1 has the int 300"),
        (300, jnp.int8(0), "target has dtype int8, checkpoint_1 has the int 300"),
        (9, jnp.int4(0), "target has dtype int4, checkpoint_1 has the int 9"),
        (9, np.array(0, ml_dtypes.int4), "target has dtype int4, checkpoint_1 has the int 9"),
        (-1, np.uint8(0), "target has dtype uint8, checkpoint_1 has the int -1"),
        (-1, jnp.uint32(0), "target has dtype uint32, checkpoint_1 has the int -1"),
        (2**100, np.int64(0), "target has dtype int64, checkpoint_1 has the int 12676506002282"),
        (2**100, np.float64(0), "target has dtype float64, checkpoint_1 has the int 126765060022"),
        (2**200, jnp.float32(0), "target has dtype float32, checkpoint_1 has an int of 201 bits"),
        pytest.param(
            10**5000,
            np.int64(0),
            "target has dtype int64, checkpoint_1 has an int of 16610 bits",
            id="huge",
        ),
        (2**40, Struct((), np.int64), "target has dtype int64, checkpoint_1 has the int 109951"),
        (1e300, jnp.float32(0), "target has dtype float32, checkpoint_1 has the float 1e+300"),
        (1e300, np.float16(0), "target has dtype float16, checkpoint_1 has the float 1e+300"),
        (1e10, jnp.zeros((), jnp.float8_e4m3fn), "target has dtype float8_e4m3fn, checkpoint_1"),
        (
            1000.0,
            jnp.float4_e2m1fn(0),
            "target has dtype float4_e2m1fn, checkpoint_1 has the float",
        ),
        (-9.0, np.array(0, ml_dtypes.float6_e2m3fn), "target has dtype float6_e2m3fn, checkpoint"),
        (float("inf"), jnp.float8_e4m3fn(0), "target has dtype float8_e4m3fn, checkpoint_1 has"),
        (float("inf"), jnp.float4_e2m1fn(0), "target has dtype float4_e2m1fn, checkpoint_1 has"),
        (float("nan"), jnp.float4_e2m1fn(0), "target has dtype float4_e2m1fn, checkpoint_1 has"),
        (0.0, jnp.float8_e8m0fnu(0), "target has dtype float8_e8m0fnu, checkpoint_1 has the float"),
        (1e300j, np.complex64(0), "target has dtype complex64, checkpoint_1 has the complex 1e+30"),
    ],
)
def test_python_number_is_not_truncated_to_the_target_dtype(handle, saved, target, text):
    line = refused(handle, saved, target)
    assert line.startswith(text)
    assert re.search(
        r"which \w+ cannot hold; change the target's leaf|which no array can hold; ", line
    )


@pytest.mark.parametrize(
    ("saved", "target"),
    [
        (127, np.int8(0)),
        (-8, jnp.int4(0)),
        (2**32 - 1, jnp.uint32(0)),
        (2**64 - 1, np.uint64(0)),
        (0.5, jnp.bfloat16(0)),
        (-6.0, jnp.float4_e2m1fn(0)),
        (7.5, np.array(0, ml_dtypes.float6_e2m3fn)),
        (448.0, jnp.float8_e4m3fn(0)),
        (2.0**127, jnp.float8_e8m0fnu(0)),
        (3.4028234663852886e38, jnp.float32(0)),
        (complex("inf+1j"), np.complex64(0)),
        (float("inf"), jnp.float32(0)),
        (float("-inf"), np.float16(0)),
    ],
)
def test_python_number_that_fits_is_restored(handle, saved, target):
    handle.save({"x": saved})
    restored = handle.restore({"x": target}, strict=True)["x"]
    assert restored.item() == saved
    assert restored.dtype == target.dtype


LOST = [
    (np.array([1, 2**40]), "int64", "1099511627776", "int32"),
    (np.array([-(2**31) - 1, 5]), "int64", "-2147483649", "int32"),
    (np.array([2**63, 0], np.uint64), "uint64", "9223372036854775808", "uint32"),
    (np.array([np.nan, -1e300]), "float64", "-1e+300", "float32"),
    (np.array([1, 1e300j]), "complex128", "1e+300j", "complex64"),
]


@pytest.mark.parametrize(("saved", "dtype", "value", "held"), LOST)
@pytest.mark.parametrize("strict", [True, False])
def test_64_bits_are_not_truncated_without_x64(handle, saved, dtype, value, held, strict):
    for target in (Struct((2,), saved.dtype), jnp.zeros(2, held)):
        handle.save({"x": saved}, overwrite=True)
        with pytest.raises(CheckpointMismatchError) as caught:
            handle.restore({"x": target}, strict=strict)
        text = str(caught.value)
        if strict:
            assert f"as {held}" in text
        else:
            assert (
                f"x: target has dtype {target.dtype}, checkpoint_1 has {dtype} with {value}, "
                f"which {held} cannot hold; set jax_enable_x64, "
                "or give a NumPy array as the target's leaf" in text.replace("(0+1e", "1e")
            ), text


def test_all_values_that_do_not_fit_are_listed_without_a_warning(handle):
    handle.save({"a": np.array([2**40]), "b": 300, "c": np.float64(1), "d": np.full(9, 1e99)})
    target = {"a": jnp.zeros(1, int), "b": np.int8(), "c": jnp.float32(0), "d": jnp.zeros(9)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointMismatchError) as caught:
            handle.restore(target)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == ["  a", "  b", "  d"]


@pytest.mark.parametrize(
    ("saved", "held"),
    [
        (np.array([3, -(2**31)]), "int32"),
        (np.array([2**32 - 1, 0], np.uint64), "uint32"),
        (np.array([0.1, np.inf]), "float32"),
        (np.array([0.1, complex(np.nan, 1)]), "complex64"),
    ],
)
def test_64_bits_that_fit_are_restored_with_a_warning(handle, saved, held):
    handle.save({"x": saved})
    end = (
        f"took the checkpoint's as {held}, because jax_enable_x64 is off; "
        "strict=True makes this an error"
    )
    for target in (Struct((2,), saved.dtype), Struct((2,), held), jnp.zeros(3, held)):
        with pytest.warns(ExperimentWarning) as caught:
            restored = handle.restore({"x": target})["x"]
        assert str(caught[0].message).endswith(end)
        assert restored.dtype == held
        np.testing.assert_array_equal(restored, saved.astype(held))
    with pytest.raises(CheckpointMismatchError) as caught:
        handle.restore({"x": Struct((2,), saved.dtype)}, strict=True)
    assert str(caught.value).endswith(
        f"x: target and checkpoint_1 have dtype {saved.dtype}; "
        f"set jax_enable_x64, or pass strict=False to take the checkpoint's as {held}"
    )


@pytest.mark.parametrize("saved", [np.array([1, 2**40]), np.array([1e300]), np.array([1e300j])])
def test_64_bits_are_kept_with_x64(handle, assert_same, saved):
    handle.save({"x": saved})
    with jax.enable_x64(True):
        restored = handle.restore({"x": Struct(saved.shape, saved.dtype)}, strict=True)["x"]
        assert_same({"x": restored}, {"x": jnp.asarray(saved)})


def test_large_unsigned_number_into_a_weakly_typed_target(handle):
    with jax.enable_x64(True):
        handle.save({"x": np.uint64(2**63)})
        with pytest.warns(ExperimentWarning, match="target has dtype int64, checkpoint_1 has uint"):
            restored = handle.restore({"x": jnp.asarray(1)})["x"]
        assert restored.dtype == np.uint64
        assert int(restored) == 2**63


OTHER_KINDS = [
    np.array(["a", "b"]),
    np.array([b"a", b"b"]),
    np.array(["2020-01-01", "2021-01-01"], "M8[D]"),
    np.array([1, 2], "m8[s]"),
    np.zeros(2, jax.dtypes.float0),
]


@pytest.mark.parametrize("saved", OTHER_KINDS, ids=str)
@pytest.mark.parametrize("target", [np.zeros(2), jnp.zeros(2), Struct((2,), np.int32)])
def test_texts_and_dates_do_not_become_numbers(handle, saved, target):
    line = refused(handle, saved, target)
    assert line.startswith(f"target has dtype {target.dtype}, checkpoint_1 has ")
    assert line.endswith("; change the target's leaf")


@pytest.mark.parametrize("target", OTHER_KINDS, ids=str)
def test_numbers_do_not_become_texts_or_dates(handle, target):
    line = refused(handle, np.zeros(2), target, strict=True)
    assert line.endswith("checkpoint_1 has float64; change the target's leaf")


@pytest.mark.parametrize("saved", [np.datetime64("2020-01-01"), np.timedelta64(1, "s")])
def test_date_does_not_become_a_python_number(handle, saved):
    assert refused(handle, saved, 1).endswith("; change the target's leaf")


def test_text_lengths_and_date_units_are_those_of_the_checkpoint(handle):
    saved = {"x": np.array(["abc"]), "y": np.array([1], "m8[D]")}
    handle.save(saved)
    with pytest.warns(ExperimentWarning, match="x: target has dtype <U5, checkpoint_1 has <U3"):
        restored = handle.restore({"x": np.array(["abcde"]), "y": np.array([1], "m8[s]")})
    for name in "xy":
        assert restored[name].dtype == saved[name].dtype
        np.testing.assert_array_equal(restored[name], saved[name])


def is_dtype_of_jax(dtype):
    try:
        jnp.zeros(1, dtype)
    except (TypeError, jax.errors.JaxRuntimeError):
        return False
    return True


without_float6 = pytest.mark.skipif(
    is_dtype_of_jax(ml_dtypes.float6_e2m3fn), reason="this JAX has arrays of float6"
)


@pytest.mark.parametrize(
    "dtype",
    [
        np.longdouble,
        np.clongdouble,
        pytest.param(ml_dtypes.float6_e2m3fn, marks=without_float6),
    ],
)
@pytest.mark.parametrize("target", [jnp.zeros(2), Struct((2,), np.float32)])
def test_dtype_unknown_to_jax_is_refused(handle, dtype, target):
    line = refused(handle, np.ones(2, dtype), target)
    assert line == (
        f"target has dtype float32, checkpoint_1 has {np.dtype(dtype).name}, "
        "of which JAX has no arrays; give a NumPy array as the target's leaf"
    )


@without_float6
def test_python_number_into_a_dtype_unknown_to_jax_is_refused(handle):
    line = refused(handle, 1.5, Struct((), ml_dtypes.float6_e2m3fn))
    assert line == (
        "target has dtype float6_e2m3fn, checkpoint_1 has the float 1.5, and JAX has no arrays of "
        "that dtype; give a NumPy array, or another dtype, as the target's leaf"
    )


def test_float0_is_restored_as_numpy(handle):
    handle.save({"x": np.zeros(3, jax.dtypes.float0)})
    restored = handle.restore({"x": Struct((3,), jax.dtypes.float0)}, strict=True)["x"]
    assert type(restored) is np.ndarray
    assert (restored.shape, restored.dtype) == ((3,), jax.dtypes.float0)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="a longdouble is a double here")
def test_longdouble_does_not_become_a_python_float(handle):
    handle.save({"x": np.longdouble(1) / 3})
    with pytest.warns(ExperimentWarning, match="target has dtype float, checkpoint_1 has float128"):
        assert handle.restore({"x": 0.0})["x"] == np.longdouble(1) / 3


@pytest.mark.parametrize("value", [complex(np.inf, 1e300), complex(1e300, np.nan)])
@pytest.mark.parametrize("saved", [complex, np.asarray])
def test_complex_number_with_one_part_out_of_range_is_refused(handle, saved, value):
    handle.save({"x": saved(value)})
    with pytest.raises(CheckpointMismatchError, match=r"x: .*complex64 cannot hold"):
        handle.restore({"x": jnp.zeros((), jnp.complex64)})
