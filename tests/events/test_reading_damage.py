import contextlib
import re
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_FLOAT

from fifteen.experiments import Experiment, ExperimentWarning
from fifteen.experiments.events._tfrecord import FOOTER, OVERHEAD, crc32c, frame, masked
from fifteen.experiments.events.reading import EventReader, _event_file
from fifteen.experiments.storage import Directory

NAME = "events.out.tfevents.1"


def scalar(step, **values):
    values = values or {"loss": step, "accuracy": -step}
    summary = Summary(value=[Summary.Value(tag=t, simple_value=v) for t, v in values.items()])
    return frame(Event(step=step, wall_time=100.0 + step, summary=summary).SerializeToString())


def header(length):
    packed = length.to_bytes(8, "little")
    return packed + FOOTER.pack(masked(crc32c(packed)))


def records(count):
    head = Event(wall_time=100.0, file_version="brain.Event:2").SerializeToString()
    return [frame(head), *(scalar(step) for step in range(count))]


def read_steps(directory, data, tag="loss"):
    """Return the steps and the warnings."""
    (directory / NAME).write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        series = EventReader(Directory(directory)).scalars()
    assert all(warning.category is ExperimentWarning for warning in caught)
    steps = series[tag].step.tolist() if tag in series else []
    return steps, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("count", [3, 40])
def test_truncated_end_is_skipped_silently(tmp_path, count):
    parts = records(count)
    whole = b"".join(parts)
    ends = np.cumsum([len(part) for part in parts])
    for cut in range(0 if count < 10 else len(whole) - 200, len(whole) + 1):
        steps, messages = read_steps(tmp_path, whole[:cut])
        assert messages == []
        assert steps == list(range(int((ends <= cut).sum()) - 1))


@pytest.mark.parametrize("count", [5, 20])
def test_wrong_byte_costs_one_record_and_is_reported(tmp_path, count):
    parts = records(count)
    whole = b"".join(parts)
    starts = np.cumsum([0, *(len(part) for part in parts)])
    places = range(len(whole)) if count < 10 else range(0, len(whole), 7)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 0x11
        record = int(np.searchsorted(starts, place, side="right")) - 1
        steps, messages = read_steps(tmp_path, bytes(damaged))
        assert steps == [step for step in range(count) if step != record - 1], place
        (message,) = messages
        start, end = starts[record], starts[record + 1]
        assert f"{tmp_path / NAME}: damaged; skipped bytes {start} to {end} (" in message


@pytest.mark.parametrize("tags", [1, 5, 40])
def test_wrong_bytes_among_similar_events(tmp_path, tags):
    values = {f"tag{number}": 1.0 for number in range(tags)}
    parts = [scalar(step, **values) for step in range(200)]
    for record in (0, 60, 130, 199):
        # In the wall time, which only the checksum protects.
        parts[record] = parts[record][:15] + b"\7" + parts[record][16:]
    steps, messages = read_steps(tmp_path, b"".join(parts), "tag0")
    assert steps == [step for step in range(200) if step not in (0, 60, 130, 199)]
    assert messages[0].count("the checksum does not match the data") == 4


def test_warning_points_at_the_line_that_reads(tmp_path):
    parts = records(9)
    parts[4] = parts[4][:-1] + b"\0"
    (tmp_path / NAME).write_bytes(b"".join(parts))
    for read in (Experiment(tmp_path).read_scalars, Experiment(tmp_path).read_histograms):
        with pytest.warns(ExperimentWarning, match="damaged; skipped") as caught:
            read()
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Experiment(tmp_path, verbose=False).read_scalars()["loss"]) == 8


def test_damage_is_reported_at_each_read(tmp_path):
    parts = records(9)
    parts[4] = parts[4][:-1] + b"\0"
    first = read_steps(tmp_path, b"".join(parts))
    with pytest.warns(ExperimentWarning, match=re.escape(first[1][0])):
        EventReader(Directory(tmp_path)).scalars()
    with pytest.warns(ExperimentWarning, match=re.escape(first[1][0])):
        EventReader(Directory(tmp_path)).histograms()
    # The warning points at the caller of `Experiment`, two frames up.
    assert "the checksum does not match the data" in first[1][0]


def test_damaged_records_are_summed_up_in_one_line(tmp_path):
    parts = records(40)
    parts[10:30] = [part[:-1] + bytes([part[-1] ^ 1]) for part in parts[10:30]]
    steps, messages = read_steps(tmp_path, b"".join(parts))
    assert steps == [*range(9), *range(29, 40)]
    assert len(messages) == 1
    assert messages[0].endswith("; and 12 more, and read all the rest")


def test_truncated_record_in_the_middle_costs_only_itself(tmp_path):
    # A writer that continued once a full disk had space again.
    parts = records(40)
    for kept in range(len(parts[20])):
        torn = [*parts[:20], parts[20][:kept], *parts[21:]]
        steps, messages = read_steps(tmp_path, b"".join(torn))
        assert steps == [*range(19), *range(20, 40)], kept
        assert len(messages) == (kept > 0)


def test_truncated_record_before_the_last(tmp_path):
    parts = records(5)
    for kept in range(1, len(parts[4])):
        steps, messages = read_steps(tmp_path, b"".join([*parts[:4], parts[4][:kept], parts[5]]))
        assert steps == [0, 1, 2, 4], kept
        assert len(messages) == 1


@pytest.mark.parametrize("zeros", [1, 11, 12, 4096, 1 << 20])
def test_trailing_zeros_of_a_crash_are_skipped(tmp_path, zeros):
    steps, messages = read_steps(tmp_path, b"".join(records(20)) + bytes(zeros))
    assert steps == list(range(20))
    assert messages == []


def test_garbage_after_trailing_zeros_is_reported(tmp_path):
    steps, messages = read_steps(tmp_path, b"".join(records(20)) + bytes(100) + b"\1" * 100)
    assert steps == list(range(20))
    assert len(messages) == 1


def test_truncated_record_larger_than_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(_event_file, "_CHUNK_BYTES", 1000)
    large = frame(Event(step=1, graph_def=b"\7" * 10_000).SerializeToString())
    for kept in (11, 12, 500, 5000, 9999):
        data = b"".join([*records(20), large[:kept]])
        assert read_steps(tmp_path, data) == (list(range(20)), [])
    data = b"".join([*records(20), large, scalar(20)])
    assert read_steps(tmp_path, data) == (list(range(21)), [])


def test_overlapping_records_take_bounded_time(tmp_path):
    # Each header claims all bytes up to the end, and no checksum matches.
    count = 30_000
    size = count * len(header(0))
    headers = [header(size - place) for place in range(0, size, len(header(0)))]
    steps, messages = read_steps(tmp_path, b"".join([*records(20), *headers, bytes(100)]))
    assert steps == list(range(20))
    assert len(messages) == 1


def test_zeros_in_the_middle_are_skipped(tmp_path):
    parts = records(40)
    data = b"".join(parts[:20]) + bytes(5000) + b"".join(parts[20:])
    steps, messages = read_steps(tmp_path, data)
    assert steps == list(range(40))
    assert "no intact record there" in messages[0]


def test_file_of_another_format_is_reported(tmp_path):
    steps, messages = read_steps(tmp_path, b"# Just a text, called tfevents by mistake\n" * 50)
    assert steps == []
    assert len(messages) == 1
    assert read_steps(tmp_path, bytes(range(256)) * 5000)[0] == []


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.integers(12, 3000),
)
def test_chunk_size_does_not_change_the_result(tmp_path_factory, kinds, damages, chunk):
    directory = tmp_path_factory.mktemp("chunks")
    parts = [scalar(step, **{"x" * kind: step, "loss": step}) for step, kind in enumerate(kinds)]
    data = bytearray(b"".join(parts))
    for place, byte in damages:
        data[min(int(place * len(data)), len(data) - 1)] = byte
    whole = read_steps(directory, bytes(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_event_file, "_CHUNK_BYTES", chunk)
        in_chunks = read_steps(directory, bytes(data))
    assert set(whole[0]) == set(in_chunks[0])
    assert bool(whole[1]) == bool(in_chunks[1])


@given(st.binary(max_size=200), st.integers(0, 20))
def test_arbitrary_bytes_in_an_intact_record_do_no_harm(tmp_path_factory, data, at):
    directory = tmp_path_factory.mktemp("bytes")
    parts = records(20)
    parts.insert(at + 1, frame(data))
    steps, _ = read_steps(directory, b"".join(parts))
    if b"\x3a" not in data:  # It may be the start of a session.
        assert set(range(20)) <= set(steps)


@given(st.data())
def test_changed_byte_with_a_valid_checksum_does_no_harm(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("changed")
    event = Event(step=3, wall_time=103.0)
    event.summary.value.add(tag="weights").histo.bucket.extend([1.0, 2.0])
    value = event.summary.value.add(tag="tensor")
    value.metadata.plugin_data.plugin_name = data.draw(st.sampled_from(["scalars", "histograms"]))
    value.tensor.dtype = data.draw(st.integers(0, 30))
    value.tensor.tensor_shape.dim.add().size = 2
    value.tensor.double_val.extend([1.0, 2.0])
    changed = bytearray(event.SerializeToString())
    for _ in range(data.draw(st.integers(0, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    steps, _ = read_steps(directory, b"".join([*records(20), frame(bytes(changed))]))
    assert set(range(20)) <= set(steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentWarning)
        EventReader(Directory(directory)).histograms()


def malformed():
    """Yield events whose lengths exceed their content."""
    yield "a length of 2**63", b"\x2a" + b"\xff" * 8 + b"\x7f"
    yield "a varint without an end", b"\x10" + b"\xff" * 40
    yield "field zero", b"\x00\x01"
    yield (
        "a tag that is no UTF-8",
        Event().SerializeToString()
        + b"\x2a\x09\x0a\x07\x0a\x01\xff"
        + b"\x15"
        + bytes(3)
        + b"\x00",
    )
    for size, name in [(2**62, "huge"), (-1, "negative"), (5, "of five")]:
        event = Event()
        value = event.summary.value.add(tag="t")
        value.metadata.plugin_data.plugin_name = "histograms"
        value.tensor.dtype = DT_DOUBLE
        for length in (size, 3):
            value.tensor.tensor_shape.dim.add().size = length
        value.tensor.tensor_content = struct.pack("<d", 1.0)
        if size != 5:
            yield f"a {name} tensor", event.SerializeToString()
        value.tensor.tensor_content = b""
        yield f"a tensor {name} without elements", event.SerializeToString()
        value.tensor.tensor_content = b"\0\0\0"
        yield f"a tensor {name} torn", event.SerializeToString()
    event = Event()
    value = event.summary.value.add(tag="t")
    value.metadata.plugin_data.plugin_name = "scalars"
    value.tensor.dtype = DT_FLOAT
    for _ in range(40):
        value.tensor.tensor_shape.dim.add().size = 1
    yield "forty dimensions", event.SerializeToString()
    event = Event()
    event.summary.value.add(tag="h").histo.bucket.append(1.0)
    yield "a bucket without an edge", event.SerializeToString()


@pytest.mark.parametrize("data", [pytest.param(d, id=name) for name, d in malformed()])
def test_intact_record_without_an_event_is_reported(tmp_path, data):
    parts = records(3)
    steps, messages = read_steps(tmp_path, b"".join([*parts, frame(data), scalar(3)]))
    assert steps == [0, 1, 2, 3]
    (message,) = messages
    start = sum(map(len, parts))
    assert f"bytes {start} to {start + len(data) + OVERHEAD} (no event: " in message


HOSTILE = """
import pathlib, resource, sys, warnings
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.storage import Directory
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    series = EventReader(Directory(pathlib.Path(sys.argv[1]))).scalars()
    EventReader(Directory(pathlib.Path(sys.argv[1]))).histograms()
print(len(series), len(caught), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def read_in_a_process(directory):
    """Return the numbers of series and warnings, and the growth of memory in MiB."""
    output = subprocess.run(
        [sys.executable, "-c", HOSTILE, str(directory)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    series, caught, kilobytes = map(int, output.split())
    return series, caught, kilobytes / 1024


@pytest.mark.slow
def test_huge_record_in_a_sparse_file_is_not_loaded(tmp_path):
    with open(tmp_path / NAME, "wb") as file:
        file.write(b"".join(records(20)))
        file.write(header(3 << 30))
        file.seek((3 << 30) + 4, 1)
        file.write(b"".join(scalar(step, after=1.0) for step in range(20)))
    series, caught, mebibytes = read_in_a_process(tmp_path)
    assert (series, caught) == (3, 2)
    assert mebibytes < 200


@pytest.mark.slow
def test_length_beyond_the_end_of_a_sparse_file_is_not_loaded(tmp_path):
    with open(tmp_path / NAME, "wb") as file:
        file.write(b"".join(records(20)))
        file.write(header(1 << 62))
        file.truncate(1 << 28)
    series, caught, mebibytes = read_in_a_process(tmp_path)
    assert (series, caught) == (2, 0)
    assert mebibytes < 200


@pytest.mark.slow
def test_many_tags_and_a_million_empty_values_take_bounded_memory(tmp_path):
    # Each value takes two bytes in the file.
    empty = b"\x2a" + b"\x80\x80\x80\x01" + b"\x0a\x00" * (1 << 20)
    tags = [
        frame(
            Event(
                summary=Summary(
                    value=[Summary.Value(tag=f"{n}.{i}", simple_value=1) for i in range(10_000)]
                )
            ).SerializeToString()
        )
        for n in range(12)
    ]
    (tmp_path / NAME).write_bytes(b"".join([*records(20), frame(empty), *tags]))
    _, _, mebibytes = read_in_a_process(tmp_path)
    assert mebibytes < 400


def test_tensorboard_reads_no_more_of_a_damaged_file(tmp_path):
    parts = records(40)
    parts[20] = b"\x01" + parts[20][1:]
    steps, _ = read_steps(tmp_path, b"".join(parts))
    theirs = []
    # TensorBoard may give up; only what it has read until then counts.
    with contextlib.suppress(Exception):
        theirs.extend(event.step for event in LegacyEventFileLoader(str(tmp_path / NAME)).Load())
    assert set(theirs) <= set(steps)
