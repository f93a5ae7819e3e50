"""Exceptions of signal handlers propagate out of `log`, and the log stays intact."""

import gc
import itertools
import random
import signal
import sys

import jax
import jax.numpy as jnp
import pytest

from fifteen.experiments import Experiment, TensorboardLogData
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory

pytestmark = pytest.mark.usefixtures("untraced")

# If interrupted before its `with` block, `os.scandir` is closed a little later.
ignore_scandir = pytest.mark.filterwarnings(
    "ignore:unclosed scandir:ResourceWarning",
    "ignore:.*ScandirIterator:pytest.PytestUnraisableExceptionWarning",
)


class Stop(Exception):
    pass


@pytest.mark.parametrize("raised", [Stop, RuntimeError, ValueError])
@pytest.mark.parametrize("kind", ["scalars", "device step", "histograms", "stacked"])
def test_signal_handler_exceptions_propagate(tmp_path, kind, raised):
    raised_count, seen = 0, 0

    def handler(number, frame):
        nonlocal raised_count
        if armed:
            raised_count += 1
            raise raised("from the handler")

    @jax.jit
    def train(x):
        return x + 1

    log = EventLog(Directory(tmp_path))
    old = signal.signal(signal.SIGALRM, handler)
    x, armed, logged = jnp.zeros(8), False, []
    stacked = kind == "stacked"
    # Python drops exceptions raised during JAX's callback of the garbage collector.
    gc.disable()
    try:
        for step in range(400):
            x = train(x)
            scalars = {f"s{n}": x if stacked else x[n] for n in range(4)}
            histograms = {"h": x} if kind == "histograms" else {}
            at = jnp.arange(8) + 8 * step if stacked else step
            at = jnp.int32(step) if kind == "device step" else at
            data = TensorboardLogData(scalars, histograms)
            signal.setitimer(signal.ITIMER_REAL, 5e-6 * (step % 40 + 1))
            try:
                armed = True
                log.log(data, at, 1, 1)
                armed = False
                logged.append(step)
            # JAX 0.12 wraps it in a ValueError if it interrupts the comparison of cache keys.
            except (raised, ValueError) as error:
                armed = False
                seen += str(error).endswith("from the handler")
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        gc.enable()
    log.close()
    assert seen == raised_count > 20
    found = set(EventReader(Directory(tmp_path)).scalars()["s0"].step.tolist())
    assert found >= {8 * step if stacked else step for step in logged}


@ignore_scandir
def test_signal_handler_exceptions_propagate_from_anywhere(tmp_path):
    raised_count = seen = 0
    armed, logged = False, []

    def handler(number, frame):
        nonlocal raised_count
        if armed:
            raised_count += 1
            raise Stop

    experiment = Experiment(tmp_path, verbose=False)
    rng = random.Random(0)
    acts = [experiment.flush, experiment.close, experiment.read_scalars]
    acts += [lambda: experiment.summary_writer.flush(), lambda: log(step)]

    def log(step):
        experiment.log(TensorboardLogData({"x": float(step)}), step=step)

    # Python loses what is raised while it imports a module for the first time.
    experiment.summary_writer.flush()
    experiment.read_scalars()
    old = signal.signal(signal.SIGALRM, handler)
    gc.disable()
    try:
        for step in range(1500):
            log(step)
            logged.append(step)
            signal.setitimer(signal.ITIMER_REAL, 10 ** rng.uniform(-5.5, -3))
            try:
                armed = True
                rng.choice(acts)()
                armed = False
            except Stop:
                armed = False
                seen += 1
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        gc.enable()
    experiment.close()
    assert seen == raised_count > 200
    assert experiment.read_scalars()["x"].step.tolist() == logged


@pytest.mark.slow
@ignore_scandir
def test_exceptions_propagate_from_every_call(tmp_path):
    def act(directory):
        experiment = Experiment(directory, verbose=False)
        for step in range(3):
            experiment.log(TensorboardLogData({"x": 1.0}), step=step)
        experiment.summary_writer.flush()
        experiment.read_scalars()
        experiment.close()
        return experiment

    def raise_at_last(frame, event, argument):
        # Python runs signal handlers at these moments.
        nonlocal left
        if event in ("call", "c_return"):
            left -= 1
            if left == 0:
                raise Stop

    act(tmp_path / "0")  # Python loses what is raised while it imports a module for the first time.
    for count in itertools.count(1):
        left = count
        gc.disable()
        sys.setprofile(raise_at_last)
        try:
            experiment = act(tmp_path / str(count))
        except Stop:
            continue
        finally:
            sys.setprofile(None)
            gc.enable()
        assert left > 0, f"lost at the call {count}"
        break
    assert count > 500
    assert experiment.read_scalars()["x"].step.tolist() == [0, 1, 2]
