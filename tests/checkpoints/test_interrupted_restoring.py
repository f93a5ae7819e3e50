"""Exceptions of signal handlers propagate out of restoring and listing."""

import contextlib
import gc
import random
import signal
import time
from typing import NamedTuple

import flax.serialization
import jax
import jax.numpy as jnp
import jax_dataclasses
import numpy as np
import orbax.checkpoint as ocp
import pytest

pytestmark = pytest.mark.usefixtures("untraced")


class Stop(Exception):
    """Raised by a user's handler."""


class Moments(NamedTuple):
    mean: object
    count: object


@jax_dataclasses.pytree_dataclass
class Layer:
    w: jax.Array
    b: jax.Array


def tree():
    return {
        "layers": {str(number): jnp.full(3, number) for number in range(10)},
        "pair": Layer(jnp.ones(2), jnp.zeros(2)),
        "moments": Moments(np.arange(3.0), 4),
        "weak": jnp.full(3, 0.5),
        "large": np.ones((3, 1 << 20), np.float32),
    }


def save_ours(handle):
    handle.save(tree())


def save_orbax(handle):
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(handle.directory / "checkpoint_1", tree())


def save_msgpack(handle):
    handle.directory.mkdir()
    values = {"layers": tree()["layers"], "weak": jnp.full(3, 0.5)}
    (handle.directory / "checkpoint_1").write_bytes(flax.serialization.to_bytes(values))


@contextlib.contextmanager
def handler_that_raises():
    hits = []

    def handle_signal(number, frame):
        hits.append(number)
        raise Stop(len(hits))

    before = signal.signal(signal.SIGALRM, handle_signal)
    # Exceptions during JAX's garbage collection callback are lost, and not by us.
    gc.collect()
    gc.disable()
    try:
        yield hits
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


def call_and_wait(call, hits, seconds):
    """Call while a timer runs, and wait until it has fired."""
    known = len(hits)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    call()
    # Several short sleeps: the signal may wake another thread.
    while len(hits) == known:
        time.sleep(1e-4)


# A file is left unclosed if the signal comes between opening and using it.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("way", ["target", "none", "leaves"])
@pytest.mark.parametrize(
    ("save", "times"), [(save_ours, 120), (save_orbax, 40), (save_msgpack, 100)]
)
def test_handler_exceptions_propagate_from_restore(handle, assert_same, save, times, way):
    save(handle)
    expected = handle.restore(None)
    target = expected if save is save_msgpack else tree()
    target = handle.restore(target)
    call = {
        "target": lambda: handle.restore(target),
        "none": lambda: handle.restore(None),
        "leaves": handle.leaves,
    }[way]
    for _ in range(2):
        begin = time.perf_counter()
        call()
        duration = time.perf_counter() - begin
    with handler_that_raises() as hits:
        for _ in range(times):
            with pytest.raises(Stop):
                call_and_wait(call, hits, random.uniform(1e-5, duration))
    assert len(hits) == times
    assert_same(handle.restore(None), expected)
    if way == "target":
        assert_same(handle.restore(target), target)


@jax_dataclasses.pytree_dataclass
class Interrupted:
    w: object
    b: object

    def __post_init__(self):
        if Interrupted.is_hit and not isinstance(self.w, jax.Array):
            Interrupted.is_hit = False
            raise Stop


Interrupted.is_hit = False


def test_exception_while_naming_fields_propagates(handle, assert_same):
    state = Interrupted(jnp.ones(2), jnp.zeros(2))
    Interrupted.is_hit = True
    with pytest.raises(Stop):
        handle.save(state)
    handle.save(state)
    Interrupted.is_hit = True
    with pytest.raises(Stop):
        handle.restore(state)
    assert_same(handle.restore(state), state)
    assert set(handle.leaves()) == {"w", "b"}
