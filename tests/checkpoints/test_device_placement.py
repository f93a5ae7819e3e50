"""Restored leaves are placed like the target's, so nothing is recompiled."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from fifteen.experiments import CheckpointMismatchError


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


def test_compiled_train_step_is_not_recompiled(handle, assert_same):
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
    # A freshly initialised state works as well.
    fresh = new_state(optimizer)
    step(fresh, batch)
    size = step._cache_size()
    step(handle.restore(fresh, strict=True), batch)
    assert step._cache_size() == size


@pytest.mark.slow
def test_sharded_train_step_is_not_recompiled(handle, assert_same, mesh):
    optimizer = optax.adam(1e-3)
    step, batch = make_step(optimizer), jnp.ones((2, 8))
    batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec()))
    params, *_ = new_state(optimizer)
    params = {
        "w": jax.device_put(params["w"], NamedSharding(mesh, PartitionSpec("data", "model"))),
        "b": jax.device_put(params["b"], NamedSharding(mesh, PartitionSpec("model"))),
    }
    state = (params, optimizer.init(params), jnp.asarray(0), jax.random.key(0))
    # The compiler settles the key's placement only after some steps.
    for _ in range(6):
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


def test_sharding_and_commitment_are_kept(handle, assert_same, mesh):
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


def test_sharding_is_that_of_the_target(handle, mesh):
    value = jnp.arange(64.0).reshape(8, 8)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    columns = NamedSharding(mesh, PartitionSpec(None, "model"))
    handle.save({"x": jax.device_put(value, rows)})
    restored = handle.restore({"x": jax.device_put(value * 0, columns)})["x"]
    assert restored.sharding == columns
    np.testing.assert_array_equal(restored, value)


def test_shape_dtype_structs_suffice_as_target(handle, assert_same, mesh):
    rows = NamedSharding(mesh, PartitionSpec("data"))
    state = {
        "w": jax.device_put(jnp.arange(8.0), rows),
        "n": jax.device_put(jnp.arange(8), SingleDeviceSharding(jax.devices()[2])),
        "free": jnp.ones(3),
        "key": jax.random.key(3),
        "elsewhere": jax.device_put(jax.random.key(3), jax.devices()[2]),
    }
    handle.save(state)
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=leaf.sharding if leaf.committed else None
        ),
        state,
    )
    assert_same(handle.restore(target, strict=True), state)


def test_eval_shape_of_an_initializer_suffices_as_target(handle, assert_same):
    def initialise(key):
        return {"w": jax.random.normal(key, (4, 3)), "count": jnp.asarray(0), "key": key}

    state = initialise(jax.random.key(1))
    handle.save(state)
    restored = handle.restore(jax.eval_shape(initialise, jax.random.key(0)), strict=True)
    assert_same(restored, state)


def test_indivisible_shape_goes_to_the_default_device(handle, mesh):
    handle.save({"x": jnp.ones(7)})
    target = jax.device_put(jnp.ones(8), NamedSharding(mesh, PartitionSpec("data")))
    with pytest.warns(match="x: target has shape"):
        restored = handle.restore({"x": target})["x"]
    assert restored.shape == (7,)


@pytest.mark.parametrize("target", [np.zeros(3, np.float32), jnp.zeros(3)])
@pytest.mark.parametrize("saved", [np.arange(3, dtype=np.float32), jnp.arange(3.0)])
def test_target_decides_between_numpy_and_jax(handle, saved, target):
    handle.save([saved])
    (restored,) = handle.restore([target], strict=True)
    assert isinstance(restored, jax.Array) == isinstance(target, jax.Array)
    np.testing.assert_array_equal(restored, [0, 1, 2])


def test_restored_numpy_arrays_are_writable(handle):
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


def test_default_device_during_restore_is_ignored(handle):
    tree = [jnp.arange(4)]
    handle.save(tree)
    with jax.default_device(jax.devices()[3]):
        (restored,) = handle.restore(tree)
    assert not restored.committed
    assert restored.sharding == tree[0].sharding


def test_state_on_another_than_the_default_device(handle, assert_same):
    with jax.default_device(jax.devices()[3]):
        state = {
            "array": jnp.arange(4),
            "weak": jnp.asarray(2.0),
            "weak_vector": jnp.broadcast_to(jnp.asarray(2.0), (3,)),
            "key": jax.random.key(0),
        }
    handle.save(state)
    restored = handle.restore(state)
    assert_same(restored, state)
    assert {leaf.sharding.device_set.pop().id for leaf in restored.values()} == {3}
    assert not is_compiled_again(state, restored)


@pytest.fixture(params=[AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def any_mesh(request):
    return jax.make_mesh((4, 2), ("data", "model"), axis_types=(request.param,) * 2)


def is_compiled_again(leaf, restored):
    """Return whether a function compiled for a leaf is compiled again for the restored one."""
    look = jax.jit(lambda leaf: jax.tree.map(lambda x: x, leaf))
    look(leaf)
    size = look._cache_size()
    look(restored)
    return look._cache_size() > size


SPECS = [
    ((), PartitionSpec()),
    ((8,), PartitionSpec()),
    ((8,), PartitionSpec("data")),
    ((8, 2), PartitionSpec("data")),
    ((8, 2), PartitionSpec("data", None)),
    ((8, 2), PartitionSpec(None, "model")),
]


@pytest.mark.parametrize(("shape", "spec"), SPECS)
@pytest.mark.parametrize("kind", ["float", "weak", "key"])
def test_nothing_is_recompiled_over_a_mesh(handle, assert_same, any_mesh, kind, shape, spec):
    leaf = {
        "float": lambda: jnp.ones(shape),
        "weak": lambda: jnp.broadcast_to(jnp.asarray(2.5), shape),
        "key": lambda: jax.random.split(jax.random.key(0), shape or 1).reshape(shape),
    }[kind]()
    leaf = jax.device_put(leaf, NamedSharding(any_mesh, spec))
    handle.save({"x": leaf})
    restored = handle.restore({"x": leaf}, strict=True)
    assert_same(restored, {"x": leaf})
    assert not is_compiled_again(leaf, restored["x"])


def test_deleted_target_still_places_keys(handle, any_mesh):
    keys = jax.random.split(jax.random.key(0), 8)
    target = jax.device_put(keys, NamedSharding(any_mesh, PartitionSpec("data")))
    handle.save(target)
    sharding = target.sharding
    jax.jit(lambda keys: keys, donate_argnums=0)(target)
    target.delete()
    restored = handle.restore(target, strict=True)
    assert restored.sharding == sharding
    np.testing.assert_array_equal(jax.random.key_data(restored), jax.random.key_data(keys))


def test_shapes_of_a_state_over_an_explicit_mesh(handle, assert_same):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    state = {
        "w": jax.device_put(jnp.arange(16.0), NamedSharding(mesh, PartitionSpec("data"))),
        "n": jnp.ones(3),
    }
    handle.save(state)
    target = jax.eval_shape(lambda: state)
    with jax.set_mesh(mesh):
        assert_same(handle.restore(target, strict=True), state)
    other = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Explicit,) * 2)
    advice = r"'data': 8.*has no devices; restore inside of `with jax\.set_mesh\(mesh\):`"
    with pytest.raises(CheckpointMismatchError, match=f"w: target's leaf is sharded.*{advice}"):
        handle.restore(target)
    with (
        jax.set_mesh(other),
        pytest.raises(CheckpointMismatchError, match=advice),
    ):
        handle.restore(target)
    with (
        jax.set_mesh(mesh),
        pytest.raises(CheckpointMismatchError, match=f"{advice} and outside of jit, or give each"),
    ):
        jax.jit(lambda: handle.restore(target))()


def test_traced_target_is_refused(handle):
    handle.save({"x": jnp.ones(3), "y": jnp.ones(3)})
    with pytest.raises(CheckpointMismatchError, match=r"(?s)x: .*is a tracer.*y: .*is a tracer"):
        jax.jit(lambda state: handle.restore(state))({"x": jnp.ones(3), "y": jnp.ones(3)})


@pytest.mark.parametrize("spec", [PartitionSpec("data"), PartitionSpec(None)])
@pytest.mark.parametrize("saved", [lambda: jnp.asarray(3.0), lambda: jax.random.key(3)])
def test_checkpoint_with_fewer_axes_than_the_target(handle, mesh, spec, saved):
    value = saved()
    handle.save({"x": value})
    target = jnp.broadcast_to(value, (8,)) if value.dtype == jnp.float32 else jnp.stack([value] * 8)
    target = jax.device_put(target, NamedSharding(mesh, spec))
    with pytest.warns(match=r"x: target has shape \(8,\)"):
        restored = handle.restore({"x": target})["x"]
    assert restored.shape == ()


def test_concrete_values_can_be_saved_and_restored_inside_jit(handle, assert_same, mesh):
    state = {
        "key": jax.random.key(0),
        "weak": jnp.asarray(2.0),
        "weak_vector": jnp.broadcast_to(jnp.asarray(2.0), (3,)),
        "array": jnp.ones(3),
        "sharded": jax.device_put(jnp.ones(8), NamedSharding(mesh, PartitionSpec("data"))),
    }
    restored = []

    @jax.jit
    def function(argument):
        handle.save(state)
        restored.append(handle.restore(state))
        return argument

    function(1)
    assert_same(restored[0], state)


@pytest.mark.parametrize("option", ["debug_nans", "debug_infs", "transfer_guard"])
def test_debug_flags_do_not_affect_restore(handle, assert_same, mesh, option):
    over = NamedSharding(mesh, PartitionSpec())
    state = {
        "weak": jnp.asarray(float("nan")),
        "many": jnp.broadcast_to(jnp.asarray(float("inf")), (3,)),
        "key": jax.random.key(0),
        "keys": jax.device_put(jax.random.split(jax.random.key(0), 8), over),
        "nan": jnp.full(3, jnp.nan),
    }
    handle.save(state)
    value = "disallow_explicit" if option == "transfer_guard" else True
    jax.config.update(f"jax_{option}", value)
    try:
        restored = handle.restore(state, strict=True)
        loose = handle.restore(None)
    finally:
        jax.config.update(f"jax_{option}", "allow" if option == "transfer_guard" else False)
    assert_same(restored, state)
    assert_same(loose["key"], state["key"])


def test_indivisible_shape_is_named(handle, mesh):
    handle.save({"w": jnp.ones((3, 2)), "keys": jax.random.split(jax.random.key(0), 3)})
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    target = {
        "w": jax.ShapeDtypeStruct((3, 2), jnp.float32, sharding=sharding),
        "keys": jax.ShapeDtypeStruct((3,), jax.random.key(0).dtype, sharding=sharding),
    }
    with pytest.raises(CheckpointMismatchError) as caught:
        handle.restore(target)
    assert "w: target's leaf has shape (3, 2), which does not divide among" in str(caught.value)
    assert "keys: target's leaf has shape (3,), which does not divide among" in str(caught.value)


def test_weakly_typed_leaves_compile_once_per_shape(handle, assert_same, caplog):
    def make():
        return {
            "vectors": [jnp.full(7, number + 0.5) for number in range(200)],
            "whole": [jnp.full((2, 3), number) for number in range(200)],
            "numbers": [jnp.asarray(number + 0.5) for number in range(200)],
        }

    tree = make()
    assert all(leaf.weak_type for leaf in jax.tree.leaves(tree))
    handle.save(tree)
    with jax.log_compiles(True), caplog.at_level(logging.WARNING):
        restored = handle.restore(tree)
    assert_same(restored, tree)
    compiled = [record for record in caplog.records if record.message.startswith("Compiling")]
    assert 1 <= len(compiled) <= 2


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_weakly_typed_leaves_over_a_mesh(handle, assert_same, axis_type):
    mesh = Mesh(np.array(jax.devices()), ("x",), axis_types=(axis_type,))
    rows, copies = (NamedSharding(mesh, PartitionSpec(name)) for name in ("x", None))
    tree = {
        "rows": jax.device_put(jnp.full((8, 2), 0.5), rows),
        "copies": jax.device_put(jnp.full((8, 2), 3), copies),
        "number": jax.device_put(jnp.asarray(0.5), NamedSharding(mesh, PartitionSpec())),
        "nan": jax.device_put(jnp.asarray(float("nan")), jax.devices()[2]),
    }
    assert all(leaf.weak_type for leaf in jax.tree.leaves(tree))
    handle.save(tree)
    assert_same(handle.restore(tree), tree)


def test_bits_of_a_weakly_typed_nan_are_kept(handle, assert_same):
    bits = np.array(0x7F800001, np.uint32)
    number = jax.jit(lambda x: jnp.broadcast_to(0.0, ()).at[...].set(x))(bits.view(np.float32))
    assert number.weak_type
    handle.save([number])
    assert_same(handle.restore([number]), [number])
