"""Training states of common libraries round-trip with their own types."""

import collections
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest


def changed(tree):
    """Return a pytree of the same structure with other values."""

    def change(leaf):
        is_number = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.number)
        return leaf * 0 if is_number else leaf

    return jax.tree.map(change, tree)


@pytest.fixture
def round_trip(handle, assert_same):
    def go(tree):
        handle.save(tree, overwrite=True)
        restored = handle.restore(changed(tree), strict=True)
        assert_same(restored, tree)
        return restored

    return go


class Point(NamedTuple):
    x: Any
    y: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Registered:
    weights: Any
    count: Any
    name: str = dataclasses.field(default="fixed", metadata={"static": True})


class WithKeys:
    def __init__(self, one, other):
        self.one, self.other = one, other


jax.tree_util.register_pytree_with_keys(
    WithKeys,
    lambda node: (
        [
            (jax.tree_util.GetAttrKey("one"), node.one),
            (jax.tree_util.GetAttrKey("other"), node.other),
        ],
        None,
    ),
    lambda _, children: WithKeys(*children),
)


class WithoutKeys(WithKeys):
    pass


jax.tree_util.register_pytree_node(
    WithoutKeys,
    lambda node: ((node.one, node.other), "aux"),
    lambda _, children: WithoutKeys(*children),
)


def test_python_containers(round_trip, handle):
    round_trip(
        {
            "dict": {"": 1, ".": 2, "/": 3, "a/b": 4, "a.b": 5, "ключ": 6, " ": 7, "~1": 8},
            "a": {"b": 9},
            "ints": {1: jnp.ones(1), 10: jnp.ones(2), -3: jnp.ones(3)},
            "list": [1, [2, [3, []]]],
            "tuple": (1, (2,), ()),
            "named": Point(jnp.ones(2), Point(1, None)),
            "ordered": collections.OrderedDict(b=1, a=2),
            "default": collections.defaultdict(list, a=jnp.ones(1)),
            "registered": Registered(jnp.ones(2), 3),
            "with keys": WithKeys(jnp.ones(1), 2),
            "without": WithoutKeys(jnp.ones(1), (2, 3)),
        }
    )
    names = handle.leaves()
    assert "named/y/x" in names
    assert "registered/weights" in names
    assert "with keys/other" in names
    assert "without/1/0" in names


@pytest.mark.parametrize("tree", [jnp.arange(3), np.float32(2), 5, "text", jax.random.key(1)])
def test_bare_leaf(round_trip, tree):
    round_trip(tree)


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optax.adam(1e-3),
        lambda: optax.sgd(0.1, momentum=0.9),
        lambda: optax.chain(optax.clip(1.0), optax.adamw(optax.cosine_decay_schedule(1.0, 100))),
        lambda: optax.multi_transform(
            {"a": optax.adam(1e-3), "b": optax.set_to_zero()}, {"w": "a", "b": "b"}
        ),
        lambda: optax.inject_hyperparams(optax.adam)(learning_rate=1e-3),
        lambda: optax.MultiSteps(optax.adafactor(1e-3), 4),
        lambda: optax.apply_if_finite(optax.lamb(1e-3), 3),
    ],
)
def test_optax(round_trip, optimizer):
    params = {"w": jnp.ones((3, 2)), "b": jnp.ones(2, jnp.bfloat16)}
    transform = optimizer()
    state = transform.init(params)
    updates, state = transform.update(params, state, params)
    round_trip((optax.apply_updates(params, updates), state))


@pytest.mark.slow
def test_flax_linen_train_state(round_trip, handle):
    import flax.linen as nn
    from flax.core import freeze
    from flax.training.train_state import TrainState

    model = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)])
    params = model.init(jax.random.key(0), jnp.ones((1, 3)))
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(1e-3))
    state = state.apply_gradients(grads=state.params)
    restored = round_trip(state)
    assert restored.apply_fn == state.apply_fn
    assert restored.tx is state.tx
    assert "params/params/layers_0/kernel" in handle.leaves()
    round_trip(freeze(params))


def test_flax_struct(round_trip):
    import flax.struct

    class State(flax.struct.PyTreeNode):
        params: Any
        step: int
        name: str = flax.struct.field(pytree_node=False, default="fixed")

    assert round_trip(State({"w": jnp.ones(3)}, 4, "mine")).name == "mine"


@pytest.mark.slow
def test_flax_nnx(round_trip, handle, assert_same):
    from flax import nnx

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.dense = nnx.Linear(3, 4, rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.dropout(self.norm(self.dense(x)))

    model = Model(nnx.Rngs(0))
    model(jnp.ones((2, 3)))
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    state = nnx.state((model, optimizer))
    round_trip(state)
    definition, abstract = nnx.split(nnx.eval_shape(lambda: Model(nnx.Rngs(0))))
    handle.save(nnx.state(model), 2)
    restored = handle.restore(abstract, strict=True)
    rebuilt = nnx.merge(definition, restored)
    rebuilt.eval()
    model.eval()
    np.testing.assert_array_equal(rebuilt(jnp.ones((2, 3))), model(jnp.ones((2, 3))))


@pytest.mark.slow
def test_equinox(round_trip, handle):
    import equinox as eqx

    model = eqx.nn.MLP(3, 2, 4, 2, activation=jax.nn.gelu, key=jax.random.key(0))
    optimizer = optax.adam(1e-3)
    state = (model, optimizer.init(eqx.filter(model, eqx.is_array)))
    restored, _ = round_trip(state)
    assert restored.activation is model.activation
    assert restored.width_size == 4
    np.testing.assert_array_equal(restored(jnp.ones(3)), model(jnp.ones(3)))
    # An abstract model that is never built.
    abstract = eqx.filter_eval_shape(
        lambda: eqx.nn.MLP(3, 2, 4, 2, activation=jax.nn.gelu, key=jax.random.key(0))
    )
    handle.save(model, 2)
    restored = handle.restore(abstract, strict=True)
    np.testing.assert_array_equal(restored(jnp.ones(3)), model(jnp.ones(3)))


def test_equinox_state_and_partitions(round_trip):
    import equinox as eqx

    layer, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, axis_name="batch", mode="ema")
    round_trip((layer, state))
    arrays, _ = eqx.partition(layer, eqx.is_array)
    round_trip(arrays)


def test_jax_dataclasses(round_trip):
    jax_dataclasses = pytest.importorskip("jax_dataclasses")

    @jax_dataclasses.pytree_dataclass
    class State:
        params: Any
        step: int
        name: jax_dataclasses.Static[str] = "fixed"

    assert round_trip(State({"w": jnp.ones(3)}, 4, "mine")).name == "mine"


def test_jax_dataclasses_are_named_by_their_fields(handle, tmp_path):
    jax_dataclasses = pytest.importorskip("jax_dataclasses")

    @jax_dataclasses.pytree_dataclass
    class Before:
        name: jax_dataclasses.Static[Any]
        w: Any
        b: Any
        rest: Any = None

    @jax_dataclasses.pytree_dataclass
    class After:
        b: Any
        new: Any
        w: Any
        rest: Any = None

    shared = jnp.ones(2)
    for name in ("x", np.zeros(2)):  # An array as a static field cannot be hashed.
        before = [Before(name, w=shared, b=shared, rest={"c": Before("y", 1, 2)})]
        handle.save(before, overwrite=True)
        assert list(handle.leaves()) == ["0/w", "0/b", "0/rest/c/w", "0/rest/c/b"]
        assert handle.restore(None)[0]["rest"] == {"c": {"w": 1, "b": 2, "rest": None}}
    before = [Before("x", w=jnp.ones(2), b=jnp.zeros(2))]
    handle.save(before, overwrite=True)
    with pytest.warns(match="0/new: missing"):
        (after,) = handle.restore([After(jnp.ones(2), 3, jnp.zeros(2))], partial=True)
    np.testing.assert_array_equal(after.w, before[0].w)
    np.testing.assert_array_equal(after.b, before[0].b)
    # As version 0.1 and Orbax write it.
    handle.save([{"0": jnp.ones(2), "1": jnp.zeros(2)}], overwrite=True)
    (restored,) = handle.restore([Before("x", jnp.zeros(2), jnp.ones(2))], strict=True)
    np.testing.assert_array_equal(restored.w, jnp.ones(2))
    np.testing.assert_array_equal(restored.b, jnp.zeros(2))


def test_penzai(round_trip):
    pytest.importorskip("penzai")
    from penzai import pz
    from penzai.models import simple_mlp

    named = pz.nx.wrap(jnp.arange(6.0).reshape(2, 3)).tag("rows", "columns")
    model = simple_mlp.MLP.from_config(
        name="mlp", init_base_rng=jax.random.key(0), feature_sizes=[3, 4, 2]
    )
    _, variables = pz.unbind_params(model)
    round_trip({"named": named, "params": [variable.freeze() for variable in variables]})


def test_restore_without_a_target_gives_dicts_and_lists(handle):
    from flax.core import freeze

    handle.save(
        {
            "point": Point(1, (2, 3)),
            "frozen": freeze({"a": {"b": 4}}),
            "node": WithKeys(5, [6]),
            "ints": {1: 7, -2: {3: (8,)}},
            "none": None,
        }
    )
    assert handle.restore(None) == {
        "point": {"x": 1, "y": [2, 3]},
        "frozen": {"a": {"b": 4}},
        "node": {"one": 5, "other": [6]},
        "ints": {1: 7, -2: {3: [8]}},
        "none": None,
    }
