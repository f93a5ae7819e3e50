"""The digits example: its accuracy, its files, and that kills change neither."""

import dataclasses
import pathlib
import random
import sys
import time

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from digits import (
    EXAMPLE,
    OPTIONS,
    STEPS,
    assert_same,
    finish,
    has_checkpoint,
    kill_when,
    open_experiment,
    start,
    start_cold,
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits") / "whole"
    finish(start_cold(directory, *OPTIONS))
    return directory


def test_examples_are_short():
    examples = sorted(EXAMPLE.parent.glob("[0-9]*.py"))
    lines = {path.name: len(path.read_text().splitlines()) for path in examples}
    assert lines.pop("04_old_program.py") <= 110  # Kept as it was written.
    assert max(lines.values()) <= 80, lines


@pytest.mark.slow
def test_digits_writes_the_documented_files(uninterrupted):
    experiment = open_experiment(uninterrupted)
    assert experiment.metadata_names() == ["config", "provenance"]
    assert experiment.checkpoint_steps() == [STEPS - 300, STEPS - 150, STEPS]
    assert len(experiment.checkpoint_steps("checkpoint_best_")) == 1

    scalars = experiment.read_scalars()
    assert set(scalars) == {
        "train/loss",
        "train/accuracy",
        "train/grad_norm",
        "test/loss",
        "test/accuracy",
    }
    np.testing.assert_array_equal(scalars["train/loss"].step, np.arange(1, STEPS + 1))
    np.testing.assert_array_equal(scalars["test/accuracy"].step, np.arange(150, STEPS + 1, 150))
    assert scalars["test/accuracy"].value[-1] >= 0.95

    (best,) = experiment.checkpoint_steps("checkpoint_best_")
    accuracy = scalars["test/accuracy"]
    assert best == accuracy.step[np.argmax(accuracy.value)]

    histograms = experiment.read_histograms()
    assert set(histograms) == {"train/w1", "train/b1", "train/w2"}
    assert all(
        list(series.step) == list(range(100, STEPS + 1, 100)) for series in histograms.values()
    )


@pytest.mark.slow
def test_tensorboard_reads_the_run(uninterrupted):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(
        str(uninterrupted), size_guidance={"scalars": 0, "histograms": 0}
    ).Reload()
    for tag, series in open_experiment(uninterrupted).read_scalars().items():
        points = accumulator.Scalars(tag)
        assert [point.step for point in points] == list(series.step)
        assert [point.value for point in points] == list(series.value)
    assert len(accumulator.Histograms("train/w1")) == STEPS // 100


@pytest.mark.slow
def test_run_killed_half_way_is_resumed(uninterrupted, tmp_path):
    directory = tmp_path / "killed"
    child = start(directory, *OPTIONS)
    kill_when(child, lambda: has_checkpoint(directory, 450))
    finish(start(directory, "--resume"))
    assert_same(directory, uninterrupted)


@pytest.mark.slow
def test_run_killed_before_its_first_checkpoint_starts_again(uninterrupted, tmp_path):
    directory = tmp_path / "killed"
    child = start(directory, *OPTIONS)
    kill_when(child, lambda: any(directory.glob("events.*")))
    finish(start(directory, "--resume"))
    assert_same(directory, uninterrupted)


@pytest.mark.slow
def test_run_killed_repeatedly_equals_an_uninterrupted_one(uninterrupted, tmp_path):
    directory = tmp_path / "killed"
    randomly = random.Random(0)
    child = start(directory, *OPTIONS)
    for step in (150, 300, 600, 750):
        kill_when(child, lambda step=step: has_checkpoint(directory, step))
        child = start(directory, "--resume")
        time.sleep(randomly.uniform(0.0, 0.3))
    finish(child)
    assert_same(directory, uninterrupted)


@pytest.mark.slow
def test_config_is_read_from_the_command_line(tmp_path):
    directory = tmp_path / "run"
    options = ("--config.optimizer.learning-rate", "0.125", "--config.steps", "3")
    finish(start(directory, *options))

    @dataclasses.dataclass(frozen=True)
    class OptimizerConfig:
        learning_rate: float
        weight_decay: float

    @dataclasses.dataclass(frozen=True)
    class Config:
        optimizer: OptimizerConfig
        hidden: int
        steps: int
        save_every: int

    config = open_experiment(directory).read_metadata("config", Config)
    assert config == Config(OptimizerConfig(0.125, 0.001), 128, 3, 250)


@pytest.mark.slow
def test_occupied_and_missing_directories_are_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    child = start(tmp_path / "run")
    assert "expected a new experiment, found thesis.txt" in child.communicate()[1]
    assert child.returncode == 1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]

    child = start(tmp_path / "absent", "--resume")
    assert "absent: expected an experiment, found nothing" in child.communicate()[1]
    assert child.returncode == 1
