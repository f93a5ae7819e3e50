import os
import sys
import time
import warnings

import numpy as np
import pytest
import tensorboardX
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from fifteen.experiments import Experiment, ExperimentWarning, LogDataError, MissingExtraError
from fifteen.experiments.events import HistogramSeries
from fifteen.experiments.events._tfrecord import frame
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.storage import Directory


def write(path, *events):
    head = Event(wall_time=events[0].wall_time, file_version="brain.Event:2")
    path.write_bytes(b"".join(frame(event.SerializeToString()) for event in [head, *events]))


def scalars(step, wall_time=None, **values):
    summary = Summary(value=[Summary.Value(tag=t, simple_value=v) for t, v in values.items()])
    return Event(
        step=step, wall_time=100 + step if wall_time is None else wall_time, summary=summary
    )


def start(step, wall_time):
    return Event(step=step, wall_time=wall_time, session_log=SessionLog(status=SessionLog.START))


def points(directory, tag="loss"):
    series = EventReader(Directory(directory)).scalars()[tag]
    return list(zip(series.step.tolist(), series.value.tolist(), strict=True))


def test_reads_what_tensorboardx_wrote(tmp_path):
    before = time.time()
    with tensorboardX.SummaryWriter(str(tmp_path)) as writer:
        for step in range(20):
            writer.add_scalar("train/loss", 1 / (step + 1), step)
        writer.add_scalar("eval/loss", 0.5, 19)
        writer.add_text("notes", "not a curve", 0)
        writer.add_histogram("weights", np.array([0.0, 1.0, 2.0, 2.0]), 3)
    series = EventReader(Directory(tmp_path)).scalars()
    assert list(series) == ["eval/loss", "train/loss"]
    loss = series["train/loss"]
    assert loss.step.tolist() == list(range(20))
    assert loss.value.tolist() == [float(np.float32(1 / (step + 1))) for step in range(20)]
    assert ((loss.wall_time >= before) & (loss.wall_time <= time.time())).all()
    histogram = EventReader(Directory(tmp_path)).histograms()["weights"]
    assert histogram.step.tolist() == [3]
    assert histogram.counts[0].sum() == 4
    assert (histogram.edges[0][0], histogram.edges[0][-1]) == (0.0, 2.0)


def test_series_has_the_documented_types_and_is_read_only(tmp_path):
    write(tmp_path / "events.out.tfevents.1", *(scalars(step, loss=0.25) for step in range(30)))
    loss = EventReader(Directory(tmp_path)).scalars()["loss"]
    assert (loss.step.dtype, loss.wall_time.dtype, loss.value.dtype) == (np.int64, float, float)
    for array in (loss.step, loss.wall_time, loss.value):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        loss.step = loss.value
    assert len(loss) == 30
    assert repr(loss) == "ScalarSeries(30 points, steps 0 to 29, last value 0.25)"


def test_directory_without_events_has_no_series(tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1\n...\n")
    (tmp_path / "events.out.tfevents.1").touch()
    (tmp_path / "events.out.tfevents.2.profile-empty").touch()
    (tmp_path / "tfevents").mkdir()
    assert EventReader(Directory(tmp_path)).scalars() == {}
    assert EventReader(Directory(tmp_path / "absent")).histograms() == {}


def test_requested_tags_that_exist_are_returned(tmp_path):
    write(tmp_path / "events.out.tfevents.1", scalars(1, a=1, b=2, c=3))
    assert list(EventReader(Directory(tmp_path)).scalars(tags=["c", "a", "z"])) == ["a", "c"]
    assert list(EventReader(Directory(tmp_path)).scalars(tags=iter(["b"]))) == ["b"]
    assert EventReader(Directory(tmp_path)).scalars(tags=[]) == {}
    with pytest.raises(LogDataError, match=r"tags: .* found the str 'loss'; pass \['loss'\]"):
        EventReader(Directory(tmp_path)).scalars(tags="loss")


def test_last_write_of_a_step_wins_in_file_name_order(tmp_path):
    write(tmp_path / "events.out.tfevents.1", scalars(2, 50.0, loss=4), scalars(3, 51.0, loss=5))
    write(tmp_path / "events.out.tfevents.2", scalars(1, 20.0, loss=1), scalars(2, 60.0, loss=2))
    write(
        tmp_path / "other.tfevents.0",
        scalars(9, 70.0, loss=8),
        scalars(7, 70.0, loss=6),
        scalars(9, 70.0, loss=9, other=0),
        scalars(7, 70.0, loss=7),
    )
    assert points(tmp_path) == [(1, 1.0), (2, 2.0), (3, 5.0), (7, 7.0), (9, 9.0)]


def test_last_value_of_a_tag_in_one_event_wins(tmp_path):
    events = [scalars(step) for step in range(50)]
    for event in events:
        event.summary.value.add(tag="loss", simple_value=1)
        event.summary.value.add(tag="loss", simple_value=event.step)
    write(tmp_path / "events.out.tfevents.1", *events)
    assert points(tmp_path) == [(step, float(step)) for step in range(50)]


def test_rewind_hides_earlier_writes_from_its_step_on(tmp_path):
    write(
        tmp_path / "events.out.tfevents.1",
        *(scalars(step, loss=0) for step in range(5)),
        start(3, 105.0),
        scalars(3, 106.0, loss=1),
        start(4, 107.0),
        scalars(4, 108.0, loss=2),
    )
    assert points(tmp_path) == [(0, 0.0), (1, 0.0), (2, 0.0), (3, 1.0), (4, 2.0)]


def test_rewind_hides_earlier_files_regardless_of_clocks(tmp_path):
    earlier = [scalars(step, 300.0 + step, loss=0) for step in range(6)]
    write(tmp_path / "events.out.tfevents.1", *earlier)
    write(tmp_path / "events.out.tfevents.2", start(2, 200.0), scalars(2, 201.0, loss=1))
    write(tmp_path / "events.out.tfevents.3", scalars(9, 203.0, loss=9))
    assert points(tmp_path) == [(0, 0.0), (1, 0.0), (2, 1.0), (9, 9.0)]


def test_fully_rewound_tag_is_absent(tmp_path):
    gone = Event(step=5, wall_time=100.0)
    gone.summary.value.add(tag="weights").histo.CopyFrom(histogram([1.0, 2.0], [0, 2]))
    write(tmp_path / "events.out.tfevents.1", scalars(5, 100.0, gone=1), gone, start(5, 106.0))
    assert EventReader(Directory(tmp_path)).scalars() == {}
    assert EventReader(Directory(tmp_path)).histograms() == {}


def histogram(limits, counts):
    histo = Summary.Value().histo
    histo.min, histo.max, histo.num = limits[0], limits[-1], sum(counts)
    histo.bucket_limit.extend(limits)
    histo.bucket.extend(counts)
    return histo


def test_unbounded_outer_buckets_end_at_the_extremes(tmp_path):
    event = Event(step=1, wall_time=1.0)
    histo = event.summary.value.add(tag="weights").histo
    histo.min, histo.max, histo.num = -3.0, 8.0, 6.0
    histo.bucket_limit.extend([-10.0, 0.0, 5.0, np.finfo(np.float64).max])
    histo.bucket.extend([0.0, 2.0, 3.0, 1.0])
    empty = Event(step=2, wall_time=2.0)
    empty.summary.value.add(tag="weights").histo.num = 0
    write(tmp_path / "events.out.tfevents.1", event, empty)
    weights = EventReader(Directory(tmp_path)).histograms()["weights"]
    assert weights.edges[0].tolist() == [-3.0, 0.0, 5.0, 8.0]
    assert weights.counts[0].tolist() == [2.0, 3.0, 1.0]
    assert (weights.edges[1].shape, weights.counts[1].shape) == ((1,), (0,))
    assert repr(weights) == "HistogramSeries(2 histograms, steps 1 to 2)"
    with pytest.raises(ValueError, match="read-only"):
        weights.counts[0][0] = 1


def test_histograms_follow_steps_and_rewinds_like_scalars(tmp_path):
    events = []
    for step in (0, 2, 1, 1, 3):
        event = Event(step=step, wall_time=100.0)
        event.summary.value.add(tag="weights").histo.CopyFrom(
            histogram([1.0, 2.0], [0, len(events) + 1])
        )
        events.append(event)
    write(tmp_path / "events.out.tfevents.1", *events, start(3, 101.0))
    weights = EventReader(Directory(tmp_path)).histograms()["weights"]
    assert weights.step.tolist() == [0, 1, 2]
    assert [counts.sum() for counts in weights.counts] == [1, 4, 2]
    assert list(EventReader(Directory(tmp_path)).histograms(tags=["other"])) == []


def test_to_pandas(tmp_path):
    event = Event(step=7, wall_time=8.0)
    event.summary.value.add(tag="weights").histo.CopyFrom(histogram([0.0, 1.0, 3.0], [0, 2, 4]))
    write(tmp_path / "events.out.tfevents.1", scalars(1, 5.0, loss=2), event)
    frame = EventReader(Directory(tmp_path)).scalars()["loss"].to_pandas()
    assert frame.to_dict("list") == {"step": [1], "wall_time": [5.0], "value": [2.0]}
    buckets = EventReader(Directory(tmp_path)).histograms()["weights"].to_pandas()
    assert buckets.to_dict("list") == {
        "step": [7, 7],
        "wall_time": [8.0, 8.0],
        "left": [0.0, 1.0],
        "right": [1.0, 3.0],
        "count": [2.0, 4.0],
    }
    assert len(HistogramSeries(np.zeros(0, np.int64), np.zeros(0), (), ()).to_pandas()) == 0


def test_to_pandas_without_pandas_names_the_extra(tmp_path, monkeypatch):
    write(tmp_path / "events.out.tfevents.1", scalars(1, loss=2))
    loss = EventReader(Directory(tmp_path)).scalars()["loss"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fifteen\[pandas\]'"):
        loss.to_pandas()


def test_extreme_numbers_round_trip(tmp_path):
    steps = [-(2**63), -1, 0, 127, 128, 2**21, 2**35, 2**63 - 1]
    values = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 3.4028235e38, 0.1]
    events = [scalars(s, 1.0, loss=v) for s, v in zip(steps, values, strict=True)]
    write(tmp_path / "events.out.tfevents.1", *events)
    loss = EventReader(Directory(tmp_path)).scalars()["loss"]
    assert loss.step.tolist() == steps
    np.testing.assert_array_equal(loss.value, np.float32(values).astype(np.float64))


def test_odd_tags_round_trip(tmp_path):
    tags = ["", "ü/日本/🙂", "a" * 5000, "with space", "../up", "\0"]
    write(
        tmp_path / "events.out.tfevents.1",
        *(scalars(s, **dict.fromkeys(tags, s)) for s in range(40)),
    )
    series = EventReader(Directory(tmp_path)).scalars()
    assert sorted(tags) == list(series)
    assert all(s.value.tolist() == s.step.tolist() == list(range(40)) for s in series.values())


def test_points_are_never_downsampled(tmp_path):
    write(tmp_path / "events.out.tfevents.1", *(scalars(step, loss=1) for step in range(30_000)))
    assert EventReader(Directory(tmp_path)).scalars()["loss"].step.tolist() == list(range(30_000))


@pytest.mark.slow
def test_random_sets_of_tags_are_read(tmp_path):
    generator = np.random.default_rng(0)
    events, expected = [], {}
    for step in range(2000):
        chosen = generator.permutation(12)[: generator.integers(1, 12)]
        values = {f"tag{number}": float(generator.integers(1000)) for number in chosen}
        events.append(scalars(step // 2, **values))
        for tag, value in values.items():
            expected.setdefault(tag, {})[step // 2] = value
    write(tmp_path / "events.out.tfevents.1", *events)
    found = {tag: dict(points(tmp_path, tag)) for tag in EventReader(Directory(tmp_path)).scalars()}
    assert found == expected


@pytest.mark.filterwarnings("always")
def test_unreadable_file_is_named(tmp_path, monkeypatch):
    write(tmp_path / "events.out.tfevents.1", scalars(1, loss=1))
    (tmp_path / "events.out.tfevents.2").symlink_to("events.out.tfevents.2")
    with pytest.warns(ExperimentWarning, match=r"tfevents\.2: cannot be read, .*symbolic link"):
        assert points(tmp_path) == [(1, 1.0)]


def test_pipe_is_not_an_event_file(tmp_path):
    os.mkfifo(tmp_path / "events.out.tfevents.1")
    assert EventReader(Directory(tmp_path)).scalars() == {}


@pytest.mark.filterwarnings("always")
def test_missing_tag_warning_lists_existing_tags(tmp_path):
    write(tmp_path / "events.out.tfevents.1", scalars(1, **{f"tag{n:02}": n for n in range(12)}))
    read = Experiment(tmp_path).read_scalars
    with pytest.warns(
        ExperimentWarning, match=r"no scalars 'los'; there are 'tag00', .*'tag09' and 2 more$"
    ):
        assert list(read(["los", "tag03", "acc*"])) == ["tag03"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(["acc*"]) == Experiment(tmp_path, verbose=False).read_scalars(["los"]) == {}
        assert Experiment(tmp_path).read_histograms(["los"]) == {}
