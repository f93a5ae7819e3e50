"""Each example, run in its own process, writes what it promises."""

import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import digits
import jax
import numpy as np
import pytest

from fifteen.cli import main
from fifteen.experiments import Experiment, find_experiments

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"
# JAX 0.8 announces the default that `jax.make_mesh` has from 0.9 on.
IGNORED = "ignore:The default axis_types will change:DeprecationWarning"


def run(directory, script, *arguments, warns=""):
    """Run an example in a directory, and return its output."""
    done = subprocess.run(
        [sys.executable, "-W", IGNORED, str(EXAMPLES / script), *arguments],
        cwd=directory,
        env=os.environ | digits.CACHING,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert ("Warning" in done.stderr) == bool(warns), done.stderr
    assert warns in done.stderr
    return done.stdout


@pytest.mark.slow
def test_scan(tmp_path):
    printed = run(tmp_path, "02_scan.py", "--data-dir", "scan", "--chunks", "5")
    experiment = Experiment(tmp_path / "scan", verbose=False)
    loss = experiment.read_scalars()["loss"]
    np.testing.assert_array_equal(loss.step, np.arange(1, 501))
    assert loss.value[-1] < loss.value[0] / 5
    assert experiment.checkpoint_steps() == [500]
    assert "500 steps, accuracy 0.9" in printed


@pytest.mark.slow
def test_devices(tmp_path):
    printed = run(tmp_path, "03_devices.py", "--data-dir", "devices", "--steps", "50")
    scalars = Experiment(tmp_path / "devices", verbose=False).read_scalars()
    assert set(scalars) == {"loss/mean", "loss/first_device"}
    mean, first = scalars["loss/mean"], scalars["loss/first_device"]
    np.testing.assert_array_equal(mean.step, np.arange(1, 51))
    assert mean.value[-1] < mean.value[0] / 2
    # Each device has other images, so the mean differs from the loss on the first device.
    assert (mean.value[1:] != first.value[1:]).all()
    assert "Restored on 8 devices." in printed


@pytest.mark.slow
def test_old_program(tmp_path):
    printed = run(tmp_path, "04_old_program.py", "--config.experiment-name", "old")
    experiment = Experiment(tmp_path / "experiments" / "old", verbose=False)
    scalars = experiment.read_scalars()
    np.testing.assert_array_equal(scalars["train/loss"].step, np.arange(10, 501, 10))
    assert scalars["train/loss"].value[-1] < scalars["train/loss"].value[0] / 10
    assert list(experiment.read_histograms()["train/layer0"].step) == [100, 200, 300, 400, 500]
    # The newest three, and older ones at least 200 steps apart.
    assert experiment.checkpoint_steps() == [100, 300, 400, 500]
    assert experiment.metadata_names() == ["note", "train_config"]
    assert "Restored step 500 of an experiment that exists." in printed


@pytest.mark.slow
def test_old_program_shows_its_image_in_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(
        tmp_path,
        "04_old_program.py",
        "--config.experiment-name",
        "old",
        "--config.max-steps",
        "100",
    )
    accumulator = EventAccumulator(str(tmp_path / "experiments" / "old")).Reload()
    (image,) = accumulator.Images("target")
    assert (image.width, image.height) == (16, 16)


@pytest.mark.slow
def test_sweep(tmp_path, monkeypatch, capsys):
    rates = "--learning-rates", "0.1", "1.0", "--seeds", "0", "1", "--steps", "100"
    printed = run(tmp_path, "05_sweep.py", "--root", "runs/sweep", *rates)
    names = [experiment.data_dir.name for experiment in find_experiments(tmp_path / "runs")]
    assert names == [f"rate_{rate}_seed_{seed}" for rate in ("0.1", "1.0") for seed in (0, 1)]
    assert "The best is rate_1.0_seed_" in printed
    # The commands in its docstring.
    monkeypatch.chdir(tmp_path)
    script = (EXAMPLES / "05_sweep.py").read_text()
    commands = [
        shlex.split(line)[1:] for line in script.splitlines() if line.startswith("fifteen ")
    ]
    assert [command[0] for command in commands] == ["list", "compare", "plot", "report"]
    shown = []
    for command in commands:
        # Trains more briefly than the example.
        command = [word.replace("> 0.9", "> 0.5") for word in command]
        assert main(command) == 0, capsys.readouterr().err
        shown.append(capsys.readouterr().out)
    assert "rate_1.0_seed_0" in shown[0]
    assert "rate_0.1_seed_0" not in shown[0]
    assert "(n=2)" in shown[1]
    assert "learning_rate=1 (n=2)" in shown[2]
    assert (tmp_path / "sweep.html").stat().st_size > 1_000_000


def trained(directory, script, steps, *options):
    run(directory, script, "--data-dir", "run", "--steps", str(steps), *options)
    return Experiment(directory / "run", verbose=False)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["06_flax_nnx.py", "07_flax_linen.py", "08_equinox.py"])
def test_resumed_library_model_repeats_the_run_bit_for_bit(tmp_path, script):
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    whole = trained(tmp_path / "whole", script, 200)
    trained(tmp_path / "resumed", script, 100)
    resumed = trained(tmp_path / "resumed", script, 200, "--resume")
    assert whole.checkpoint_steps() == resumed.checkpoint_steps() == [100, 200]
    expected, found = whole.restore_checkpoint(None), resumed.restore_checkpoint(None)
    assert jax.tree.all(jax.tree.map(lambda left, right: (left == right).all(), expected, found))
    expected, found = whole.read_scalars(), resumed.read_scalars()
    assert expected.keys() == found.keys()
    for tag in expected:
        np.testing.assert_array_equal(expected[tag].step, np.arange(1, 201))
        np.testing.assert_array_equal(expected[tag].value, found[tag].value)


@pytest.mark.slow
def test_preemption(tmp_path):
    script = [sys.executable, str(EXAMPLES / "09_preemption.py"), "--data-dir", "run"]
    experiment = Experiment(tmp_path / "run", verbose=False)
    child = subprocess.Popen(
        [*script, "--steps", "1000000"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    while not experiment.checkpoint_steps():
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    printed = child.communicate(timeout=100)[0]
    assert child.returncode == 0
    step = experiment.checkpoint_steps()[-1]
    assert f"Preempted: saved step {step}." in printed
    printed = run(tmp_path, "09_preemption.py", "--data-dir", "run", "--steps", str(step + 500))
    assert f"Trained from step {step} to {step + 500}." in printed
    loss = experiment.read_scalars()["loss"]
    np.testing.assert_array_equal(loss.step, np.arange(1, step + 501))


@pytest.mark.slow
def test_best_and_latest(tmp_path):
    printed = run(tmp_path, "10_best_and_latest.py", "--data-dir", "run")
    experiment = Experiment(tmp_path / "run", verbose=False)
    losses = experiment.read_scalars()["test/loss"].value[19::20]
    assert experiment.checkpoint_steps("best_") == [20 * (int(losses.argmin()) + 1)]
    assert experiment.checkpoint_steps() == [20, 520, 980, 1000]
    assert f"test loss {losses.min():.4f}" in printed


@pytest.mark.slow
def test_fine_tuning(tmp_path):
    run(tmp_path, "11_fine_tuning.py", "--root", "root", warns="head/weights: unexpected in")
    first, second = (
        Experiment(tmp_path / "root" / name, verbose=False).restore_checkpoint(None)
        for name in ("digits", "even_or_odd")
    )
    np.testing.assert_array_equal(first["hidden"], second["hidden"])
    assert second["head"]["weights"].shape == (128, 2)


@pytest.mark.slow
def test_two_processes(tmp_path):
    printed = run(tmp_path, "12_two_processes.py", "--data-dir", "run")
    for process in range(2):
        assert f"process {process}: restored (10,) of step 200" in printed
    loss = Experiment(tmp_path / "run", verbose=False).read_scalars()["loss"]
    np.testing.assert_array_equal(loss.step, np.arange(1, 201))


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_help_describes_the_script_and_its_arguments(script):
    done = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
