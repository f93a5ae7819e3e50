import itertools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fifteen.experiments import ExperimentWarning, TensorboardLogData
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.events.writing._histogram import histogram
from fifteen.experiments.storage import Directory

DTYPES = [
    np.float16,
    np.float32,
    np.float64,
    np.int8,
    np.uint8,
    np.int32,
    np.int64,
    np.uint64,
    bool,
]
SMALL_FLOATS = [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]


def assert_right(counted, values):
    """Compare with counting the values one by one in exact arithmetic."""
    values = np.asarray(values).reshape(-1)
    exact = values.astype(np.float64) if values.dtype != np.float64 else values
    finite = exact[np.isfinite(exact)]
    assert counted.not_finite == values.size - finite.size
    assert counted.counts.sum() == finite.size
    if not finite.size:
        return
    edges = counted.edges
    assert (edges[0], edges[-1]) == (finite.min(), finite.max())
    assert len(counted.counts) <= 66
    if finite.min() == finite.max():
        return
    assert (np.diff(edges) > 0).all()
    # A bucket includes its left edge, and the last one its right edge too.
    expected = np.zeros(len(counted.counts))
    where = np.minimum(np.searchsorted(edges, finite, side="right") - 1, len(expected) - 1)
    np.add.at(expected, where, 1)
    np.testing.assert_array_equal(counted.counts, expected)
    smallest, largest, number, total, squares = counted.moments.values()
    assert (smallest, largest, number) == (finite.min(), finite.max(), finite.size)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(total, finite.sum(), rtol=1e-9, atol=1e-9 * abs(finite).max())
        np.testing.assert_allclose(squares, (finite**2).sum(), rtol=1e-9)


@given(
    st.one_of(
        hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40))
        for dtype in DTYPES
    )
)
def test_any_array_is_counted_correctly(values):
    assert_right(histogram(values), values)


@given(hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1, 1, width=32)))
def test_small_floats(values):
    for dtype in SMALL_FLOATS:
        assert_right(histogram(values.astype(dtype)), values.astype(dtype))


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-3, 1.0, 1e3, 1e30])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e8])
@pytest.mark.parametrize("size", [1_000_000, 65_537, 131_072])
def test_large_arrays(scale, offset, size):
    values = np.random.default_rng(0).normal(size=size).astype(np.float32) * np.float32(scale)
    values += np.float32(offset * scale)
    assert_right(histogram(values), values)


def test_tiny_values_beside_large_ones():
    values = np.array([-1e-45, 1e-45, -1e38, 1e38, 0.0, -0.0], np.float32)
    assert_right(histogram(values), values)
    assert_right(histogram(values.astype(np.float64) * 1e-300), values.astype(np.float64) * 1e-300)
    odd = np.array([-1.5e231, -1.1e-94, -5e-324, 5e-324])
    assert_right(histogram(odd), odd)
    assert_right(histogram(odd[:2]), odd[:2])
    assert_right(histogram(np.array([-1.7e308, 1.7e308, 0.0])), np.array([-1.7e308, 1.7e308, 0.0]))


def test_edges_follow_the_range():
    counted = histogram(np.random.default_rng(0).uniform(3, 4, 10_000))
    assert 30 < len(counted.counts) <= 65
    assert counted.counts.min() > 0


def test_log_of_odd_values(tmp_path):
    odd = {
        "scalar": jnp.float32(2),
        "empty": jnp.zeros((0, 3)),
        "constant": jnp.full((2, 3), 5, jnp.bfloat16),
        "nan": jnp.array([1.0, jnp.nan, jnp.inf, 3.0]),
        "only nan": jnp.array([jnp.nan]),
        "bool": jnp.array([True, False, True]),
        "float8": jnp.array([1, 2], jnp.float8_e4m3fn),
        "list": [1.0, 2.0],
        "number": 3,
        "sharded": jax.device_put(
            jnp.arange(8), jax.NamedSharding(jax.make_mesh((8,), ("d",)), jax.P("d"))
        ),
    }
    log = EventLog(Directory(tmp_path))
    log.log(TensorboardLogData(histograms=odd), 7, 1, 1)
    with pytest.warns(ExperimentWarning) as warned:
        log.close()
    assert [str(warning.message) for warning in warned] == [
        "histograms at step 7: NaN or infinite values are left out: 2 of 4 in 'nan', "
        "1 of 1 in 'only nan'"
    ]
    found = {
        tag: series.counts[0].sum()
        for tag, series in EventReader(Directory(tmp_path)).histograms().items()
    }
    empty = EventReader(Directory(tmp_path)).histograms()["only nan"]
    assert len(empty.edges[0]) == len(empty.counts[0]) + 1
    expected = {tag: np.isfinite(np.asarray(value, np.float32)).sum() for tag, value in odd.items()}
    assert found == expected


def test_array_changed_after_logging_is_counted_as_logged(tmp_path):
    log = EventLog(Directory(tmp_path))
    values = np.zeros(100, np.float32)
    for step, _ in enumerate(itertools.repeat(None, 5)):
        values[:] = step
        log.log(TensorboardLogData(histograms={"h": values}), step, 1, 1)
    log.close()
    assert [edges[0] for edges in EventReader(Directory(tmp_path)).histograms()["h"].edges] == [
        0,
        1,
        2,
        3,
        4,
    ]
