"""Events decoded by hand are what the protocol buffer library decodes, one by one and in rows."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto import types_pb2
from tensorboard.compat.proto.event_pb2 import Event, LogMessage, SessionLog
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto

from fifteen.experiments.events import (
    _parsing,
    _reading_cache,
    _reading_rows,
    read_histograms,
    read_scalars,
)
from fifteen.experiments.events._reading_tensor import tensor
from fifteen.experiments.events._reading_wire import MalformedError
from fifteen.experiments.events._records import frame

int64s = st.integers(-(2**63), 2**63 - 1)
doubles = st.floats()
tags = st.text(max_size=5) | st.sampled_from(["loss", "accuracy"])


@st.composite
def summaries(draw):
    event = Event()
    for _ in range(draw(st.integers(0, 5))):
        value = event.summary.value.add(tag=draw(tags))
        kind = draw(st.sampled_from(["simple", "histogram", "scalar", "text", "image", "none"]))
        if kind == "simple":
            value.simple_value = draw(st.floats(width=32))
        elif kind == "histogram":
            count = draw(st.integers(0, 4))
            value.histo.bucket_limit.extend(range(count))
            value.histo.bucket.extend(draw(st.integers(0, 3)) for _ in range(count))
        elif kind == "scalar":
            value.tag = f"tensor/{value.tag}"
            value.metadata.plugin_data.plugin_name = "scalars"
            dtype = draw(st.sampled_from([np.float32, np.float64, np.int64]))
            value.tensor.CopyFrom(make_tensor_proto(draw(st.integers(-100, 100)), dtype=dtype))
        elif kind == "text":
            value.tag = f"text/{value.tag}"
            value.metadata.plugin_data.plugin_name = "text"
            value.tensor.CopyFrom(make_tensor_proto([b"text"]))
        elif kind == "image":
            value.image.encoded_image_string = draw(st.binary(max_size=20))
    return event


@st.composite
def any_event(draw):
    event = draw(
        summaries()
        | st.builds(lambda: Event(file_version="brain.Event:2"))
        | st.builds(lambda status: Event(session_log=SessionLog(status=status)), st.integers(0, 3))
        | st.builds(lambda text: Event(log_message=LogMessage(message=text)), st.text())
        | st.builds(lambda graph: Event(graph_def=graph), st.binary())
    )
    event.step = draw(int64s | st.integers(0, 300))
    event.wall_time = draw(doubles)
    return event


@given(any_event())
def test_an_event_is_what_the_library_decodes(event):
    ours = _parsing.parse_event(event.SerializeToString())
    np.testing.assert_equal(ours.wall_time, event.wall_time)
    assert ours.step == event.step
    assert ours.is_session_start == (event.session_log.status == SessionLog.START)
    scalars = [
        (v.tag, v.simple_value if v.HasField("simple_value") else float(make_ndarray(v.tensor)))
        for v in event.summary.value
        if v.HasField("simple_value") or v.metadata.plugin_data.plugin_name == "scalars"
    ]
    np.testing.assert_equal(ours.scalars, scalars)
    histograms = [v.tag for v in event.summary.value if v.HasField("histo")]
    assert [tag for tag, _ in ours.histograms] == histograms


DTYPES = {
    types_pb2.DT_FLOAT: np.float32,
    types_pb2.DT_DOUBLE: np.float64,
    types_pb2.DT_INT32: np.int32,
    types_pb2.DT_UINT8: np.uint8,
    types_pb2.DT_INT16: np.int16,
    types_pb2.DT_INT8: np.int8,
    types_pb2.DT_INT64: np.int64,
    types_pb2.DT_BOOL: np.bool_,
    types_pb2.DT_UINT16: np.uint16,
    types_pb2.DT_HALF: np.float16,
    types_pb2.DT_UINT32: np.uint32,
    types_pb2.DT_UINT64: np.uint64,
    types_pb2.DT_BFLOAT16: ml_dtypes.bfloat16,
}


def decode(proto):
    data = proto.SerializeToString()
    return tensor(data, 0, len(data))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", DTYPES.values())
def test_tensors_of_every_type_as_content_and_as_elements(dtype, shape):
    array = np.array(np.arange(1, 1 + np.prod(shape, dtype=int)), dtype).reshape(shape)
    kind = next(kind for kind, each in DTYPES.items() if each is dtype)
    content = TensorProto(dtype=kind, tensor_content=array.tobytes())
    for size in shape:
        content.tensor_shape.dim.add(size=size)
    found, place = decode(content)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    if place is not None and array.size == 1:
        at, stored = place
        assert np.frombuffer(content.SerializeToString(), stored, 1, at)[0] == array.reshape(-1)[0]
    elements = TensorProto(dtype=kind, tensor_shape=content.tensor_shape)
    flat = array.reshape(-1)
    field = {
        "float32": "float_val",
        "float64": "double_val",
        "int64": "int64_val",
        "bool": "bool_val",
        "uint32": "uint32_val",
        "uint64": "uint64_val",
        "float16": "half_val",
        "bfloat16": "half_val",
    }.get(flat.dtype.name, "int_val")
    bits = flat.view(np.uint16) if field == "half_val" else flat
    getattr(elements, field).extend(bits.tolist())
    found, _ = decode(elements)
    np.testing.assert_array_equal(found, array)
    if flat.dtype.name not in ("uint32", "uint64", "bfloat16"):  # TensorBoard cannot decode them.
        np.testing.assert_array_equal(found, make_ndarray(elements))


@pytest.mark.parametrize("number", [-1, -(2**31), 2**31 - 1])
def test_negative_integers(number):
    for dtype in (np.int32, np.int64):
        found, _ = decode(make_tensor_proto(number, dtype=dtype))
        assert found == number


def test_the_last_element_stands_for_all_that_follow():
    proto = make_tensor_proto(np.zeros((4, 3)))
    proto.tensor_content = b""
    proto.double_val.extend([1.0, 2.0])
    found, _ = decode(proto)
    assert found.reshape(-1).tolist() == [1.0] + [2.0] * 11


def test_a_tensor_of_strings_holds_no_numbers():
    assert decode(make_tensor_proto([b"text"])) == (None, None)


def tensor_event(step, tag, number, plugin=None):
    event = Event(step=step, wall_time=100.0 + step)
    value = event.summary.value.add(tag=tag)
    if plugin:
        value.metadata.plugin_data.plugin_name = plugin
    value.tensor.CopyFrom(make_tensor_proto(np.float32(number)))
    return event


def test_only_the_first_tensor_of_a_tag_says_which_plugin_it_is_for(tmp_path):
    events = [tensor_event(0, "loss", 0, "scalars"), tensor_event(0, "other", 0, "pr_curves")]
    events += [tensor_event(step, tag, step) for step in range(1, 50) for tag in ("loss", "other")]
    events += [tensor_event(50, "loss", 50, "pr_curves"), tensor_event(0, "unknown", 0)]
    data = b"".join(frame(event.SerializeToString()) for event in events)
    (tmp_path / "events.out.tfevents.1").write_bytes(data)
    series = read_scalars(tmp_path)
    assert list(series) == ["loss"]
    assert series["loss"].value.tolist() == list(range(51))


@given(
    st.lists(summaries(), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), min_size=1, max_size=150),
    st.data(),
)
def test_rows_read_as_one_by_one(tmp_path_factory, patterns, order, data):
    directory = tmp_path_factory.mktemp("rows")
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    parts = []
    for number, index in enumerate(order):
        event = Event()
        event.CopyFrom(patterns[index % len(patterns)])
        event.step = number * int(generator.choice([1, 1, 50]))
        event.wall_time = generator.normal()
        for value in event.summary.value:
            if value.HasField("simple_value"):
                value.simple_value = generator.normal()
            if generator.random() < 0.02:
                value.tag = value.tag[::-1]
        parts.append(frame(event.SerializeToString()))
    (directory / "events.out.tfevents.1").write_bytes(b"".join(parts))
    in_rows = read_scalars(directory)
    _reading_cache.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_reading_rows, "_FEWEST_ROWS", 1 << 30)
        one_by_one = read_scalars(directory)
    assert list(in_rows) == list(one_by_one)
    for tag, series in one_by_one.items():
        np.testing.assert_array_equal(in_rows[tag].step, series.step)
        np.testing.assert_array_equal(in_rows[tag].wall_time, series.wall_time)
        np.testing.assert_array_equal(in_rows[tag].value, series.value)


def test_more_combinations_of_tags_than_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("fifteen.experiments.events._reading_file._MOST_TAG_SETS", 3)
    generator = np.random.default_rng(0)
    parts, expected = [], {}
    for step in range(300):
        event = Event(step=step, wall_time=100.0)
        for number in generator.permutation(6)[: generator.integers(1, 6)]:
            event.summary.value.add(tag=f"tag{number}", simple_value=step)
            expected.setdefault(f"tag{number}", []).append(step)
        parts.append(frame(event.SerializeToString()))
    (tmp_path / "events.out.tfevents.1").write_bytes(b"".join(parts))
    found = {tag: series.value.tolist() for tag, series in read_scalars(tmp_path).items()}
    assert found == expected


def test_many_events_alike_that_are_no_scalars(tmp_path):
    parts = []
    for step in range(60):
        event = Event(step=step % 50, wall_time=100.0 + step)
        histo = event.summary.value.add(tag="weights").histo
        histo.max, histo.bucket_limit[:], histo.bucket[:] = 1.0, [0.0, 1.0], [0.0, step + 1.0]
        parts.append(frame(event.SerializeToString()))
        # Of the same length, and no event at all.
        parts.append(frame(b"\x0b" + bytes(event.ByteSize() - 1)))
    (tmp_path / "events.out.tfevents.1").write_bytes(b"".join(parts))
    with pytest.warns(UserWarning, match=r"no event: .*; and 52 more"):
        weights = read_histograms(tmp_path)["weights"]
    assert [counts.sum() for counts in weights.counts] == [*range(51, 61), *range(11, 51)]


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_an_event_or_malformed(data):
    try:
        event = _parsing.parse_event(data)
    except MalformedError:
        return
    assert -(2**63) <= event.step < 2**63
