"""Exceptions of signal handlers propagate out of saves, and no data is lost."""

import functools
import gc
import random
import signal
import time
import traceback

import jax.numpy as jnp
import numpy as np
import pytest

from fifteen.experiments import Experiment


class Stop(Exception):
    """A user's exception, which `except Exception` catches."""


class StopAsRuntimeError(RuntimeError):
    """No OSError or ValueError, which `pathlib` itself swallows."""


@functools.cache
def layers(number):
    return [jnp.full(50, number % 10) for _ in range(20)]


def state(number):
    return {
        "number": number,
        "layers": layers(number % 10),
        "large": np.full(400_000, number),
    }


def check(experiment, returned):
    """Assert that the last completed save or a later one is there."""
    found = experiment.restore_checkpoint(None)
    assert found["number"] >= returned
    assert all((layer == found["number"] % 10).all() for layer in found["layers"])
    assert (found["large"] == found["number"]).all()


def interrupt_saves(directory, error, ways, times):
    randomness = random.Random(str(error))
    raised, arrived, place = 0, 0, ""

    def handle(_, frame):
        nonlocal raised, place
        raised += 1
        place = "".join(traceback.format_stack(frame)[-8:])
        raise error

    experiment = Experiment(directory, verbose=False)
    before = signal.signal(signal.SIGALRM, handle)
    # Python drops exceptions in callbacks of the garbage collector, such as JAX's.
    gc.disable()
    number = returned = 0
    # How JAX handles the error is not tested here.
    for digit in range(10):
        layers(digit)
    experiment.save_checkpoint(state(0), 0)
    try:
        while arrived < times:
            blocking, overwrite, in_block = randomness.choice(ways)
            try:
                signal.setitimer(signal.ITIMER_REAL, randomness.uniform(1e-5, 0.008))
                while True:
                    step = number + 1
                    arguments = (state(step), 0 if overwrite else step)
                    number = step
                    if in_block:
                        with experiment:
                            experiment.save_checkpoint(
                                *arguments, overwrite=overwrite, blocking=blocking
                            )
                    else:
                        experiment.save_checkpoint(
                            *arguments, overwrite=overwrite, blocking=blocking
                        )
                    returned = step
                    if not blocking and randomness.random() < 0.5:
                        experiment.flush()
                    assert raised == arrived, f"an error was swallowed that was raised in\n{place}"
            except error:
                arrived += 1
            assert raised == arrived
            check(experiment, returned)
            if overwrite:
                # The next saves continue above it.
                returned = number = number + 1
                experiment.save_checkpoint(state(number), number, overwrite=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    experiment.close()
    assert arrived == raised == times
    names = [path.name for path in directory.iterdir()]
    assert len(names) <= 2, names
    experiment.save_checkpoint(state(0), number + 10**6)
    assert len(list(directory.iterdir())) == 1
    experiment.close()
    return arrived


WAYS = [
    (blocking, overwrite, in_block)
    for blocking in (True, False)
    for overwrite in (True, False)
    for in_block in (True, False)
]


# A file or a listing that was being opened is closed when it is released.
@pytest.mark.usefixtures("untraced")
@pytest.mark.filterwarnings("ignore:unclosed (file|scandir):ResourceWarning")
@pytest.mark.slow
@pytest.mark.parametrize("error", [Stop, StopAsRuntimeError])
def test_handler_exceptions_propagate_from_save(tmp_path, error):
    start = time.monotonic()
    count = interrupt_saves(tmp_path / "run", error, WAYS, 100)
    print(f"{error.__name__}: {count} arrived in {time.monotonic() - start:.1f} s")
