"""Functions among the leaves come from the target; other objects are refused by name."""

import dataclasses
import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fifteen.experiments import CheckpointError, CheckpointMismatchError


class Net:
    """A handwritten model."""

    def __init__(self):
        self.w = np.ones(3)

    def __call__(self, x):
        return x @ self.w

    def method(self, x):
        return x

    @classmethod
    def made(cls):
        return cls()


@jax.custom_jvp
def with_jvp(x):
    return x


@jax.custom_vjp
def with_vjp(x):
    return x


FUNCTIONS = {
    "function": lambda x: x,
    "class": Net,
    "method": Net().method,
    "classmethod": Net.made,
    "builtin function": len,
    "builtin method": "".join,
    "method of a builtin": str.join,
    "special method": int.__add__,
    "operator": operator.itemgetter(0),
    "cached": functools.lru_cache(len),
    "partial": functools.partial(jax.nn.leaky_relu, negative_slope=0.2),
    "numpy": np.sum,
    "ufunc": np.add,
    "jnp.ufunc": jnp.add,
    "jitted": jax.jit(lambda x: x),
    "compiled": jax.jit(lambda x: x).lower(1.0).compile(),
    "vmap": jax.vmap(lambda x: x),
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "dtype": jnp.float32,
    "jvp": with_jvp,
    "vjp": with_vjp,
    "initializer": jax.nn.initializers.lecun_normal(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_static_parts_come_from_the_target(handle, name):
    function = FUNCTIONS[name]
    handle.save({"f": function, "w": 1})
    assert list(handle.leaves()) == ["w"]
    restored = handle.restore({"f": function, "w": 0})
    assert restored["f"] is function
    assert restored["w"] == 1


OBJECTS = {
    "callable": (Net(), "found Net; .*register its class as a pytree node"),
    "partial": (functools.partial(np.add, np.ones(2)), "found partial; use jax.tree_util.Partial"),
    "deep partial": (functools.partial(len, [np.ones(2)]), "use jax.tree_util.Partial"),
    "partial of an object": (functools.partial(Net()), "use jax.tree_util.Partial"),
    "jitted object": (jax.jit(Net()), "register its class as a pytree node"),
    "polynomial": (np.poly1d([1, 2]), "found poly1d; use the arrays that it holds"),
    "vectorize": (np.vectorize(len), "found vectorize"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_object_is_refused_by_name(handle, name):
    value, text = OBJECTS[name]
    with pytest.raises(CheckpointError, match=f"deep/thing: expected an array.*{text}"):
        handle.save({"deep": {"thing": value}, "w": 1})
    assert not handle.directory.exists()


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("partial", [False, True])
def test_object_in_a_target_is_refused(handle, name, partial):
    value, text = OBJECTS[name]
    handle.save({"w": 1})
    with pytest.raises(CheckpointMismatchError, match=f"thing: expected an array.*{text}"):
        handle.restore({"thing": value, "w": 0}, partial=partial)


def test_callable_number_is_a_number(handle):
    class Rate(float):
        def __call__(self):
            return self

    handle.save({"rate": Rate(0.5)})
    assert handle.restore({"rate": Rate(0.1)}) == {"rate": 0.5}


def test_unregistered_dataclass_error_names_register_dataclass(handle):
    @dataclasses.dataclass
    class State:
        w: np.ndarray

    with pytest.raises(
        CheckpointError, match=r"state: .*State; .*jax.tree_util.register_dataclass"
    ):
        handle.save({"state": State(np.ones(2))})


def test_linen_module_error_names_init(handle):
    import flax.linen as nn

    with pytest.raises(CheckpointError, match=r"model: .*found Dense; .*model.init\("):
        handle.save({"model": nn.Dense(3)})


def test_nnx_module_error_names_nnx_state(handle):
    from flax import nnx

    class Model(nnx.Module, pytree=False):
        def __init__(self):
            self.w = nnx.Param(jnp.ones(3))

        def __call__(self, x):
            return x @ self.w

    model = Model()
    with pytest.raises(CheckpointError, match=r"~: .*found Model; use nnx.state\(model\)"):
        handle.save(model)
    handle.save(nnx.state(model))
    with pytest.raises(CheckpointMismatchError, match=r"~: .*use nnx.state\(model\).*nnx.update"):
        handle.restore(model, strict=True)


@pytest.mark.slow
def test_equinox_activation_comes_from_the_target(handle, assert_same):
    import equinox as eqx

    model = eqx.nn.MLP(2, 2, 4, 1, activation=jax.nn.relu, key=jax.random.key(0))
    other = eqx.nn.MLP(2, 2, 4, 1, activation=jax.nn.relu, key=jax.random.key(1))
    handle.save(model)
    assert_same(handle.restore(other), model)
