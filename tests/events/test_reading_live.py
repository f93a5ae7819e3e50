"""Reading a running experiment, and reading again."""

import concurrent.futures
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorboardX
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

from fifteen.experiments import Experiment, _console
from fifteen.experiments.events._tfrecord import frame
from fifteen.experiments.events.reading import EventReader, _event_file
from fifteen.experiments.storage import Directory

NAME = "events.out.tfevents.1"


def scalar(step, **values):
    summary = Summary(value=[Summary.Value(tag=t, simple_value=v) for t, v in values.items()])
    return frame(Event(step=step, wall_time=100.0 + step, summary=summary).SerializeToString())


HEAD = frame(Event(wall_time=100.0, file_version="brain.Event:2").SerializeToString())


def log(steps, **values):
    return b"".join(scalar(step, loss=step, **values) for step in steps)


@pytest.fixture
def reader(tmp_path):
    return EventReader(Directory(tmp_path))


def steps_of(reader, tag="loss"):
    series = reader.scalars().get(tag)
    return [] if series is None else series.step.tolist()


@pytest.fixture
def bytes_read(monkeypatch):
    """Collect the sizes of all reads from files."""
    counts = []
    read = os.pread

    def counting(file, count, position):
        data = read(file, count, position)
        counts.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counting)
    return counts


WRITER = """
import sys, time
from fifteen.experiments import Experiment, TensorboardLogData
with Experiment(sys.argv[1], verbose=False) as experiment:
    for step in range(5_000):
        scalars = {"loss": float(step), "accuracy": -float(step)}
        if step % 100 == 0:
            scalars["rare"] = float(step)
        experiment.log(TensorboardLogData(scalars=scalars), step=step)
        if step % 10 == 0:
            time.sleep(0.001)
            experiment.flush()
"""


@pytest.mark.slow
def test_reads_of_a_running_experiment_return_prefixes(tmp_path, reader):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
    seen = [0]
    try:
        while writer.poll() is None:
            for tag, series in reader.scalars().items():
                steps = np.arange(len(series)) * (100 if tag == "rare" else 1)
                assert series.step.tolist() == steps.tolist()
                assert series.value.tolist() == (steps * (-1 if tag == "accuracy" else 1)).tolist()
                if tag == "loss":
                    assert len(series) >= seen[-1]
                    seen.append(len(series))
            time.sleep(0.01)
    finally:
        writer.kill()
        writer.wait()
    assert writer.returncode == 0
    assert len(set(seen)) > 5
    assert steps_of(reader) == list(range(5_000))


@pytest.mark.slow
def test_reads_during_tensorboardx_writes_return_prefixes(tmp_path, reader):
    writer = tensorboardX.SummaryWriter(str(tmp_path), flush_secs=0.001)

    def write():
        for step in range(3000):
            writer.add_scalar("loss", step, step)
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    while thread.is_alive():
        steps = steps_of(reader)
        assert steps == list(range(len(steps)))
    thread.join()
    assert steps_of(reader) == list(range(3000))


def test_record_that_grows_byte_by_byte(tmp_path, reader):
    path = tmp_path / NAME
    path.write_bytes(HEAD + log(range(20)))
    with open(path, "ab", buffering=0) as file:
        for byte in scalar(20, loss=20):
            assert steps_of(reader) == list(range(20))
            file.write(bytes([byte]))
    assert steps_of(reader) == list(range(21))


def test_only_new_bytes_are_read(tmp_path, reader, bytes_read):
    path = tmp_path / NAME
    path.write_bytes(HEAD + log(range(5000)))
    first = reader.scalars()["loss"]
    assert sum(bytes_read) >= path.stat().st_size
    bytes_read.clear()
    assert steps_of(reader) == list(range(5000))
    assert sum(bytes_read) == 0
    for end in range(5001, 5020):
        with open(path, "ab") as file:
            file.write(scalar(end - 1, loss=end - 1))
        bytes_read.clear()
        assert steps_of(reader) == list(range(end))
        assert sum(bytes_read) < 1000
    # Series returned earlier have not changed.
    assert first.step.tolist() == first.value.tolist() == list(range(5000))


def test_returned_series_is_unchanged_by_a_later_rewind(tmp_path, reader):
    path = tmp_path / NAME
    path.write_bytes(HEAD + log(range(50)))
    before = reader.scalars()["loss"]
    start = Event(step=10, wall_time=200.0, session_log=SessionLog(status=SessionLog.START))
    with open(path, "ab") as file:
        file.write(frame(start.SerializeToString()) + scalar(10, loss=7))
    after = reader.scalars()["loss"]
    assert before.value.tolist() == list(range(50))
    assert after.value.tolist() == [*range(10), 7]


def test_rewritten_file_is_read_again(tmp_path, reader):
    path = tmp_path / NAME
    path.write_bytes(HEAD + log(range(50)))
    assert steps_of(reader) == list(range(50))
    # In place and larger, as by a writer that opens an existing file.
    head = frame(Event(wall_time=101.0, file_version="brain.Event:2").SerializeToString())
    with open(path, "r+b") as file:
        file.write(head + log(range(100, 200)))
    assert steps_of(reader) == list(range(100, 200))
    # In place and smaller.
    with open(path, "r+b") as file:
        file.truncate()
        file.write(HEAD + log(range(3)))
        file.truncate()
    assert steps_of(reader) == [0, 1, 2]
    # In place and of the same size.
    time.sleep(0.02)
    with open(path, "r+b") as file:
        file.write(HEAD + log(range(5, 8)))
    assert steps_of(reader) == [5, 6, 7]
    # Replaced, and removed.
    other = tmp_path / "other"
    other.write_bytes(HEAD + log(range(9)))
    other.replace(path)
    assert steps_of(reader) == list(range(9))
    path.unlink()
    assert steps_of(reader) == []


def test_damage_at_the_end_is_checked_again(tmp_path, reader):
    path = tmp_path / NAME
    path.write_bytes(HEAD + log(range(20)) + bytes(99) + b"x")
    with pytest.warns(UserWarning, match="no intact record there"):
        assert steps_of(reader) == list(range(20))
    # A network file system may show writes late.
    with open(path, "r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(log(range(20, 24)))
    assert steps_of(reader) == list(range(24))


def test_threads_may_read_at_once(tmp_path, reader):
    path = tmp_path / NAME
    path.write_bytes(HEAD + log(range(2000)))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: steps_of(reader), range(40)):
            assert result == list(range(2000))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:os.fork:RuntimeWarning")
def test_forked_child_can_read_while_a_thread_reads(tmp_path):
    (tmp_path / NAME).write_bytes(HEAD + log(range(100)))
    experiment = Experiment(tmp_path, verbose=False)
    with experiment._session.reader._lock:
        child = os.fork()
        if child == 0:
            found = None
            try:
                found = experiment.read_scalars()["loss"].step.tolist()
            finally:  # Otherwise an error would go on in the child, as in a second run of pytest.
                os._exit(found != list(range(100)))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_growing_histograms_are_read(tmp_path, reader):
    with open(tmp_path / NAME, "wb", buffering=0) as file:
        file.write(HEAD)
        for step in range(12):
            event = Event(step=step, wall_time=100.0)
            event.summary.value.add(tag="weights").histo.CopyFrom(
                HistogramProto(max=1.0, bucket_limit=[0.0, 1.0], bucket=[0, step + 1])
            )
            file.write(frame(event.SerializeToString()))
            weights = reader.histograms()["weights"]
            assert weights.step.tolist() == list(range(step + 1))
            assert [counts.sum() for counts in weights.counts] == list(range(1, step + 2))


def test_file_truncated_during_reading(tmp_path, reader, monkeypatch):
    path = tmp_path / NAME
    path.write_bytes(HEAD + log(range(100)))
    monkeypatch.setattr(_event_file, "_CHUNK_BYTES", 1000)
    read = os.pread

    def cutting(file, count, position):
        if position > 1500:
            os.truncate(path, 2500)
        return read(file, count, position)

    monkeypatch.setattr(os, "pread", cutting)
    steps = steps_of(reader)
    assert 0 < len(steps) < 100
    assert steps == list(range(len(steps)))


def test_large_file_is_read_in_chunks(tmp_path, reader, monkeypatch):
    monkeypatch.setattr(_event_file, "_CHUNK_BYTES", 10_000)
    (tmp_path / NAME).write_bytes(HEAD + log(range(3000), other=1))
    assert steps_of(reader) == list(range(3000))
    assert reader.scalars()["loss"].value.tolist() == list(range(3000))


def test_unchanged_files_are_not_read_again(tmp_path, reader, bytes_read):
    (tmp_path / NAME).write_bytes(HEAD + log(range(50)))
    first = reader.scalars()
    bytes_read.clear()
    assert reader.scalars()["loss"] is first["loss"]
    assert bytes_read == []


def test_new_points_do_not_change_old_arrays(tmp_path, reader):
    (tmp_path / NAME).write_bytes(HEAD + log(range(50)))
    seen = [reader.scalars()["loss"]]
    for end in range(60, 500, 10):
        with open(tmp_path / NAME, "ab") as file:
            file.write(log(range(end - 10, end)))
        seen.append(reader.scalars()["loss"])
    for series in seen:
        assert series.step.tolist() == series.value.tolist() == list(range(len(series)))
    assert np.shares_memory(seen[-1].step, seen[-2].step)


def test_files_may_grow_in_parallel(tmp_path, reader):
    paths = [tmp_path / f"events.out.tfevents.{number}" for number in (1, 2)]
    for path in paths:
        path.write_bytes(HEAD)
    expected = {}
    for step in range(0, 200, 4):
        for number, path in enumerate(paths):
            with open(path, "ab") as file:
                file.write(scalar(step + number, loss=number))
                file.write(scalar(step + 2, loss=number))
            expected[step + number] = float(number)
            # The later file by name wins, whichever was written last.
            expected[step + 2] = float(max(number, expected.get(step + 2, 0)))
            found = reader.scalars()["loss"]
            assert dict(zip(found.step.tolist(), found.value.tolist(), strict=True)) == expected


def test_rewind_hides_points_already_read(tmp_path, reader):
    (tmp_path / NAME).write_bytes(HEAD + log(range(50)))
    before = reader.scalars()["loss"]
    start = Event(step=20, wall_time=200.0, session_log=SessionLog(status=SessionLog.START))
    (tmp_path / "events.out.tfevents.2").write_bytes(frame(start.SerializeToString()))
    assert steps_of(reader) == list(range(20))
    with open(tmp_path / NAME, "ab") as file:
        file.write(log(range(50, 60)))
    assert steps_of(reader) == list(range(20))
    with open(tmp_path / "events.out.tfevents.2", "ab") as file:
        file.write(log(range(20, 30)))
    assert steps_of(reader) == list(range(30))
    assert before.step.tolist() == list(range(50))


def test_interrupted_read_is_repeated(tmp_path, reader, monkeypatch):
    (tmp_path / NAME).write_bytes(HEAD + log(range(50)))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(EventReader, "_add_new", interrupt)
    with pytest.raises(KeyboardInterrupt):
        reader.scalars()
    monkeypatch.undo()
    assert steps_of(reader) == list(range(50))


@pytest.mark.parametrize("seed", range(8))
def test_incremental_and_full_reads_agree(tmp_path, reader, seed):
    generator = np.random.default_rng(seed)
    names = [f"events.out.tfevents.{number}" for number in range(3)]
    step = 0
    for _ in range(60):
        path = tmp_path / names[generator.choice(3, p=[0.1, 0.2, 0.7])]
        action = generator.choice(
            ["log", "stack", "rewind", "cut", "delete"], p=[0.6, 0.2, 0.1, 0.05, 0.05]
        )
        step = max(0, step + int(generator.integers(-3, 12)))
        data = b"" if path.exists() else HEAD
        if action == "log":
            data += scalar(step, **{f"tag{number}": step for number in generator.integers(0, 4, 2)})
        elif action == "stack":
            data += log(range(step, step + 30), other=generator.normal())
        elif action == "rewind":
            start = Event(step=step, session_log=SessionLog(status=SessionLog.START))
            data += frame(start.SerializeToString())
        if action == "delete":
            path.unlink(missing_ok=True)
        elif action == "cut" and path.exists():
            path.write_bytes(path.read_bytes()[: generator.integers(path.stat().st_size + 1)])
        else:
            with open(path, "ab") as file:
                file.write(data)
        if generator.random() < 0.5:
            continue
        with _console.quiet():
            found = reader.scalars()
            expected = EventReader(Directory(tmp_path)).scalars()
        assert list(found) == list(expected)
        for tag, series in expected.items():
            np.testing.assert_array_equal(found[tag].step, series.step)
            np.testing.assert_array_equal(found[tag].value, series.value)
            np.testing.assert_array_equal(found[tag].wall_time, series.wall_time)
