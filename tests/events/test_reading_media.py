"""Reading texts and images of summary writers."""

import io

import numpy as np
import PIL.Image
import pytest
import tensorboardX
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto

from fifteen.experiments import Experiment
from fifteen.experiments.events import _tfrecord
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.storage import Directory


@pytest.fixture
def reader(tmp_path):
    return EventReader(Directory(tmp_path))


def pixels(image):
    return np.asarray(PIL.Image.open(io.BytesIO(image.data)))


def test_media_of_the_summary_writer_are_read(tmp_path, reader):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    with Experiment(tmp_path, verbose=False) as experiment:
        for step, picture in enumerate(pictures):
            experiment.summary_writer.add_image("eval/sample", picture, step, dataformats="HWC")
            experiment.summary_writer.add_text("note", f"**{step}** ü <b>", step)
            experiment.summary_writer.add_scalar("loss", 0.5, step)
    images = reader.images()
    assert list(images) == ["eval/sample"]
    for step, (image, picture) in enumerate(zip(images["eval/sample"], pictures, strict=True)):
        assert image.step == step
        np.testing.assert_array_equal(pixels(image), picture)
    texts = reader.texts()["note/text_summary"]
    assert [(text.step, text.text) for text in texts] == [(n, f"**{n}** ü <b>") for n in range(3)]
    assert texts[0].wall_time <= texts[-1].wall_time
    assert list(reader.scalars()) == ["loss"]


def test_only_the_latest_of_each_tag_are_read(tmp_path, reader):
    with tensorboardX.SummaryWriter(str(tmp_path)) as writer:
        for step in range(120):
            writer.add_text("a", str(step), step)
        for step in range(12):
            writer.add_text("b", str(step), step)
            writer.add_image("c", np.full((3, 1, 1), step, np.uint8), step)
    found = reader.texts()
    assert list(found) == ["a/text_summary", "b/text_summary"]
    assert [(text.step, text.text) for text in found["a/text_summary"]] == [
        (step, str(step)) for step in range(20, 120)
    ]
    assert [text.step for text in found["b/text_summary"]] == list(range(12))
    assert [image.step for image in reader.images()["c"]] == list(range(2, 12))


def test_rewinds_and_repeated_steps_work_as_for_scalars(tmp_path, reader):
    for first, rewind in ((0, None), (2, 1)):
        with Experiment(tmp_path, verbose=False) as experiment:
            if rewind is not None:
                experiment.rewind_logs(rewind)
            for step in range(first, 4 - first // 2):
                experiment.summary_writer.add_text("note", f"{first}: {step}", step)
                experiment.summary_writer.add_text("note", f"again {first}: {step}", step)
    texts = [text.text for text in reader.texts()["note/text_summary"]]
    assert texts == ["again 0: 0", "again 0: 1", "again 2: 2"]


def test_tensorflow_tensors_may_name_their_plugin_once(tmp_path, reader):
    def event(step, plugin, strings):
        value = Summary.Value(
            tag=plugin[0],
            tensor=TensorProto(dtype="DT_STRING", string_val=strings),
            metadata=SummaryMetadata(plugin_data={"plugin_name": plugin}) if not step else None,
        )
        return Event(step=step, wall_time=1.0, summary=Summary(value=[value])).SerializeToString()

    events = [
        record
        for step in range(20)
        for record in (
            event(step, "images", [b"2", b"1", b"first %d" % step, b"second"]),
            event(step, "text", [b"\xff", b"text"]),
        )
    ]
    data = b"".join(map(_tfrecord.frame, events))
    (tmp_path / "events.out.tfevents.1.host").write_bytes(data)
    images = reader.images()["i"]
    assert [(image.step, image.data) for image in images[-2:]] == [
        (19, b"first 19"),
        (19, b"second"),
    ]
    texts = [text.text for text in reader.texts()["t"]]
    assert texts == ["\N{REPLACEMENT CHARACTER}", "text"] * 20
