"""What TensorBoard shows of our logs, with each of its two loaders."""

import numpy as np
import pytest

from fifteen.experiments import TensorboardLogData
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory

LOADERS = pytest.mark.parametrize("fast", [False, True], ids=["python", "rust"])


def scalars(**values):
    return TensorboardLogData(scalars=values)


def log_run(directory, steps, rewind=None):
    """Log like one process of a training script."""
    directory.mkdir(exist_ok=True)
    log = EventLog(Directory(directory))
    if rewind is not None:
        log.rewind(rewind)
    for step in steps:
        log.log(scalars(loss=step / 7), step, 1, 1)
        log.log(scalars(accuracy=step / 3), step, 10, 1)
    log.close()


@pytest.mark.slow
@LOADERS
def test_curves_of_a_growing_file(tmp_path, tensorboard, fast):
    log = EventLog(Directory(tmp_path))
    expected = {step: np.float32(step**0.5) for step in range(50)}
    for step, value in expected.items():
        log.log(scalars(loss=value), step, 1, 1)
    log.flush()
    server = tensorboard(tmp_path, fast)
    steps, values = server.scalars("loss", 50)
    assert dict(zip(steps, values, strict=True)) == expected
    log.log(scalars(loss=3.5), 50, 1, 1)
    # Without a flush: events are written within a second.
    steps, values = server.scalars("loss", 51)
    assert (steps[-1], values[-1]) == (50, 3.5)
    log.close()


@LOADERS
@pytest.mark.slow
def test_resumed_run_looks_uninterrupted(tmp_path, tensorboard, fast):
    log_run(tmp_path / "whole", range(150))
    log_run(tmp_path / "resumed", range(100))
    log_run(tmp_path / "resumed", range(61, 150), rewind=60)
    server = tensorboard(tmp_path, fast)
    for tag, count in {"loss": 150, "accuracy": 15}.items():
        whole = server.scalars(tag, count, run="whole")
        resumed = server.scalars(tag, count, run="resumed")
        assert whole == resumed


@pytest.mark.slow
def test_rewound_points_are_hidden_before_the_next_log(tmp_path, tensorboard):
    log_run(tmp_path, range(100))
    log_run(tmp_path, [], rewind=60)
    server = tensorboard(tmp_path, fast=False)
    steps, _ = server.scalars("loss", 61)
    assert steps == list(range(61))


@LOADERS
@pytest.mark.slow
def test_summary_writer_and_log_are_both_shown(tmp_path, tensorboard, fast):
    log = EventLog(Directory(tmp_path))
    server = tensorboard(tmp_path, fast)
    writer = log.summary_writer
    for step in range(3):
        log.log(scalars(loss=float(step)), step, 1, 1)
        writer.add_image("picture", np.full((3, 8, 8), 40 * step, np.uint8), step)
        writer.add_text("note", f"step {step}", step)
        log.flush()
    server.scalars("loss", 3)
    images = server.wait_for(
        "images/images", lambda found: len(found) == 3, tag="picture", run=".", sample=0
    )
    assert [image["step"] for image in images] == [0, 1, 2]
    texts = server.wait_for(
        "text/text", lambda found: len(found) == 3, tag="note/text_summary", run="."
    )
    assert "step 2" in texts[-1]["text"]
    log.close()


@LOADERS
@pytest.mark.slow
def test_histograms_and_distributions(tmp_path, tensorboard, fast):
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    log = EventLog(Directory(tmp_path))
    for step in range(3):
        log.log(TensorboardLogData(histograms={"weights": values * (step + 1)}), step, 1, 1)
        log.log(TensorboardLogData(histograms={"constant": np.full(7, 2.5)}), step, 1, 1)
    log.close()
    server = tensorboard(tmp_path, fast)
    histograms = server.wait_for(
        "histograms/histograms", lambda found: len(found) == 3, tag="weights", run="."
    )
    for _, step, buckets in histograms:
        # A bucket is [left edge, right edge, count].
        buckets = np.array(buckets)
        assert buckets[:, 2].sum() == pytest.approx(values.size)
        assert buckets[0, 0] == pytest.approx((values * (step + 1)).min())
        assert buckets[-1, 1] == pytest.approx((values * (step + 1)).max())
    [(_, _, buckets), *_] = server.wait_for(
        "histograms/histograms", lambda found: len(found) == 3, tag="constant", run="."
    )
    assert sum(count for _, _, count in buckets) == pytest.approx(7)
    distributions = server.wait_for(
        "distributions/distributions", lambda found: len(found) == 3, tag="weights", run="."
    )
    [median] = [value for basis_points, value in distributions[0][2] if basis_points == 5000]
    assert median == pytest.approx(np.median(values), abs=0.02)


@pytest.mark.slow
def test_hparams_without_metrics_show_all_of_every_run(tmp_path, tensorboard):
    for run, hparams in enumerate([{"rate": 0.1}, {"rate": 0.2, "depth": 3}, {"name": None}]):
        directory = tmp_path / f"run{run}"
        directory.mkdir()
        log = EventLog(Directory(directory))
        log.log_hparams(hparams, metrics=[])
        log.log(scalars(loss=1.0), 1, 1, 1)
        log.close()
    experiment = tensorboard(tmp_path, fast=True).wait_for(
        "hparams/experiment",
        lambda found: len(found.get("hparamInfos", ())) == 3 and found.get("metricInfos"),
        body={"experimentName": ""},
    )
    assert {info["name"] for info in experiment["hparamInfos"]} == {"rate", "depth", "name"}
    assert [info["name"]["tag"] for info in experiment["metricInfos"]] == ["loss"]


@LOADERS
@pytest.mark.slow
def test_hparams_of_three_experiments(tmp_path, tensorboard, fast):
    for run, (rate, optimizer) in enumerate([(0.1, "sgd"), (0.01, "adam"), (0.001, "adam")]):
        (tmp_path / f"run{run}").mkdir()
        log = EventLog(Directory(tmp_path / f"run{run}"))
        hparams = {"rate": rate, "optimizer": optimizer, "nesterov": run == 0, "layers.0": 64}
        log.log_hparams(hparams, metrics=["test/accuracy"])
        for step in range(5):
            log.log(TensorboardLogData(scalars={"test/accuracy": run + step / 10}), step, 1, 1)
        log.close()
    server = tensorboard(tmp_path, fast)
    experiment = server.wait_for(
        "hparams/experiment", lambda found: found.get("hparamInfos"), body={"experimentName": ""}
    )
    names = {info["name"] for info in experiment["hparamInfos"]}
    assert names == {"rate", "optimizer", "nesterov", "layers.0"}
    assert [info["name"]["tag"] for info in experiment["metricInfos"]] == ["test/accuracy"]
    asked = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_RUNNING"],
        "colParams": [{"metric": {"tag": "test/accuracy", "group": ""}}],
        "startIndex": 0,
        "sliceSize": 10,
    }
    answer = server.wait_for(
        "hparams/session_groups",
        lambda found: len([g for g in found["sessionGroups"] if g.get("metricValues")]) == 3,
        body=asked,
    )
    rows = {
        group["sessions"][0]["name"]: (group["hparams"], group["metricValues"][0]["value"])
        for group in answer["sessionGroups"]
    }
    assert sorted(rows) == ["run0", "run1", "run2"]
    hparams, accuracy = rows["run1"]
    assert hparams == {"rate": 0.01, "optimizer": "adam", "nesterov": False, "layers.0": 64}
    assert accuracy == pytest.approx(1.4)
    # No run appears that the user did not create.
    runs = server.wait_for("scalars/tags", lambda found: len(found) == 3)
    assert sorted(runs) == ["run0", "run1", "run2"]


@pytest.mark.slow
def test_end_of_a_script_is_shown_with_and_without_hparams(tmp_path, tensorboard):
    for run, end in {"good": (True,), "bad": (False, "ValueError: boom"), "plain": (True,)}.items():
        (tmp_path / run).mkdir()
        log = EventLog(Directory(tmp_path / run))
        if run != "plain":
            log.log_hparams({"rate": 0.1}, metrics=[])
        log.log(scalars(loss=1.0), 1)
        log.log_end(*end)
        log.close()
    answer = tensorboard(tmp_path, fast=True).wait_for(
        "hparams/session_groups",
        lambda found: sum(len(group["sessions"]) for group in found["sessionGroups"]) == 3,
        body={
            "experimentName": "",
            "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE"],
            "colParams": [],
            "startIndex": 0,
            "sliceSize": 10,
        },
    )
    sessions = [session for group in answer["sessionGroups"] for session in group["sessions"]]
    assert {session["name"]: session["status"] for session in sessions} == {
        "good": "STATUS_SUCCESS",
        "bad": "STATUS_FAILURE",
        "plain": "STATUS_SUCCESS",
    }
