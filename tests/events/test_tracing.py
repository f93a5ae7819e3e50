import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fifteen.experiments import LogDataError, TensorboardLogData
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory


@pytest.fixture
def log(tmp_path):
    log = EventLog(Directory(tmp_path))
    yield log
    log.close()


def read(log, tag="x"):
    log.flush()
    series = EventReader(log._writer.directory).scalars()[tag]
    return dict(zip(series.step.tolist(), series.value.tolist(), strict=True))


def scalars(**values):
    return TensorboardLogData(scalars=values)


def test_jitted_function_logs_at_every_call(log):
    @jax.jit
    def step(state, number):
        log.log(scalars(x=state, half=0.5), number, 1, 1)
        return state * 2

    state = jnp.float32(1)
    for number in range(5):
        state = step(state, number)
    assert read(log) == {0: 1, 1: 2, 2: 4, 3: 8, 4: 16}
    assert read(log, "half") == dict.fromkeys(range(5), 0.5)


def test_static_step_and_every_n(log):
    @jax.jit
    def step(state):
        log.log(scalars(x=state), 2**40, 1, 1)
        log.log(scalars(y=state), 3, 2, 1)
        return state

    step(1.0)
    assert read(log) == {2**40: 1.0}
    assert "y" not in EventReader(log._writer.directory).scalars()


def test_scan_with_histograms(log):
    @jax.jit
    def train(state):
        def body(state, step):
            data = TensorboardLogData({"x": state}, {"h": jnp.full(1_000_000, state)})
            log.log(data, step, 1, 5)
            return state + 1, None

        return jax.lax.scan(body, state, jnp.arange(20))[0]

    train(0.0).block_until_ready()
    assert read(log) == {step: float(step) for step in range(20)}
    histograms = EventReader(log._writer.directory).histograms()["h"]
    assert histograms.step.tolist() == [0, 5, 10, 15]
    assert [counts.sum() for counts in histograms.counts] == [1_000_000] * 4


def test_cond_logs_only_the_taken_branch(log):
    @jax.jit
    def step(number):
        def odd():
            log.log(scalars(odd=number), number, 1, 1)
            return 1

        def even():
            log.log(scalars(even=number), number, 1, 1)
            return 0

        return jax.lax.cond(number % 2 == 1, odd, even)

    for number in range(6):
        step(number)
    assert list(read(log, "odd")) == [1, 3, 5]
    assert list(read(log, "even")) == [0, 2, 4]


def test_while_loop(log):
    @jax.jit
    def run():
        def body(step):
            log.log(scalars(x=step), step, 1, 1)
            return step + 1

        return jax.lax.while_loop(lambda step: step < 5, body, 0)

    run()
    assert list(read(log)) == list(range(5))


@pytest.mark.parametrize(
    "wrap", [jax.grad, lambda f: jax.grad(jax.jit(f)), lambda f: jax.jit(jax.grad(f))]
)
def test_grad_is_unchanged(log, wrap):
    def loss(x):
        log.log(TensorboardLogData({"x": x}, {"h": x * jnp.ones(3)}), 1, 1, 1)
        return x**2

    assert wrap(loss)(3.0) == 6.0
    assert read(log) == {1: 3.0}


def test_vmap_is_refused(log):
    def mapped(x):
        log.log(scalars(x=x), 1, 1, 1)
        return x

    with pytest.raises(LogDataError, match=r"cannot be called under vmap.*log it outside"):
        jax.vmap(mapped)(jnp.arange(3.0))
    with pytest.raises((LogDataError, ValueError), match=re.compile("vmap")):
        jax.vmap(jax.jit(mapped))(jnp.arange(3.0))


def test_errors_inside_jit_are_raised_at_once(log):
    def step(x):
        log.log(scalars(x=x), 1, 1, 1)
        return x

    with pytest.raises(
        LogDataError, match=r"scalars\['x'\]: expected a scalar, found shape \(3,\)"
    ):
        jax.jit(step)(jnp.zeros(3))
    with pytest.raises(LogDataError, match=r"step: expected an integer"):
        jax.jit(lambda s: log.log(scalars(x=1.0), s, 1, 1))(1.5)


def test_stacked_steps_inside_jit(log):
    @jax.jit
    def run(steps):
        log.log(scalars(x=steps * 2.0), steps, 1, 1)
        return steps

    run(jnp.arange(5))
    assert read(log) == {step: step * 2.0 for step in range(5)}


def test_values_do_not_change_after_logging(log):
    @jax.jit
    def step(state):
        log.log(TensorboardLogData({"x": state[0]}, {"h": state}), 1, 1, 1)
        return state + 1

    state = np.zeros(5, np.float32)
    step(state)
    state[:] = 9
    assert read(log) == {1: 0.0}
