import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fifteen.experiments import ScalarSeries
from fifteen.view._curves import Curve, curve_of, diverged, downsample, limits, mean_of, smooth


def series(values, step=None, wall_time=None):
    step = np.arange(len(values)) if step is None else np.array(step)
    times = step.astype(float) if wall_time is None else np.array(wall_time, float)
    return ScalarSeries(step, times, np.array(values, float))


def line(y, x=None):
    y = np.array(y, float)
    return Curve(np.arange(len(y), dtype=float) if x is None else np.array(x, float), y)


def smooth_one_by_one(values, weight):
    """Smooth point by point, as TensorBoard does."""
    result, last, count = [], 0.0, 0
    for value in values:
        if not math.isfinite(value):
            result.append(value)
            continue
        last, count = last * weight + (1 - weight) * value, count + 1
        result.append(last / (1 - weight**count))
    return result


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf), max_size=200),
    st.floats(0.001, 0.999),
)
def test_smoothing_matches_tensorboard(values, weight):
    found = smooth(np.array(values, float), weight)
    np.testing.assert_allclose(found, smooth_one_by_one(values, weight), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("weight", [0.01, 0.6, 0.999])
def test_smoothing_of_a_long_curve_stays_exact(weight):
    values = np.random.default_rng(0).normal(3, 1, 20_000)
    np.testing.assert_allclose(smooth(values, weight), smooth_one_by_one(values, weight), 1e-9)


@pytest.mark.parametrize("weight", [-0.1, 1, math.nan])
def test_smoothing_has_a_range(weight):
    with pytest.raises(ValueError, match="smoothing: expected at least 0 and below 1, found"):
        smooth(np.ones(3), weight)


def test_x_axis_is_steps_seconds_or_a_scalar():
    scalars = {
        "loss": series([3, 2, 1], step=[10, 20, 30], wall_time=[105, 107, 109]),
        "tokens": series([1e3, 3e3, 4e3], step=[5, 10, 30], wall_time=[100, 105, 109]),
    }
    assert curve_of(scalars, "loss").x.tolist() == [10, 20, 30]
    assert curve_of(scalars, "loss", "time").x.tolist() == [5, 7, 9]
    by_tokens = curve_of(scalars, "loss", "tokens")
    assert (by_tokens.x.tolist(), by_tokens.y.tolist()) == ([3e3, 4e3], [3, 1])
    assert curve_of(scalars, "accuracy") is None
    assert curve_of(scalars, "loss", "epochs") is None


def test_curve_records_where_it_diverges():
    curve = curve_of({"loss": series([3, math.inf, 1, math.nan], step=[2, 4, 6, 8])}, "loss")
    assert curve.diverged_at == 4
    np.testing.assert_array_equal(curve.y, [3, math.nan, 1, math.nan])


def test_point_with_non_finite_x_is_omitted():
    scalars = {"loss": series([3, 2, math.nan]), "tokens": series([10, math.inf, math.nan])}
    curve = curve_of(scalars, "loss", "tokens")
    assert (curve.x.tolist(), curve.y.tolist(), curve.diverged_at) == ([10], [3], 10)


def test_mean_has_a_band_of_one_standard_deviation():
    mean = mean_of([line([1, 2, 3]), line([3, 4, 5]), line([5, 6], x=[0, 1])])
    assert mean.count == 3
    np.testing.assert_allclose(mean.y, [3, 4, 4])
    deviation = [2, 2, math.sqrt(2)]  # The sample's, as in pandas and `compare`.
    np.testing.assert_allclose(mean.high - mean.y, deviation)
    np.testing.assert_allclose(mean.y - mean.low, deviation)


def test_curves_are_interpolated_but_not_extrapolated():
    mean = mean_of([line([0, 10], x=[0, 10]), line([4], x=[5])])
    assert mean.x.tolist() == [0, 5, 10]
    np.testing.assert_allclose(mean.y, [0, 4.5, 10])


@given(
    st.lists(st.floats(-100, 100) | st.just(math.nan), min_size=1, max_size=500),
    st.integers(2, 100),
)
def test_downsampling_keeps_extremes_and_ends(values, points):
    curve = line(values)
    found = downsample(curve, points)
    assert len(found.x) <= points + 2 or len(found.x) == len(values) <= points
    assert {found.x[0], found.x[-1]} == {0, len(values) - 1}
    assert (np.diff(found.x) > 0).all()
    if np.isfinite(curve.y).any():
        assert np.nanmin(found.y) == np.nanmin(curve.y)
        assert np.nanmax(found.y) == np.nanmax(curve.y)


def test_downsampling_keeps_the_band():
    x = np.arange(1000.0)
    found = downsample(Curve(x, np.sin(x), np.sin(x) - 1, np.sin(x) + 1), 50)
    np.testing.assert_allclose(found.high - found.y, 1)
    assert len(found.low) == len(found.high) == len(found.x) <= 52


def test_diverged_run_is_named_and_does_not_flatten_others():
    curves = {
        "good": line(np.linspace(1, 0.1, 100)),
        "other": line(np.linspace(2, 0.2, 100)),
        "nan": Curve(np.arange(3.0), np.array([1, 1e30, math.nan]), diverged_at=2.0),
        "far": line(np.linspace(1, 1e9, 100)),
    }
    assert diverged(curves) == {"nan": "not finite from 2 on", "far": "reaches 1e+09"}
    low, high = limits(curves)
    assert -0.1 < low < 0.1
    assert 2 < high < 2.2


def test_limits_include_a_mean_after_one_run_diverged():
    ends = Curve(np.arange(3.0), np.array([4, 4, math.nan]), diverged_at=2.0)
    curves = {"mean": mean_of([line([4, 3, 3]), ends]), "low": line([1, 0.9, 0.8])}
    assert diverged(curves) == {"mean": "not finite from 2 on"}
    low, high = limits(curves)
    assert low < 0.8 < 4 < high
    curves["mean"] = mean_of([line([4, 3, 3]), Curve(ends.x, np.array([4, 1e30, math.nan]))])
    assert limits(curves)[1] < 5


def test_limits_of_a_diverged_run_show_its_earlier_values():
    y = np.concatenate([np.linspace(1, 0.1, 95), np.geomspace(1, 1e30, 5), [math.nan]])
    low, high = limits({"run": Curve(np.arange(101.0), y, diverged_at=100.0)})
    assert low < 0.1
    assert 0.5 < high < 2


def test_limits_of_a_run_that_became_nan_show_all_of_it():
    y = np.append(1 + np.exp(-np.arange(20.0)), math.nan)
    low, high = limits({"run": Curve(np.arange(21.0), y, diverged_at=20.0)})
    assert low < 1 < 2 < high


def test_limits_of_a_logarithmic_axis_are_positive():
    low, high = limits({"run": line([-1, 0, 0.001, 10])}, log=True)
    assert 0 < low < 0.001 < 10 < high
    assert limits({"run": line([-1, 0])}, log=True) is None
    assert limits({}) is None


@given(st.lists(st.floats(), max_size=30), st.booleans())
def test_limits_of_any_values_are_finite(values, log):
    series = ScalarSeries(np.arange(len(values)), np.arange(1.0 * len(values)), np.array(values))
    shown = limits({"run": curve_of({"x": series}, "x"), "other": line([1, 2])}, log)
    assert -math.inf < shown[0] < shown[1] < math.inf
    assert shown[0] > 0 or not log


def test_limits_of_a_constant_surround_it():
    low, high = limits({"run": line([5, 5])})
    assert low < 5 < high
    assert limits({"run": line([0, 0])}) == (-1, 1)
