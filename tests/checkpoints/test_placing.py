"""Placing: a restored leaf is what the target's was, so that nothing is compiled again."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding


@pytest.fixture
def mesh():
    return Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))


def make_step(optimizer):
    @jax.jit
    def step(state, batch):
        params, moments, count, key = state
        key, _ = jax.random.split(key)
        loss, gradients = jax.value_and_grad(
            lambda params: jnp.mean((batch @ params["w"] + params["b"]) ** 2)
        )(params)
        updates, moments = optimizer.update(gradients, moments, params)
        return (optax.apply_updates(params, updates), moments, count + 1, key), loss

    return step


def new_state(optimizer):
    params = {"w": jnp.ones((8, 4)), "b": jnp.zeros(4)}
    return params, optimizer.init(params), jnp.asarray(0), jax.random.key(0)


def test_a_compiled_train_step_is_not_compiled_again(handle, assert_same):
    optimizer = optax.adam(1e-3)
    step, batch = make_step(optimizer), jnp.ones((2, 8))
    state = new_state(optimizer)
    for _ in range(3):
        state, _ = step(state, batch)
    size = step._cache_size()
    handle.save(state)
    restored = handle.restore(state, strict=True)
    assert_same(restored, state)
    step(restored, batch)
    assert step._cache_size() == size
    # A state that has just been initialised serves as well.
    fresh = new_state(optimizer)
    step(fresh, batch)
    size = step._cache_size()
    step(handle.restore(fresh, strict=True), batch)
    assert step._cache_size() == size


def test_a_sharded_train_step_is_not_compiled_again(handle, assert_same, mesh):
    optimizer = optax.adam(1e-3)
    step, batch = make_step(optimizer), jnp.ones((2, 8))
    batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec()))
    params, *_ = new_state(optimizer)
    params = {
        "w": jax.device_put(params["w"], NamedSharding(mesh, PartitionSpec("data", "model"))),
        "b": jax.device_put(params["b"], NamedSharding(mesh, PartitionSpec("model"))),
    }
    state = (params, optimizer.init(params), jnp.asarray(0), jax.random.key(0))
    for _ in range(3):
        state, _ = step(state, batch)
    size = step._cache_size()
    handle.save(state)
    restored = handle.restore(state, strict=True)
    assert_same(restored, state)
    step(restored, batch)
    assert step._cache_size() == size


@pytest.mark.parametrize(
    "value",
    [
        lambda: jnp.asarray(2),
        lambda: jnp.asarray(2.5),
        lambda: jnp.asarray(float("nan")),
        lambda: jnp.asarray(1j),
        lambda: jnp.asarray(True),
        lambda: jnp.broadcast_to(jnp.asarray(2.0), (3,)),
        lambda: jnp.asarray(2, jnp.int32),
        lambda: jax.device_put(jnp.asarray(2.0), jax.devices()[3]),
    ],
)
def test_weak_types_are_kept(handle, assert_same, value):
    tree = {"x": value()}
    handle.save(tree)
    assert_same(handle.restore(tree), tree)


def test_shardings_and_committedness_are_kept(handle, assert_same, mesh):
    value = jnp.arange(64.0).reshape(8, 8)
    tree = {
        "uncommitted": value,
        "committed": jax.device_put(value, jax.devices()[0]),
        "elsewhere": jax.device_put(value, jax.devices()[5]),
        "rows": jax.device_put(value, NamedSharding(mesh, PartitionSpec("data"))),
        "both": jax.device_put(value, NamedSharding(mesh, PartitionSpec("model", "data"))),
        "one": jax.device_put(value, NamedSharding(mesh, PartitionSpec(None, ("data", "model")))),
        "copies": jax.device_put(value, NamedSharding(mesh, PartitionSpec())),
        "keys": jax.device_put(
            jax.random.split(jax.random.key(0), 8), NamedSharding(mesh, PartitionSpec("data"))
        ),
        "empty": jax.device_put(
            jnp.zeros((0, 8)), NamedSharding(mesh, PartitionSpec(None, "data"))
        ),
    }
    handle.save(tree)
    assert_same(handle.restore(tree), tree)


def test_the_sharding_is_the_targets_and_not_the_checkpoints(handle, mesh):
    value = jnp.arange(64.0).reshape(8, 8)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    columns = NamedSharding(mesh, PartitionSpec(None, "model"))
    handle.save({"x": jax.device_put(value, rows)})
    restored = handle.restore({"x": jax.device_put(value * 0, columns)})["x"]
    assert restored.sharding == columns
    np.testing.assert_array_equal(restored, value)


def test_shapes_alone_are_enough(handle, assert_same, mesh):
    rows = NamedSharding(mesh, PartitionSpec("data"))
    state = {
        "w": jax.device_put(jnp.arange(8.0), rows),
        "n": jax.device_put(jnp.arange(8), SingleDeviceSharding(jax.devices()[2])),
        "free": jnp.ones(3),
        "key": jax.random.key(3),
    }
    handle.save(state)
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=leaf.sharding if leaf.committed else None
        ),
        state,
    )
    assert_same(handle.restore(target, strict=True), state)


def test_shapes_of_a_function_that_is_never_run(handle, assert_same):
    def initialise(key):
        return {"w": jax.random.normal(key, (4, 3)), "count": jnp.asarray(0), "key": key}

    state = initialise(jax.random.key(1))
    handle.save(state)
    restored = handle.restore(jax.eval_shape(initialise, jax.random.key(0)), strict=True)
    assert_same(restored, state)


def test_a_shape_that_does_not_divide_goes_to_the_default_device(handle, mesh):
    handle.save({"x": jnp.ones(7)})
    target = jax.device_put(jnp.ones(8), NamedSharding(mesh, PartitionSpec("data")))
    with pytest.warns(match="x: target has shape"):
        restored = handle.restore({"x": target})["x"]
    assert restored.shape == (7,)


@pytest.mark.parametrize("target", [np.zeros(3, np.float32), jnp.zeros(3)])
@pytest.mark.parametrize("saved", [np.arange(3, dtype=np.float32), jnp.arange(3.0)])
def test_the_target_says_whether_an_array_is_numpys(handle, saved, target):
    handle.save([saved])
    (restored,) = handle.restore([target], strict=True)
    assert isinstance(restored, jax.Array) == isinstance(target, jax.Array)
    np.testing.assert_array_equal(restored, [0, 1, 2])


def test_restored_numpy_arrays_are_the_callers_own(handle):
    tree = [np.arange(3), np.arange(5), np.zeros(1 << 21)]
    handle.save(tree)
    for leaf in handle.restore(tree):
        assert leaf.flags.writeable
        assert leaf.base is None or leaf.nbytes > 1 << 20
        leaf[:] = 7
    np.testing.assert_array_equal(handle.restore(tree)[1], np.arange(5))


def test_restored_arrays_can_be_donated(handle):
    tree = [jnp.arange(1 << 16)]
    handle.save(tree)
    (restored,) = handle.restore(tree)
    double = jax.jit(lambda value: value * 2, donate_argnums=0)
    np.testing.assert_array_equal(double(restored), np.arange(1 << 16) * 2)
    assert restored.is_deleted()


def test_a_device_that_is_the_default_meanwhile(handle):
    tree = [jnp.arange(4)]
    handle.save(tree)
    with jax.default_device(jax.devices()[3]):
        (restored,) = handle.restore(tree)
    assert not restored.committed
