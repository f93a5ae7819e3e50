"""The digits example in an object store: killed again and again, it ends as if it had not been."""

import random
import signal
import subprocess

import pytest
from digits import OPTIONS, assert_same, finish, open_experiment, start

MAX_SECONDS_ALIVE = 5.0
"""An uninterrupted run takes as long."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits") / "whole"
    finish(start(directory, *OPTIONS))
    return directory


def kill_and_resume(address, kills, seed):
    """Run the example, and kill it at random moments; resume it each time, and then let it end."""
    randomly = random.Random(seed)
    for _ in range(kills + 1):
        experiment = open_experiment(address)
        is_begun = "config" in experiment.metadata_names()
        if is_begun and max(experiment.checkpoint_steps(), default=0) >= int(OPTIONS[1]):
            # Killed after its end: go on with a new one.
            experiment.clear()
            is_begun = False
        child = start(address, *(["--resume"] if is_begun else OPTIONS))
        if _ < kills:
            try:
                child.wait(randomly.uniform(0.0, MAX_SECONDS_ALIVE))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
            child.communicate()
            assert child.returncode in (0, -signal.SIGKILL)
    finish(child)


@pytest.mark.slow
def test_trained_without_a_kill(uninterrupted, bucket):
    finish(start(bucket, *OPTIONS))
    assert_same(bucket, uninterrupted)


@pytest.mark.slow
def test_killed_twenty_times_at_random_and_resumed(uninterrupted, bucket):
    kill_and_resume(bucket, kills=20, seed=0)
    assert_same(bucket, uninterrupted)


@pytest.mark.slow
def test_trained_through_a_network_with_faults(uninterrupted, bucket, proxy):
    proxy.fail_at_random(seed=0, rate=0.1)
    finish(start(bucket, *OPTIONS))
    proxy.fail_at_random(seed=0, rate=0)
    assert_same(bucket, uninterrupted)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 11))
def test_killed_two_hundred_times(uninterrupted, bucket, seed):
    kill_and_resume(bucket, kills=20, seed=seed)
    assert_same(bucket, uninterrupted)
