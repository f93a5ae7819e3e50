"""Our reader agrees with TensorBoard's `EventAccumulator` and with tbparse."""

import numpy as np
import pytest
import tbparse
import tensorboardX
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    EventAccumulator as PluginEventAccumulator,
)
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto

from fifteen.experiments.events._tfrecord import frame
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.storage import Directory

EVERYTHING = {"scalars": 0, "tensors": 0, "histograms": 0}


def accumulate(directory, kind=EventAccumulator, **sizes):
    accumulator = kind(str(directory), EVERYTHING, **sizes)
    accumulator.Reload()
    return accumulator


def last_of_each_step(events):
    return {step: point for step, *point in sorted(events, key=lambda event: event[0])}


def accumulated_scalars(directory):
    """Return {tag: {step: [wall time, value]}} as `EventAccumulator` gives it."""
    accumulator = accumulate(directory)
    found = {
        tag: last_of_each_step((e.step, e.wall_time, e.value) for e in accumulator.Scalars(tag))
        for tag in accumulator.Tags()["scalars"]
    }
    return {tag: points for tag, points in found.items() if points}


def shown_scalars(directory):
    """Return {tag: {step: [wall time, value]}} as TensorBoard shows it, including tensors."""
    accumulator = accumulate(directory, PluginEventAccumulator, tensor_size_guidance={"scalars": 0})
    found = (
        {
            tag: last_of_each_step(
                (e.step, e.wall_time, float(make_ndarray(e.tensor_proto)))
                for e in accumulator.Tensors(tag)
            )
            for tag in accumulator.PluginTagToContent("scalars")
        }
        if accumulator.Tags()["tensors"]
        else {}
    )
    return {tag: points for tag, points in found.items() if points}


def our_scalars(directory):
    return {
        tag: {
            step: [wall_time, value]
            for step, wall_time, value in zip(
                series.step.tolist(), series.wall_time.tolist(), series.value.tolist(), strict=True
            )
        }
        for tag, series in EventReader(Directory(directory)).scalars().items()
    }


numbers = st.floats(width=32, allow_nan=False)
tags = st.sampled_from(["loss", "train/loss", "accuracy", "a", "ü", "lr"])
steps = st.integers(0, 40) | st.sampled_from([127, 128, 16_384, 2**31, 2**40])
values = st.dictionaries(tags, numbers, max_size=5)
events = st.tuples(st.just("scalars"), steps, values) | st.tuples(
    st.sampled_from(["start", "tensors"]), steps, values
)
# Series of similar events, as from a training loop, with others between.
runs = st.builds(
    lambda event, length: [(event[0], event[1] + i, event[2]) for i in range(length)],
    events,
    st.integers(1, 30),
)
logs = st.lists(st.lists(runs, max_size=5), min_size=1, max_size=3)


def encode(kind, step, values, wall_time):
    event = Event(step=step, wall_time=wall_time)
    if kind == "start":
        event.session_log.status = SessionLog.START
    for tag, number in values.items() if kind != "start" else ():
        if kind == "tensors":
            value = event.summary.value.add(tag=f"tensor/{tag}")
            value.metadata.plugin_data.plugin_name = "scalars"
            value.tensor.CopyFrom(make_tensor_proto(np.float32(number)))
        else:
            event.summary.value.add(tag=tag, simple_value=number)
    return frame(event.SerializeToString())


@given(logs)
def test_random_logs_match_the_event_accumulator(tmp_path_factory, log):
    directory = tmp_path_factory.mktemp("log")
    wall_time = 1_700_000_000.0
    for number, file in enumerate(log):
        wall_time += 1
        head = Event(wall_time=wall_time, file_version="brain.Event:2")
        parts = [frame(head.SerializeToString())]
        if number == 0:
            # TensorBoard does not take the first session start for a restart.
            parts.append(encode("start", 0, {}, wall_time))
        for event in (event for run in file for event in run):
            wall_time += 1
            parts.append(encode(*event, wall_time))
        (directory / f"events.out.tfevents.{1_700_000_000 + number}.host").write_bytes(
            b"".join(parts)
        )
    ours = our_scalars(directory)
    assert ours == shown_scalars(directory)
    # It does not hide tensors.
    without_tensors = {tag: points for tag, points in ours.items() if "tensor/" not in tag}
    assert without_tensors == accumulated_scalars(directory)


@pytest.mark.slow
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), min_size=1, max_size=5))
def test_tensorboardx_histograms_match_the_event_accumulator(tmp_path_factory, arrays):
    directory = tmp_path_factory.mktemp("log")
    with tensorboardX.SummaryWriter(str(directory)) as writer:
        for step, array in enumerate(arrays):
            writer.add_histogram("weights", np.array(array), step)
    found = accumulate(directory).Histograms("weights")
    series = EventReader(Directory(directory)).histograms()["weights"]
    assert series.step.tolist() == [event.step for event in found]
    assert series.wall_time.tolist() == [event.wall_time for event in found]
    for edges, counts, event in zip(series.edges, series.counts, found, strict=True):
        theirs = event.histogram_value
        assert (edges[0], edges[-1], counts.sum()) == (theirs.min, theirs.max, theirs.num)
        filled = [count for count in theirs.bucket if count]
        assert counts[counts > 0].tolist() == filled
        assert set(edges[1:-1].tolist()) <= set(theirs.bucket_limit)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # tbparse's own.
def test_tensorboardx_log_matches_tbparse(tmp_path):
    generator = np.random.default_rng(0)
    with tensorboardX.SummaryWriter(str(tmp_path)) as writer:
        for step in range(3000):
            for tag in ("loss", "accuracy", "eval/loss")[: 3 if step % 10 == 0 else 2]:
                writer.add_scalar(tag, generator.normal(), step)
    theirs = tbparse.SummaryReader(str(tmp_path), extra_columns={"wall_time"}).scalars
    ours = EventReader(Directory(tmp_path)).scalars()
    assert sorted(ours) == sorted(theirs["tag"].unique())
    for tag, series in ours.items():
        frame = theirs[theirs["tag"] == tag].sort_values("step")
        assert series.step.tolist() == frame["step"].tolist()
        assert series.value.tolist() == frame["value"].tolist()
        assert series.wall_time.tolist() == frame["wall_time"].tolist()
