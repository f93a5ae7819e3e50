"""TensorBoard's two loaders, tbparse and our reader agree on everything we write."""

import os

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import tbparse

from fifteen.experiments import TensorboardLogData
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory

LOADERS = pytest.mark.parametrize("fast", [False, True], ids=["python", "rust"])


def scalars(**values):
    return TensorboardLogData(scalars=values)


def of_each_dtype(log):
    dtypes = [*map(np.dtype, ("float16", "float64", "int8", "uint64", "bool")), ml_dtypes.bfloat16]
    for step in range(5):
        values = {np.dtype(dtype).name: np.asarray(step, dtype) for dtype in dtypes}
        log.log(TensorboardLogData(scalars=values), step, 1, 1)
        log.log(scalars(python=0.1 * step, jax=jnp.float32(step) / 3), step, 1, 1)


def of_each_size_of_step(log):
    for step in [0, 1, 127, 128, 2**14, 2**21 - 1, 2**28, 2**35, 2**62]:
        log.log(scalars(x=float(step % 1000)), step, 1, 1)


def stacked(log):
    steps = jnp.arange(3000)
    log.log(scalars(x=steps / 7, y=-steps), steps, 1, 1)


def inside_jit(log):
    @jax.jit
    def train(x):
        def body(x, step):
            log.log(scalars(x=x), step, 1, 1)
            return x * 1.5, None

        return jax.lax.scan(body, x, jnp.arange(20))

    train(1.0)
    jax.effects_barrier()


def odd_tags(log):
    for tag in ["a b", "ä/ö/日本", "..", "a" * 300, "x\ny", "<script>", "%2F"]:
        log.log(scalars(**{tag: 1.0}), 1, 1, 1)


def not_finite(log):
    for step, value in enumerate([1.0, np.nan, np.inf, -np.inf, 2.0]):
        log.log(scalars(x=value), step, 1, 1)


@pytest.mark.filterwarnings("ignore::fifteen.experiments.ExperimentWarning")
def of_histograms(log):
    for step in range(3):
        data = {"normal": np.linspace(-1, 1, 1000), "empty": np.zeros(0), "zero": np.zeros(5)}
        data |= {"half": jnp.ones(10, jnp.bfloat16), "scalar": 3.0, "ints": np.arange(100)}
        log.log(TensorboardLogData({"x": float(step)}, data), step, 1, 1)


def in_two_files(log):
    log.log(scalars(x=1.0), 1, 1, 1)
    log.close()
    log.log(scalars(x=2.0), 2, 1, 1)


def rewound(log):
    for step in range(10):
        log.log(scalars(x=float(step)), step, 1, 1)
    log.close()
    log.rewind(4)
    for step in range(5, 10):
        log.log(scalars(x=-float(step)), step, 1, 1)


def torn(log):
    for step in range(10):
        log.log(scalars(x=float(step)), step, 1, 1)
    log.close()
    [path] = log._writer.directory.path.iterdir()
    os.truncate(path, path.stat().st_size - 3)


RUNS = [
    of_each_dtype, of_each_size_of_step, stacked, inside_jit, odd_tags, not_finite, of_histograms,
    in_two_files, rewound, torn,
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for write in RUNS:
        directory = root / write.__name__
        directory.mkdir()
        log = EventLog(Directory(directory))
        write(log)
        log.close()
    return root


def same(found, expected):
    np.testing.assert_array_equal(np.array(found, np.float64), np.array(expected, np.float64))


@pytest.mark.slow
@LOADERS
def test_tensorboard_reads_a_log(runs, tensorboard, fast):
    server = tensorboard(runs, fast)
    expected = {
        write.__name__: EventReader(Directory(runs / write.__name__)).scalars() for write in RUNS
    }
    wanted = {run: set(series) for run, series in expected.items()}
    server.wait_for(
        "scalars/tags", lambda tags: {run: set(tags.get(run, {})) for run in wanted} == wanted
    )
    for run, series in expected.items():
        for tag, curve in series.items():
            steps, values = server.scalars(tag, len(curve.step), run=run)
            assert steps == curve.step.tolist()
            # JSON over HTTP has strings for non-finite values.
            same([float(value) for value in values], curve.value)
    histograms = EventReader(Directory(runs / "of_histograms")).histograms()
    tags = server.wait_for("histograms/tags", lambda tags: "of_histograms" in tags)
    assert set(tags["of_histograms"]) == set(histograms)
    for tag, series in histograms.items():
        found = server.wait_for(
            "histograms/histograms", lambda rows: len(rows) == 3, run="of_histograms", tag=tag
        )
        assert [step for _, step, _ in found] == series.step.tolist()


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # tbparse's own.
@pytest.mark.parametrize("write", [write for write in RUNS if write is not torn])
def test_tbparse_reads_a_log(runs, write):
    directory = runs / write.__name__
    theirs = tbparse.SummaryReader(str(directory)).scalars
    for tag, curve in EventReader(Directory(directory)).scalars().items():
        rows = theirs[theirs["tag"] == tag].drop_duplicates("step", keep="last")
        rows = rows.sort_values("step")
        assert rows["step"].tolist() == curve.step.tolist()
        same(rows["value"], curve.value)
