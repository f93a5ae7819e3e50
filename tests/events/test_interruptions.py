"""Whatever a signal handler raises while something is logged arrives, and the log stays whole."""

import gc
import signal

import jax
import jax.numpy as jnp
import pytest

from fifteen.experiments import TensorboardLogData
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory


class Stop(Exception):
    pass


@pytest.mark.parametrize("raised", [Stop, RuntimeError, ValueError])
@pytest.mark.parametrize("kind", ["scalars", "device step", "histograms", "stacked"])
def test_exceptions_of_a_signal_handler_arrive(tmp_path, kind, raised):
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
    # Python drops what is raised while JAX's own callback of the garbage collector runs.
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
            # If it is raised while JAX 0.12 compares keys of a cache, JAX puts it into a ValueError.
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
