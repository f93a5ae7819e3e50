"""The digits example in an object store: killed again and again, it ends as if it had not been."""

import random
import signal
import subprocess

import pytest
from digits import OPTIONS, assert_same, finish, open_experiment, start

SECONDS_TO_START = 2.0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits") / "whole"
    finish(start(directory, *OPTIONS))
    return directory


@pytest.fixture(scope="module")
def seconds(uninterrupted):
    """How long a run takes."""
    times = [path.stat().st_mtime for path in uninterrupted.iterdir()]
    return max(times) - min(times) + SECONDS_TO_START


def kill_and_resume(address, kills, seconds, seed):
    """Run the example, and kill it at random moments; resume it each time, and then let it end."""
    randomly = random.Random(seed)
    for number in range(kills + 1):
        experiment = open_experiment(address)
        is_begun = "config" in experiment.metadata_names()
        if is_begun and max(experiment.checkpoint_steps(), default=0) >= int(OPTIONS[1]):
            # Killed after its end: go on with a new one.
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
def test_trained_without_a_kill(uninterrupted, bucket):
    finish(start(bucket, *OPTIONS))
    assert_same(bucket, uninterrupted)


@pytest.mark.slow
def test_killed_twenty_times_at_random_and_resumed(uninterrupted, seconds, bucket):
    kill_and_resume(bucket, 20, seconds, seed=0)
    assert_same(bucket, uninterrupted)


@pytest.mark.slow
def test_trained_through_a_network_with_faults(uninterrupted, bucket, proxy):
    proxy.fail_at_random(seed=0, rate=0.1)
    finish(start(bucket, *OPTIONS))
    proxy.fail_at_random(seed=0, rate=0)
    assert_same(bucket, uninterrupted)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 11))
def test_killed_two_hundred_times(uninterrupted, seconds, bucket, seed):
    kill_and_resume(bucket, 20, seconds, seed)
    assert_same(bucket, uninterrupted)
