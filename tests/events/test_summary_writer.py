import numpy as np
import pytest
import tensorboardX
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fifteen.experiments import TensorboardLogData
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory


@pytest.fixture
def log(tmp_path):
    log = EventLog(Directory(tmp_path))
    yield log
    log.close()


def accumulate(directory):
    return EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()


def test_summary_writer_is_real_and_shares_the_file(log, tmp_path):
    writer = log.summary_writer
    assert isinstance(writer, tensorboardX.SummaryWriter)
    assert log.summary_writer is writer
    assert writer.logdir == str(tmp_path)
    for step in range(5):
        log.log(TensorboardLogData({"ours": float(step)}), step, 1, 1)
        writer.add_scalar("theirs", step / 2, step)
    writer.add_image("image", np.zeros((3, 4, 4), np.uint8), 0)
    writer.add_text("text", "hello", 0)
    writer.add_histogram("histogram", np.arange(10.0), 0)
    writer.flush()
    assert len(list(tmp_path.iterdir())) == 1
    found = accumulate(tmp_path)
    assert [event.step for event in found.Scalars("ours")] == list(range(5))
    assert [event.value for event in found.Scalars("theirs")] == [0, 0.5, 1, 1.5, 2]
    assert found.Tags()["images"] == ["image"]
    assert found.Tags()["histograms"] == ["histogram"]
    assert "text/text_summary" in found.Tags()["tensors"]


def test_summary_writer_works_after_its_close(log, tmp_path):
    for step in range(3):
        log.summary_writer.add_scalar("x", step, step)
        log.summary_writer.close()
    log.summary_writer.add_scalar("x", 3, 3)
    log.close()
    log.summary_writer.add_scalar("x", 4, 4)
    log.close()
    assert EventReader(Directory(tmp_path)).scalars()["x"].value.tolist() == [0, 1, 2, 3, 4]


def test_summary_writer_is_a_context_manager(log, tmp_path):
    with log.summary_writer as writer:
        writer.add_scalar("x", 1.0, 1)
    assert EventReader(Directory(tmp_path)).scalars()["x"].value.tolist() == [1.0]


def test_add_scalars_and_add_hparams_create_sub_runs(log, tmp_path):
    log.summary_writer.add_scalars("losses", {"train": 1.0, "test": 2.0}, 1)
    log.summary_writer.add_hparams({"rate": 0.1}, {"accuracy": 0.9}, name="trial")
    log.summary_writer.close()
    assert accumulate(tmp_path / "losses" / "train").Tags()["scalars"] == ["losses"]
    assert accumulate(tmp_path / "trial").Tags()["scalars"] == ["accuracy"]


def test_no_file_is_created_until_something_is_added(log, tmp_path):
    assert log.summary_writer is not None
    assert list(tmp_path.iterdir()) == []
