"""Timelines: times and steps of events, how the script ended, where curves diverge."""

import math
import time

import numpy as np
import pytest
import tensorboardX
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

from fifteen.experiments import TensorboardLogData
from fifteen.experiments.events import _tfrecord
from fifteen.experiments.events.reading import EventReader, diverged_at, read_ends
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory


def timeline(directory):
    return read_ends(directory).timeline


@pytest.fixture
def directory(tmp_path):
    return Directory(tmp_path)


def log_run(directory, steps, *end):
    log = EventLog(directory)
    for step in steps:
        log.log(TensorboardLogData(scalars={"loss": float(step)}), step)
    if end:
        log.log_end(*end)
    log.close()


def test_directory_without_events(directory):
    assert timeline(directory) == (None, None, None, None)


def test_times_step_and_end_of_a_run(directory):
    before = time.time()
    log_run(directory, range(3000), True)
    found = timeline(directory)
    assert before <= found.first_time <= found.last_time <= time.time()
    assert found.last_step == 2999
    assert found.end.is_success
    assert found.end.reason == ""
    assert found.first_time <= found.end.time <= time.time()


def test_first_time_stays_while_a_file_grows(directory):
    log = EventLog(directory)
    reader = EventReader(directory)
    times = []
    for step in range(3):
        log.log(TensorboardLogData(scalars={"loss": float(step)}), step)
        log.flush()
        reader.scalars()
        times.append(reader.timeline.first_time)
    log.close()
    assert len(set(times)) == 1


def test_failure_has_a_reason(directory):
    log_run(directory, range(3), False, "ValueError: böse\n<script>")
    assert timeline(directory).end[:2] == (False, "ValueError: böse\n<script>")


def test_later_event_cancels_the_end(directory):
    log_run(directory, range(3), False, "KeyboardInterrupt")
    first = timeline(directory)
    log_run(directory, range(3, 5))
    found = timeline(directory)
    assert found.end is None
    assert (found.first_time, found.last_step) == (first.first_time, 4)
    log_run(directory, [], True)
    assert timeline(directory).end.is_success
    log = EventLog(directory)
    log.rewind(2)
    log.close()
    assert timeline(directory)[2:] == (2, None)


def test_run_that_logged_only_its_end(directory):
    log_run(directory, [], True)
    found = timeline(directory)
    assert found.end.is_success
    assert found.last_step is None
    assert found.first_time <= found.last_time


def end_of_tensorboard(status, seconds):
    content = plugin_data_pb2.HParamsPluginData(
        session_end_info={"status": api_pb2.Status.Value(status), "end_time_secs": seconds}
    )
    tag, about = metadata.SESSION_END_INFO_TAG, metadata.create_summary_metadata(content)
    return Summary(value=[Summary.Value(tag=tag, metadata=about)])


@pytest.mark.parametrize(
    ("status", "expected"),
    [("STATUS_SUCCESS", True), ("STATUS_FAILURE", False), ("STATUS_RUNNING", None)],
)
def test_end_written_by_tensorboard(tmp_path, directory, status, expected):
    end = end_of_tensorboard(status, 12.5)
    record = _tfrecord.frame(Event(wall_time=20, summary=end).SerializeToString())
    (tmp_path / "events.out.tfevents.1.host").write_bytes(record)
    found = timeline(directory)
    assert found.end == (None if expected is None else (expected, "", 12.5))
    assert (found.first_time, found.last_time) == (20, 20)


def test_damaged_end_is_ignored(tmp_path, directory):
    end = end_of_tensorboard("STATUS_SUCCESS", 12.5)
    end.value[0].metadata.plugin_data.content = b"\xff\xff"
    record = _tfrecord.frame(Event(wall_time=20, summary=end).SerializeToString())
    (tmp_path / "events.out.tfevents.1.host").write_bytes(record)
    assert timeline(directory) == (20, 20, None, None)


def test_runs_of_other_writers_have_times_but_no_end(tmp_path, directory):
    with tensorboardX.SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("loss", 1.0, 7, walltime=40.0)
        writer.add_scalar("loss", 2.0, 8, walltime=50.0)
    assert timeline(directory)[1:] == (50.0, 8, None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, math.nan, math.nan, math.nan], 20),
        ([1, math.inf, math.nan, -math.inf], 10),
        ([1, math.nan, 2, 3], None),
        ([1, math.nan, 2, math.inf], 30),
        ([math.nan], 0),
        ([1, 2], None),
    ],
)
def test_step_at_which_a_curve_diverges(directory, values, expected):
    log = EventLog(directory)
    log.log(TensorboardLogData(scalars={"a": np.array(values)}), np.arange(len(values)) * 10)
    log.log(TensorboardLogData(scalars={"b": 1.0}), 7)
    log.close()
    assert diverged_at(EventReader(directory).scalars()) == expected


def test_first_curve_to_diverge_counts(directory):
    log = EventLog(directory)
    values = {"a": np.array([1, 1, math.nan, math.nan]), "b": np.array([1, math.inf, 1, math.inf])}
    log.log(TensorboardLogData(scalars=values), np.arange(4))
    log.close()
    assert diverged_at(EventReader(directory).scalars()) == 2
    assert diverged_at({}) is None
