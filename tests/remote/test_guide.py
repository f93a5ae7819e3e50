"""What the guide to object stores says of faults and requests, if no other test shows it."""

import functools
import os
import random
import signal
import threading
import time

import numpy as np
import obstore.store
import pytest
import warm

from fifteen.experiments import (
    CheckpointExistsError,
    Experiment,
    ExperimentWarning,
    TensorboardLogData,
    find_experiments,
)
from fifteen.experiments.storage import Directory

PATIENCE = 60


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_answers_are_tried_again(bucket, proxy, status):
    experiment = Experiment(bucket, verbose=False)
    for action in (
        lambda: experiment.write_metadata("config", 1),
        lambda: experiment.save_checkpoint({"x": np.ones(3)}, 1),
        lambda: experiment.save_checkpoint({"x": np.ones(3 << 20)}, 2),
        lambda: experiment.restore_checkpoint(None),
        lambda: find_experiments(bucket).values("config"),
        lambda: (experiment.log(TensorboardLogData({"loss": 1.0}), 1), experiment.flush()),
    ):
        proxy.answer_with(status, times=2)
        action()
        assert proxy._times_left == 0
    proxy.answer_with(None)
    assert experiment.read_scalars()["loss"].step.tolist() == [1]
    assert (experiment.restore_checkpoint(None)["x"] == 1).all()
    experiment.close()


def test_answers_that_are_cut_are_asked_for_again(bucket, proxy):
    with Experiment(bucket, verbose=False) as experiment:
        experiment.write_metadata("config", 1)
        experiment.save_checkpoint({"x": np.ones(3 << 20)}, 1)
    for read in (
        lambda: find_experiments(bucket),
        lambda: experiment.read_metadata("config"),
        experiment.checkpoint_steps,
        experiment.assert_exists,
        lambda: experiment.restore_checkpoint(None),
    ):
        proxy.cuts_left = 2
        read()
        assert proxy.cuts_left == 0


@pytest.mark.slow
def test_timeouts_are_tried_again(bucket, proxy, monkeypatch):
    for prefix in ("AWS", "AZURE", "GOOGLE"):
        monkeypatch.setenv(f"{prefix}_TIMEOUT", "1s")
    experiment = Experiment(bucket, verbose=False)
    for action in (
        lambda: experiment.write_metadata("config", 1),
        lambda: experiment.read_metadata("config"),
    ):
        proxy.hold("config.yaml")
        thread = threading.Thread(target=action)
        thread.start()
        try:
            wait_until(lambda: proxy.held >= 2)
        finally:
            proxy.release()
            thread.join(PATIENCE)
    assert experiment.read_metadata("config") == 1
    experiment.close()


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_save_raises_without_a_network_and_leaves_the_last_checkpoint(bucket, proxy):
    with Experiment(bucket, verbose=False) as experiment:
        experiment.write_metadata("config", 1)
        experiment.save_checkpoint({"x": np.ones(3)}, 1)
    proxy.turn_off()
    for blocking in (True, False):
        with pytest.raises(OSError, match=bucket):
            experiment.save_checkpoint({"x": np.zeros(3)}, 2, blocking=blocking)
    with pytest.raises(OSError, match=bucket):
        experiment.write_metadata("config", 2)
    proxy.turn_on()
    assert experiment.checkpoint_steps() == [1]
    assert (experiment.restore_checkpoint(None)["x"] == 1).all()
    assert experiment.read_metadata("config") == 1
    experiment.close()


def test_save_in_the_background_refuses_a_step_that_exists_at_once(bucket):
    with Experiment(bucket, verbose=False) as experiment:
        experiment.save_checkpoint({"x": 1}, 1)
        with pytest.raises(CheckpointExistsError):
            experiment.save_checkpoint({"x": 2}, 1, blocking=False)


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("raise SystemError", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
    ],
)
def test_save_in_the_background_is_finished_at_the_end(bucket, ending, code):
    script = f"""
import os, signal, sys, time
import numpy as np
from fifteen.experiments import Experiment
experiment = Experiment(sys.argv[1], verbose=False)
experiment.save_checkpoint({{"x": np.ones(3 << 20)}}, 1, blocking=False)
{ending}
"""
    with warm.Process(script, bucket) as child:
        _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == code, errors
    restored = Experiment(bucket, verbose=False).restore_checkpoint(None)
    assert (restored["x"] == 1).all()


@pytest.mark.slow
def test_kill_while_metadata_are_written_leaves_the_old_or_the_new(bucket):
    script = """
import itertools, sys
from fifteen.experiments import Experiment
experiment = Experiment(sys.argv[1], verbose=False)
for count in itertools.count(int(sys.argv[2])):
    experiment.write_metadata("config", [count] * (2_000 if count % 2 else 3))
    print(count, flush=True)
"""
    experiment = Experiment(bucket, verbose=False)
    chance = random.Random(0)
    count = 0
    for _ in range(20):
        with warm.Process(script, bucket, count) as child:
            # Kill it only after its first write, or only its start would be tested.
            assert child.stdout.readline() == f"{count}\n"
            time.sleep(chance.uniform(0, 0.05))
            child.kill()
            written = [count, *map(int, child.stdout.read().split())]
        found = experiment.read_metadata("config", list[int])
        count = found[0]
        assert found == [count] * (2_000 if count % 2 else 3)
        assert count - written[-1] in (0, 1)
        assert Directory(experiment.data_dir).names() == ["config.yaml"]


def test_flipped_bit_in_a_log_is_reported_and_the_rest_is_read(bucket):
    with Experiment(bucket, verbose=False) as experiment:
        for step in range(9):
            experiment.log(TensorboardLogData({"loss": 1.0}), step)
    directory = Directory(experiment.data_dir)
    (name,) = directory.names()
    content = bytearray(directory.read(name))
    content[len(content) // 2] ^= 1
    with directory.replace(name) as file:
        file.write(bytes(content))
    message = f"{experiment.data_dir / name}: damaged; skipped bytes"
    with pytest.warns(ExperimentWarning, match=message):
        steps = Experiment(bucket).read_scalars()["loss"].step.tolist()
    assert len(steps) == 8
    assert set(steps) < set(range(9))


@pytest.mark.parametrize("action", ["clear", "move"])
def test_clear_and_move_do_not_ask_whether_another_process_writes(bucket, action):
    script = """
import sys
from fifteen.experiments import Experiment, TensorboardLogData
experiment = Experiment(sys.argv[1], verbose=False)
for step in range(2):
    experiment.log(TensorboardLogData({"loss": 1.0}), step)
    experiment.flush()
    print("logged", flush=True)
    input()
experiment.close()
"""
    with warm.Process(script, bucket) as child:
        assert child.stdout.readline() == "logged\n"
        experiment = Experiment(bucket, verbose=False)
        moved = experiment.clear() if action == "clear" else experiment.move(f"{bucket}/../b")
        experiment = Experiment(bucket, verbose=False).assert_new()
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "logged\n"
        assert experiment.read_scalars()["loss"].step.tolist() == [0, 1]
        _, errors = child.communicate("\n", timeout=PATIENCE)
    assert child.returncode == 0, errors
    if action == "move":
        assert moved.read_scalars()["loss"].step.tolist() == [0]


@pytest.mark.slow
@pytest.mark.s3
def test_profiles_are_not_read(bucket, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "default")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    # Nothing answers there, as on a machine outside any cloud.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    # Otherwise the library asks there for a quarter of a minute.
    impatient = functools.partial(obstore.store.from_url, retry_config={"max_retries": 1})
    monkeypatch.setattr(obstore.store, "from_url", impatient)
    with pytest.raises(OSError, match="no credentials were found; set them in the environment"):
        Experiment(bucket, verbose=False).write_metadata("config", 1)


@pytest.mark.slow
@pytest.mark.s3
def test_calls_make_as_many_requests_as_the_guide_says(bucket, proxy):
    experiment = Experiment(bucket, verbose=False)

    def count(action):
        before = len(proxy.requests)
        action()
        lease = ".open.fifteen-tmp"
        return [one.method for one in proxy.requests[before:] if lease not in one.path]

    assert len(count(lambda: (experiment.assert_new(), experiment.write_metadata("c", 1)))) == 3
    for step in range(1, 5):
        experiment.save_checkpoint({"x": np.ones(3)}, step, keep=3)
    made = count(lambda: experiment.save_checkpoint({"x": np.ones(3)}, 5, keep=3))
    assert (made.count("PUT"), len(made)) == (1, 8)
    large = {"x": np.ones(4 << 20)}
    made = count(lambda: experiment.save_checkpoint(large, 6, keep=3))
    assert (made.count("PUT"), len(made)) == (5, 7 + 5 + 2)
    made = count(lambda: experiment.restore_checkpoint(large))
    assert len(made) == 2 + 5, made
    assert count(lambda: experiment.log(TensorboardLogData({"loss": 1.0}), 1)) == []
    experiment.close()
    made = count(lambda: find_experiments(bucket).to_pandas())
    assert sorted(made) == ["GET"] * 4 + ["HEAD"]
