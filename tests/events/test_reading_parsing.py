"""Decoding of tensors, and of events by templates and one by one."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto import types_pb2
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto
from tensorboardX.proto import tensor_pb2

from fifteen.experiments.events._tfrecord import frame
from fifteen.experiments.events.reading import EventReader, _event_file
from fifteen.experiments.events.reading._tensors import to_numpy
from fifteen.experiments.storage import Directory

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
    return to_numpy(tensor_pb2.TensorProto.FromString(proto.SerializeToString()))


# TensorBoard sets the dtype of halves, which NumPy deprecated in 2.5.
@pytest.mark.filterwarnings("ignore:Setting the dtype on a NumPy array:DeprecationWarning")
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", DTYPES.values())
def test_tensors_of_every_type_and_encoding(dtype, shape):
    array = np.array(np.arange(1, 1 + np.prod(shape, dtype=int)), dtype).reshape(shape)
    kind = next(kind for kind, each in DTYPES.items() if each is dtype)
    content = TensorProto(dtype=kind, tensor_content=array.tobytes())
    for size in shape:
        content.tensor_shape.dim.add(size=size)
    found = decode(content)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
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
    if flat.dtype.name in ("uint32", "uint64"):  # tensorboardX's messages lack these fields.
        with pytest.raises(ValueError, match="cannot reshape"):
            decode(elements)
        return
    found = decode(elements)
    np.testing.assert_array_equal(found, array)
    if flat.dtype.name != "bfloat16":  # TensorBoard cannot decode it.
        np.testing.assert_array_equal(found, make_ndarray(elements))


@pytest.mark.parametrize("number", [-1, -(2**31), 2**31 - 1])
def test_negative_integers(number):
    for dtype in (np.int32, np.int64):
        found = decode(make_tensor_proto(number, dtype=dtype))
        assert found == number


def test_last_element_is_repeated():
    proto = make_tensor_proto(np.zeros((4, 3)))
    proto.tensor_content = b""
    proto.double_val.extend([1.0, 2.0])
    found = decode(proto)
    assert found.reshape(-1).tolist() == [1.0] + [2.0] * 11


def test_tensor_of_strings_has_no_numbers():
    assert decode(make_tensor_proto([b"text"])) is None


def tensor_event(step, tag, number, plugin=None):
    event = Event(step=step, wall_time=100.0 + step)
    value = event.summary.value.add(tag=tag)
    if plugin:
        value.metadata.plugin_data.plugin_name = plugin
    value.tensor.CopyFrom(make_tensor_proto(np.float32(number)))
    return event


def test_first_tensor_of_a_tag_decides_the_plugin(tmp_path):
    events = [tensor_event(0, "loss", 0, "scalars"), tensor_event(0, "other", 0, "pr_curves")]
    events += [tensor_event(step, tag, step) for step in range(1, 50) for tag in ("loss", "other")]
    events += [tensor_event(50, "loss", 50, "pr_curves"), tensor_event(0, "unknown", 0)]
    data = b"".join(frame(event.SerializeToString()) for event in events)
    (tmp_path / "events.out.tfevents.1").write_bytes(data)
    series = EventReader(Directory(tmp_path)).scalars()
    assert list(series) == ["loss"]
    assert series["loss"].value.tolist() == list(range(51))


@given(
    st.lists(summaries(), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), min_size=1, max_size=150),
    st.data(),
)
def test_rows_are_read_as_if_parsed_one_by_one(tmp_path_factory, patterns, order, data):
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
    in_rows = EventReader(Directory(directory)).scalars()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_event_file, "_MIN_ROWS", 1 << 30)
        one_by_one = EventReader(Directory(directory)).scalars()
    assert list(in_rows) == list(one_by_one)
    for tag, series in one_by_one.items():
        np.testing.assert_array_equal(in_rows[tag].step, series.step)
        np.testing.assert_array_equal(in_rows[tag].wall_time, series.wall_time)
        np.testing.assert_array_equal(in_rows[tag].value, series.value)


def test_more_combinations_of_tags_than_templates(tmp_path, monkeypatch):
    monkeypatch.setattr(_event_file, "_MAX_TEMPLATES", 3)
    generator = np.random.default_rng(0)
    parts, expected = [], {}
    for step in range(300):
        event = Event(step=step, wall_time=100.0)
        for number in generator.permutation(6)[: generator.integers(1, 6)]:
            event.summary.value.add(tag=f"tag{number}", simple_value=step)
            expected.setdefault(f"tag{number}", []).append(step)
        parts.append(frame(event.SerializeToString()))
    (tmp_path / "events.out.tfevents.1").write_bytes(b"".join(parts))
    found = {
        tag: series.value.tolist()
        for tag, series in EventReader(Directory(tmp_path)).scalars().items()
    }
    assert found == expected


def test_similar_events_without_scalars(tmp_path):
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
        weights = EventReader(Directory(tmp_path)).histograms()["weights"]
    assert [counts.sum() for counts in weights.counts] == [*range(51, 61), *range(11, 51)]


@pytest.mark.parametrize("unnamed", [1, 7, 8, 100])
@pytest.mark.parametrize("chunk_bytes", [1 << 10, 1 << 22])
def test_event_naming_a_plugin_may_be_in_a_row_of_equal_lengths(
    tmp_path, monkeypatch, unnamed, chunk_bytes
):
    monkeypatch.setattr(_event_file, "_CHUNK_BYTES", chunk_bytes)
    named = [tensor_event(step + 1, tag, 1.0, "scalars") for step, tag in enumerate("abcdefghijkl")]
    later = [tensor_event(20 + step, "a", 1.0) for step in range(unnamed)]
    payloads = [event.SerializeToString() for event in named + later]
    assert len({len(payload) for payload in payloads[: len(named)]}) == 1
    (tmp_path / "events.out.tfevents.1").write_bytes(b"".join(map(frame, payloads)))
    steps = EventReader(Directory(tmp_path)).scalars()["a"].step.tolist()
    assert steps == [1, *range(20, 20 + unnamed)]
