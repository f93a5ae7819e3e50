"""The digits example in an object store gives the same results despite repeated kills."""

import random
import signal
import subprocess
import time

import pytest
from digits import assert_same, finish, open_experiment, start, start_cold

STEPS = 720
"""Enough that many kills come during the training."""
OPTIONS = ("--config.steps", str(STEPS), "--config.save-every", "60")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The directory and duration of an uninterrupted run."""
    directory = tmp_path_factory.mktemp("digits") / "whole"
    finish(start(directory.parent / "compiled", *OPTIONS))
    child = start(directory, *OPTIONS)
    begin = time.monotonic()
    finish(child)
    return directory, time.monotonic() - begin


def kill_and_resume(address, kills, seconds, seed):
    """Run the example, kill and resume it at random moments, and finally let it end."""
    randomly = random.Random(seed)
    for number in range(kills + 1):
        experiment = open_experiment(address)
        is_begun = "config" in experiment.metadata_names()
        if is_begun and max(experiment.checkpoint_steps(), default=0) >= STEPS:
            # It had finished before the kill: start another.
            experiment.clear()
            is_begun = False
        child = start(address, *(["--resume"] if is_begun else OPTIONS))
        if number < kills:
            try:
                child.wait(randomly.uniform(0.0, seconds))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
            child.communicate()
            assert child.returncode in (0, -signal.SIGKILL)
    finish(child)


@pytest.mark.slow
def test_uninterrupted_training(local, bucket):
    finish(start_cold(bucket, *OPTIONS))
    assert_same(bucket, local[0])


@pytest.mark.slow
def test_run_killed_twenty_times_equals_an_uninterrupted_one(local, bucket):
    kill_and_resume(bucket, 20, local[1], seed=0)
    assert_same(bucket, local[0])


@pytest.mark.slow
def test_training_over_a_faulty_network(local, bucket, proxy):
    proxy.fail_at_random(seed=0, rate=0.1)
    finish(start(bucket, *OPTIONS))
    proxy.fail_at_random(seed=0, rate=0)
    assert_same(bucket, local[0])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 11))
def test_run_killed_two_hundred_times_equals_an_uninterrupted_one(local, bucket, seed):
    kill_and_resume(bucket, 20, local[1], seed)
    assert_same(bucket, local[0])
