"""Files of other writers are read as TensorBoard reads them; see corpus/README.md."""

import json
import pathlib

import numpy as np
import pytest
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.data_compat import migrate_value
from tensorboard.util.tensor_util import make_ndarray

from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.storage import Directory

RUNS = pathlib.Path(__file__).parent / "corpus" / "runs"
CASES = sorted(path.parent.relative_to(RUNS).as_posix() for path in RUNS.rglob("expected.json"))


def last_of_each_step(points):
    return list({point[0]: point for point in sorted(points, key=lambda point: point[0])}.values())


def expected(case):
    return json.loads((RUNS / case / "expected.json").read_text())


def rows(histogram):
    """Return left edge, right edge and count of each bucket, as TensorBoard shows them."""
    if "left_right_count" in histogram:
        return np.reshape(histogram["left_right_count"], (-1, 3))
    value = Summary.Value(tag="tag", histo=HistogramProto(**histogram))
    return make_ndarray(migrate_value(value).tensor)


def test_corpus_exists():
    assert len(CASES) > 50
    assert {case.split("-")[0] for case in CASES} >= {"tensorboardX", "torch", "tensorflow", "flax"}


@pytest.mark.parametrize("case", CASES)
def test_scalars_from_other_writers(case):
    series = EventReader(Directory(RUNS / case)).scalars()
    theirs = {tag: points for tag, points in expected(case)["scalars"].items() if points}
    assert list(series) == sorted(theirs)
    for tag, points in theirs.items():
        steps, wall_times, values = zip(*last_of_each_step(points), strict=True)
        np.testing.assert_array_equal(series[tag].step, np.array(steps, np.int64))
        np.testing.assert_array_equal(series[tag].wall_time, wall_times)
        np.testing.assert_array_equal(series[tag].value, np.array(values, np.float64))


@pytest.mark.parametrize("case", CASES)
def test_histograms_from_other_writers(case):
    series = EventReader(Directory(RUNS / case)).histograms()
    theirs = {tag: points for tag, points in expected(case)["histograms"].items() if points}
    assert list(series) == sorted(theirs)
    for tag, points in theirs.items():
        steps, wall_times, histograms = zip(*last_of_each_step(points), strict=True)
        assert series[tag].step.tolist() == list(steps)
        assert series[tag].wall_time.tolist() == list(wall_times)
        for edges, counts, histogram in zip(
            series[tag].edges, series[tag].counts, histograms, strict=True
        ):
            found = np.stack([edges[:-1], edges[1:], counts], axis=1)
            # TensorBoard converts old histograms to float32.
            np.testing.assert_array_equal(found.astype("f4"), rows(histogram).astype("f4"))
