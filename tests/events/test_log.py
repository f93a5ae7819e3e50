import _thread
import functools
import gc
import re
import time

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fifteen.experiments import LogDataError, TensorboardLogData, distributed
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.events.writing._background import BackgroundWriter
from fifteen.experiments.events.writing._snapshot import Arrays, Scalars
from fifteen.experiments.storage import Directory

STORED_AS_FLOAT32 = [
    *(
        np.dtype(name)
        for name in ("float16", "float32", "int8", "uint8", "int32", "uint32", "bool")
    ),
    *(np.dtype(getattr(ml_dtypes, name)) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")),
]


@pytest.fixture
def log(tmp_path):
    log = EventLog(Directory(tmp_path))
    yield log
    log.close()


def scalars(**values):
    return TensorboardLogData(scalars=values)


def accumulated(directory):
    """Read all scalars with TensorBoard's own EventAccumulator."""
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def read(log, tag="x"):
    log.flush()
    series = EventReader(log._writer.directory).scalars()[tag]
    return dict(zip(series.step.tolist(), series.value.tolist(), strict=True))


@pytest.mark.parametrize("dtype", STORED_AS_FLOAT32, ids=str)
@pytest.mark.parametrize(
    "make", [jnp.asarray, np.asarray, lambda x: x[()]], ids=["jax", "np", "np0"]
)
def test_dtypes(log, dtype, make):
    value = make(np.array(1.0 if dtype.kind == "b" else 3.0, dtype))
    log.log(scalars(x=value), 1, 1, 1)
    assert read(log) == {1: float(value)}


@pytest.mark.parametrize(
    "value", [True, 7, 0.1, float("nan"), float("inf"), -float("inf"), 1e300, 2**60 + 1, -0.0]
)
def test_python_values_become_float32(log, value):
    log.log(scalars(x=value), 1, 1, 1)
    with np.errstate(over="ignore"):
        np.testing.assert_equal(np.float64(read(log)[1]), np.float64(np.float32(value)))


def test_64_bit_values_and_steps(tmp_path, run_script):
    outcome = run_script(
        "jax.config.update('jax_enable_x64', True)\n"
        "log = EventLog(Directory(directory))\n"
        "log.log(scalars(f=jnp.float64(0.1), i=jnp.int64(2**40 + 2**20), u=jnp.uint64(2**63)),"
        " jnp.int64(2**40 + 3), 1, 1)\n"
        "log.log(scalars(f=1.0), jnp.int64(-(2**40)), 1, 1)\n"
    )
    assert outcome.returncode == 0, outcome.stderr
    read = EventReader(Directory(tmp_path)).scalars()
    assert read["i"].value.tolist() == [2**40 + 2**20]
    assert read["u"].value.tolist() == [2.0**63]
    assert read["f"].step.tolist() == [-(2**40), 2**40 + 3]
    assert read["f"].value.tolist() == [1.0, np.float32(0.1)]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_steps_on_a_device(log, dtype):
    limits = np.iinfo(dtype)
    for step in (limits.min, limits.max):
        log.log(scalars(x=jnp.float32(1.5)), jnp.array(step, dtype), 1, 1)
        log.log(scalars(y=2.5), jnp.array(step, dtype), 1, 1)
    expected = sorted({int(limits.min), int(limits.max)})
    assert list(read(log, "x")) == list(read(log, "y")) == expected


@pytest.mark.parametrize("step", [np.int64(5), np.uint8(5), np.array(5)], ids=repr)
def test_numpy_steps(log, step):
    log.log(scalars(x=1.0), step, 5, 1)
    log.log(scalars(y=1.0), step, 2, 1)
    assert read(log) == {5: 1.0}
    assert "y" not in EventReader(log._writer.directory).scalars()


def test_donated_values_are_logged(log):
    @functools.partial(jax.jit, donate_argnums=0)
    def train_step(state):
        return jax.tree.map(lambda leaf: leaf + 1, state)

    state = {"loss": jnp.float32(0), "step": jnp.int32(0), "weights": jnp.zeros(1000)}
    for _ in range(100):
        log.log(
            TensorboardLogData({"x": state["loss"]}, {"w": state["weights"]}), state["step"], 1, 1
        )
        donated = state
        state = train_step(state)
        assert donated["loss"].is_deleted()
    assert read(log) == {step: float(step) for step in range(100)}
    histograms = EventReader(log._writer.directory).histograms()["w"]
    assert histograms.step.tolist() == list(range(100))
    assert [edges[0] for edges in histograms.edges] == [float(step) for step in range(100)]


def test_deleted_and_mutated_values_are_logged(log):
    on_device, on_host, weights = jnp.float32(1), np.array(2.0), np.zeros(100)
    steps = np.arange(3)
    data = {"x": on_device, "y": on_host}
    log.log(TensorboardLogData(data, {"w": weights}), 1, 1, 1)
    stacked = np.array([1.0, 2.0, 3.0])
    log.log(scalars(z=stacked), steps, 1, 1)
    on_device.delete()
    on_host[...] = -1
    weights[...] = -1
    steps[...] = -1
    stacked[...] = -1
    data["x"] = -1.0
    data["new"] = -1.0
    assert read(log) == {1: 1.0}
    assert read(log, "y") == {1: 2.0}
    assert read(log, "z") == {0: 1.0, 1: 2.0, 2: 3.0}
    assert EventReader(log._writer.directory).histograms()["w"].edges[0][0] == 0.0


@jax.jit
def slow(matrix):
    return jax.lax.fori_loop(0, 100, lambda _, m: m @ m / jnp.linalg.norm(m), matrix)[0, 0]


def test_log_does_not_wait_for_the_device(log):
    matrix = jnp.eye(400) + 0.01

    def log_pending(step):
        value = slow(matrix)
        was_pending = not value.is_ready()
        log.log(TensorboardLogData({"x": value}, {"h": value}), step, 1, 1)
        log.log(scalars(y=value), value.astype(int), 1, 1)
        return was_pending and not value.is_ready()

    log_pending(0)
    log.flush()
    assert log_pending(1)
    assert set(read(log)) == {0, 1}


def test_values_from_several_devices_and_the_host(log):
    devices = jax.devices()
    mesh = jax.make_mesh((8,), ("d",))
    for step in range(3):
        values = {
            "one": jax.device_put(1.0 + step, devices[1]),
            "python": 7,
            "two": jax.device_put(2.0 + step, devices[2]),
            "all": jax.device_put(3.0 + step, NamedSharding(mesh, PartitionSpec())),
        }
        log.log(TensorboardLogData(values), jax.device_put(step, devices[3]), 1, 1)
    log.flush()
    expected = {"one": [1, 2, 3], "two": [2, 3, 4], "all": [3, 4, 5], "python": [7, 7, 7]}
    for tag, values in expected.items():
        assert read(log, tag) == dict(enumerate(values))


def test_step_on_several_devices(log):
    # An optimizer's count often is, while the loss may be on no device in particular.
    everywhere = NamedSharding(jax.make_mesh((8,), ("d",)), PartitionSpec())
    for number in range(3):
        step = jax.block_until_ready(jax.device_put(number, everywhere))
        log.log(scalars(x=jnp.float32(number)), step, 1, 1)
    assert read(log) == {0: 0.0, 1: 1.0, 2: 2.0}


def test_sharded_histograms(log):
    mesh = jax.make_mesh((8,), ("d",))
    array = jax.device_put(jnp.arange(16.0), NamedSharding(mesh, PartitionSpec("d")))
    log.log(TensorboardLogData(histograms={"h": array}), 1, 1, 1)
    log.flush()
    assert sum(EventReader(log._writer.directory).histograms()["h"].counts[0]) == 16


def test_alternating_tags_keep_their_order(log):
    # The same tag with different other tags: TensorBoard drops points that are out of order.
    for step in range(100):
        log.log(scalars(x=step) if step % 2 else scalars(x=jnp.float32(step), y=1.0), step, 1, 1)
    log.flush()
    assert accumulated(log._writer.directory)["x"] == [(step, step) for step in range(100)]


def test_every_n(log):
    data = TensorboardLogData({"x": 1.0}, {"h": np.ones(3)})
    for step in range(20):
        log.log(data, step, 5, 10)
        log.log(TensorboardLogData({"y": 1.0}, {"g": np.ones(3)}), jnp.int32(step), 5, 10)
    log.flush()
    assert list(read(log, "x")) == list(read(log, "y")) == [0, 5, 10, 15]
    found = EventReader(log._writer.directory).histograms()
    assert found["h"].step.tolist() == found["g"].step.tolist() == [0, 10]


def test_histograms_at_device_steps_are_fetched_only_if_logged(tmp_path):
    writer = BackgroundWriter(Directory(tmp_path))
    for step in (1, 10):
        unreadable = jnp.ones(3)
        unreadable.delete()
        writer.put(Arrays("histograms", {"h": unreadable}, jnp.int32(step), 10, 1.0))
    writer.close()
    [report] = writer.reports
    assert report.startswith("histograms 'h' at step 10 are left out")


def test_steps_between_intervals_cost_nothing(tmp_path):
    log = EventLog(Directory(tmp_path))
    deleted = jnp.float32(1)
    deleted.delete()
    log.log(scalars(x=deleted), 1, 2, 2)
    log.log(TensorboardLogData(), 2, 1, 1)
    log.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "make_steps", [range, list, np.arange, jnp.arange], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_stacked_steps(log, make_steps, xp):
    steps = make_steps(100) if make_steps is not list else list(range(100))
    data = TensorboardLogData(
        {"x": xp.arange(100.0), "n": xp.arange(100)}, {"h": xp.ones((100, 4, 5))}
    )
    log.log(data, steps, 3, 20)
    assert read(log) == {step: float(step) for step in range(0, 100, 3)}
    assert read(log, "n") == read(log)
    histograms = EventReader(log._writer.directory).histograms()["h"]
    assert histograms.step.tolist() == [0, 20, 40, 60, 80]
    assert [counts.sum() for counts in histograms.counts] == [20] * 5


def test_stacked_steps_from_scan(log):
    def body(state, step):
        return state + 1, TensorboardLogData({"x": state})

    steps = jnp.arange(50)
    _, data = jax.lax.scan(body, jnp.float32(0), steps)
    log.log(data, steps, 1, 1)
    assert read(log) == {step: float(step) for step in range(50)}
    log.log(TensorboardLogData({"none": jnp.zeros(0)}), [], 1, 1)


def test_errors_list_every_problem(log):
    deleted = jnp.float32(1)
    deleted.delete()
    bad = {
        "vector": jnp.ones(3),
        "text": "high",
        "nothing": None,
        "complex": 1j,
        "jax complex": jnp.complex64(1),
        "key": jax.random.key(0),
        "deleted": deleted,
        "huge": 10**400,
        "": 1.0,
        3: 1.0,
        "surrogate\ud800": 1.0,
        "good": 1.0,
    }
    with pytest.raises(LogDataError) as error:
        log.log(TensorboardLogData(bad), 1, 1, 1)
    for expected in [
        r"scalars\['vector'\]: expected a scalar, found shape \(3,\).*fix_sharded_scalars\(\)",
        r"scalars\['text'\]: expected a real number, found str 'high'",
        r"scalars\['nothing'\]: expected a real number, found NoneType",
        r"scalars\['complex'\]: expected a real number, found complex 1j",
        r"scalars\['jax complex'\]: expected a real number, found complex64",
        r"scalars\['key'\]: expected a real number, found key<",
        r"scalars\['deleted'\]: the array was deleted or donated",
        r"scalars\['huge'\]: the integer is too large",
        r"scalars\[''\]: a tag must not be empty",
        r"scalars\[3\]: a tag must be a str, found int",
        "a tag must be text that UTF-8 can encode",
    ]:
        assert re.search(expected, str(error.value)), expected
    assert "good" not in str(error.value)
    # Valid data is still accepted after an error.
    log.log(scalars(good=1.0), 1, 1, 1)
    assert read(log, "good") == {1: 1.0}


def test_errors_on_histograms_and_stacks(log):
    with pytest.raises(LogDataError, match=r"histograms\['h'\]: expected an array of real numbers"):
        log.log(TensorboardLogData(histograms={"h": np.array(["a"])}), 1, 1, 1)
    with pytest.raises(LogDataError, match=r"scalars\['x'\]: expected shape \(3,\) for 3 steps"):
        log.log(scalars(x=np.zeros(2)), [1, 2, 3], 1, 1)
    with pytest.raises(LogDataError, match=r"expected shape \(1,\) for 1 step, found"):
        log.log(scalars(x=np.zeros(2)), [1], 1, 1)
    with pytest.raises(LogDataError, match=r"histograms\['h'\]: expected shape \(3, ...\)"):
        log.log(TensorboardLogData(histograms={"h": np.zeros((2, 5))}), range(3), 1, 1)


@pytest.mark.parametrize(
    "step",
    [
        *(1.5, float("nan"), float("inf"), 1e19, jnp.float32(1.5), [0.0, 1.5], 1j),
        *("1", None, True, np.True_, jnp.array(True), np.array(["1"]), [None], {}),
        *(2**63, -(2**63) - 1, np.uint64(2**63), [2**70], np.zeros((2, 2), int), [[1], [1, 2]]),
        *(np.datetime64("2026-01-31", "ns"), np.array(["2026-01-31"], "M8[ns]")),
    ],
    ids=repr,
)
def test_errors_on_steps(log, step):
    with pytest.raises(LogDataError, match="step: "):
        log.log(scalars(x=1.0), step, 1, 1)


def test_fractional_step_is_shown_in_the_error(log):
    with pytest.raises(LogDataError, match=r"found 4096\.5; pass int\(step\)"):
        log.log(scalars(x=1.0), 4096.5)


@pytest.mark.parametrize(
    "step",
    [40.0, np.float32(40), np.array(40), np.array(40.0), jnp.float32(40), jnp.bfloat16(40)],
    ids=repr,
)
def test_integral_floats_and_scalar_arrays_are_steps(log, step):
    log.log(scalars(x=1.0), step)
    log.log(scalars(y=1.0), step, 3)
    assert read(log) == {40: 1.0}
    assert "y" not in EventReader(log._writer.directory).scalars()


@pytest.mark.parametrize("make", [np.array, jnp.array, list])
def test_vectors_of_integral_floats_are_steps(log, make):
    log.log(scalars(x=np.ones(3)), make([0.0, 1.0, 2.0]))
    assert read(log) == {0: 1.0, 1: 1.0, 2: 1.0}


def test_infinite_interval_logs_only_step_0(log):
    every = float("inf")
    for step in range(3):
        data = TensorboardLogData({"x": 1.0}, {"h": np.ones(2)})
        log.log(data, step, every, every)
    assert read(log) == {0: 1.0}
    assert EventReader(log._writer.directory).histograms()["h"].step.tolist() == [0]


def test_errors_on_every_n(log):
    for wrong in (0, -1, None, "2"):
        with pytest.raises(LogDataError, match="log_scalars_every_n: expected an integer of at "):
            log.log(scalars(x=1.0), 1, wrong, 1)


def test_all_problems_of_the_arguments_are_reported(log):
    with pytest.raises(LogDataError) as caught:
        log.log(TensorboardLogData([1.0], histograms=None), 1, 0, None)
    assert str(caught.value) == (
        "scalars: expected a mapping from tags, found list; "
        "histograms: expected a mapping from tags, found NoneType; "
        "log_scalars_every_n: expected an integer of at least 1, found 0; "
        "log_histograms_every_n: expected an integer of at least 1, found None"
    )
    with pytest.raises(LogDataError, match="log_data: expected TensorboardLogData, found dict"):
        log.log({"x": 1.0}, 1, 1, 1)


@pytest.mark.parametrize("count", [3, 100])
def test_unreadable_value_loses_only_itself(tmp_path, count):
    vectors = [jnp.zeros(1, jnp.uint32) for _ in range(count)]
    # As after a failed computation: the array exists but has no values.
    vectors[1].delete()
    writer = BackgroundWriter(Directory(tmp_path))
    for step, vector in enumerate(vectors):
        writer.put(Scalars(("x",), (), vector, step, 1, 1.0))
    writer.close()
    found = EventReader(Directory(tmp_path)).scalars()["x"].step.tolist()
    assert found == [step for step in range(count) if step != 1]
    [report] = writer.reports
    assert re.match("scalars 'x' at step 1 are left out: .*deleted", report)


@pytest.mark.slow
def test_ready_and_pending_values_keep_their_steps(log):
    @jax.jit
    def work(x):
        return (
            jax.lax.fori_loop(0, 60, lambda _, m: jnp.tanh(m @ m), jnp.eye(600) * x)[0, 0] * 0 + x
        )

    work(0.0).block_until_ready()
    ready = [jnp.float32(step) for step in range(12)]
    waiting = 0
    for step in range(12):
        value = work(float(step)) if step % 3 == 1 else ready[step]
        waiting += not value.is_ready()
        log.log(scalars(x=value), step, 1, 1)
        log.log(scalars(y=value), jnp.int32(step), 1, 1)
    assert waiting >= 3
    assert read(log) == read(log, "y") == {step: float(step) for step in range(12)}


def test_few_and_many_steps_at_once(log):
    make = jax.jit(lambda x: [x, x * 2])
    for count in (1, 63, 64, 65, 200):
        data = [make(float(step)) for step in range(count)]
        for step, (x, y) in enumerate(data):
            log.log(scalars(**{f"x{count}": x, f"y{count}": y}), step, 1, 1)
        assert read(log, f"x{count}") == {step: float(step) for step in range(count)}
        assert read(log, f"y{count}") == {step: 2.0 * step for step in range(count)}


def test_log_works_under_a_transfer_guard(log):
    # The guard for all threads, which scripts set to find accidental transfers.
    jax.config.update("jax_transfer_guard", "disallow")
    try:
        log.log(scalars(x=jax.device_put(np.float32(1))), 1, 1, 1)
        log.flush()
    finally:
        jax.config.update("jax_transfer_guard", "allow")
    assert read(log) == {1: 1.0}


def test_nan_is_logged_under_debug_nans(log):
    nan = jax.device_put(np.float32("nan"))
    with jax.debug_nans(True):
        log.log(scalars(x=nan), 1, 1, 1)
    assert np.isnan(read(log)[1])


def test_log_creates_few_objects_for_the_garbage_collector(log):
    log.log(scalars(a=1.0, b=jnp.float32(1)), 0, 1, 1)
    log.flush()
    value = jnp.float32(1)
    gc.collect()
    gc.disable()
    try:
        before = sum(gc.get_count())
        time.sleep(0.6)  # Nothing is written while objects are counted.
        for step in range(200):
            log.log(scalars(a=value, b=value), step, 1, 1)
        objects = (sum(gc.get_count()) - before) / 200
    finally:
        gc.enable()
    assert objects < 6


tags = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)
float32s = st.floats(width=32)


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1), st.dictionaries(tags, float32s)), max_size=20
    )
)
def test_random_logs_round_trip(tmp_path_factory, steps):
    directory = tmp_path_factory.mktemp("log")
    log = EventLog(Directory(directory))
    expected = {}
    for step, values in steps:
        log.log(TensorboardLogData(values), step, 1, 1)
        for tag, value in values.items():
            expected.setdefault(tag, {})[step] = value
    log.close()
    found = {
        tag: dict(zip(series.step.tolist(), series.value.tolist(), strict=True))
        for tag, series in EventReader(Directory(directory)).scalars().items()
    }
    np.testing.assert_equal(found, expected)
    if steps and expected:
        by_tensorboard = {tag: dict(points) for tag, points in accumulated(directory).items()}
        np.testing.assert_equal(by_tensorboard, expected)


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "is_primary", lambda: False)
    log = EventLog(Directory(tmp_path))
    log.log(TensorboardLogData({"x": 1.0}, {"h": np.ones(3)}), 1, 1, 1)
    log.rewind(1)
    log.log_hparams({"rate": 0.1}, [])
    log.summary_writer.add_scalar("x", 1.0, 1)
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_traced_function_logs_values_from_outside(log):
    c, step, h, stacked = jnp.float32(3), jnp.int32(5), jnp.ones(3), jnp.ones(2)
    for number in range(2):
        log.log(scalars(c=c), number, 1, 1)

    @jax.jit
    def traced(x):
        log.log(scalars(c=c), 100, 1, 1)
        log.log(scalars(c=1.0), step, 1, 1)
        log.log(scalars(new=c), 103, 1, 1)
        log.log(scalars(stacked=stacked), [104, 105], 1, 1)
        log.log(TensorboardLogData(histograms={"h": h}), 102, 1, 1)
        return x

    traced(1.0)
    assert read(log, "c") == {0: 3.0, 1: 3.0, 5: 1.0, 100: 3.0}
    assert read(log, "new") == {103: 3.0}
    assert read(log, "stacked") == {104: 1.0, 105: 1.0}
    assert EventReader(log._writer.directory).histograms()["h"].step.tolist() == [102]


def test_interrupt_during_thread_start_loses_nothing(log, monkeypatch):
    def interrupted(function, arguments):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(_thread, "start_new_thread", interrupted)
    with pytest.raises(KeyboardInterrupt):
        log.log(scalars(x=1.0), 1, 1, 1)
    log.log(scalars(x=2.0), 2, 1, 1)
    assert read(log) == {1: 1.0, 2: 2.0}


def test_partly_invalid_data_is_not_logged_at_all(tmp_path):
    log = EventLog(Directory(tmp_path))
    for step, good in ((1, 1.0), (np.arange(1), np.ones(1))):
        with pytest.raises(LogDataError, match=r"histograms\['bad'\]"):
            log.log(TensorboardLogData({"good": good}, {"bad": np.array(["x"])}), step, 1, 1)
    with pytest.raises(LogDataError, match=r"scalars\['one'\].*histograms\['other'\]"):
        log.log(TensorboardLogData({"one": None}, {"other": np.array(["x"])}), 1, 1, 1)
    with pytest.raises(
        LogDataError, match=r"histograms\['ragged'\]: expected an array, found list"
    ):
        log.log(TensorboardLogData({}, {"ragged": [[1], [1, 2]]}), 1, 1, 1)
    log.close()
    assert EventReader(Directory(tmp_path)).scalars() == {}


def test_rewinding_to_the_last_step_hides_nothing(tmp_path):
    log = EventLog(Directory(tmp_path))
    log.log(TensorboardLogData({"x": 1.0}), 5, 1, 1)
    log.rewind(2**63 - 1)
    log.close()
    assert EventReader(Directory(tmp_path)).scalars()["x"].step.tolist() == [5]


def test_device_step_beyond_int64_is_refused(tmp_path):
    log = EventLog(Directory(tmp_path))
    with jax.enable_x64(True):
        for step in (jnp.uint64(2**63), jnp.asarray([2**63], jnp.uint64)):
            with pytest.raises(LogDataError, match="9223372036854775808 does not fit in 64 bits"):
                log.log(TensorboardLogData({"x": jnp.ones(step.shape)}), step, 1, 1)
        log.log(TensorboardLogData({"x": 1.0}), jnp.uint64(7), 1, 1)
    log.close()
    assert EventReader(Directory(tmp_path)).scalars()["x"].step.tolist() == [7]


@pytest.mark.parametrize("every", [float("nan"), -float("inf"), 2.5, np.ones(2), jnp.ones(2)])
def test_fractional_interval_is_refused(tmp_path, every):
    log = EventLog(Directory(tmp_path))
    with pytest.raises(LogDataError, match="log_scalars_every_n: expected an integer"):
        log.log(TensorboardLogData({"x": 1.0}), 0, every, 1)
    log.close()


def test_integral_intervals_of_any_type_are_accepted(tmp_path):
    log = EventLog(Directory(tmp_path))
    log.log(TensorboardLogData({"x": np.ones(5)}), range(5), 2.0, 1)
    log.log(TensorboardLogData({"y": np.ones(5)}), range(5), 2**70, 1)
    log.log(TensorboardLogData({"z": 1.0}), 0, 2**70, 1)
    log.close()
    found = EventReader(Directory(tmp_path)).scalars()
    steps = {tag: series.step.tolist() for tag, series in found.items()}
    assert steps == {"x": [0, 2, 4], "y": [0], "z": [0]}
