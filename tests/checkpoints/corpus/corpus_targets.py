# ruff: noqa: UP006, UP035 - the writers run on Pythons down to 3.9.
"""The pytrees that the checkpoints of this corpus hold, by name.

`values(name)` is what was saved and `target(name)` the same tree of zeros, to restore into. Both are
built with the libraries of the environment that asks: the writers' old ones, or the tests' of today.
"""

import collections
import functools
from typing import Any, Callable, Dict, List, Tuple

import jax
import jax.numpy as jnp
import numpy as np

Point = collections.namedtuple("Point", ["x", "y"])


class Maker:
    """Makes the leaves of a tree: numbers that tell one leaf from the next, or zeros."""

    def __init__(self, zeros: bool):
        self.zeros = zeros
        self.count = 0

    def numpy(self, shape: Tuple[int, ...], dtype: Any = "float32") -> np.ndarray:
        dtype = np.dtype(dtype)
        self.count += 1
        if self.zeros:
            return np.zeros(shape, dtype)
        numbers = np.arange(int(np.prod(shape))).reshape(shape) % 100 + self.count
        if dtype == np.bool_:
            return np.asarray(numbers % 2, dtype)
        if dtype.kind in "iu":
            return np.asarray(numbers, dtype)
        fractions = numbers.astype(np.float64) * 0.37 - 1.0
        if dtype.kind == "c":
            return np.asarray(fractions + 1j * numbers, dtype)
        return np.asarray(fractions, np.float64).astype(dtype)

    def jax(self, shape: Tuple[int, ...], dtype: Any = "float32") -> Any:
        return jnp.asarray(self.numpy(shape, dtype))

    def python(self, value: Any) -> Any:
        self.count += 1
        return type(value)() if self.zeros else value

    def like(self, tree: Any) -> Any:
        """The same structure and dtypes with leaves of this maker."""
        return jax.tree_util.tree_map(
            lambda leaf: self.jax(np.shape(leaf), np.asarray(leaf).dtype), tree
        )


def params(make: Maker) -> Dict[str, Any]:
    return {
        "dense_0": {"kernel": make.jax((3, 4)), "bias": make.jax((4,))},
        "dense_1": {"kernel": make.jax((4, 2)), "bias": make.jax((2,))},
    }


def array(make: Maker) -> Any:
    return make.jax((2, 3))


def nested(make: Maker) -> Any:
    return {"a": {"b": make.jax((2,)), "c": {"d": make.jax((1, 2))}}, "e": make.jax((3,))}


def containers(make: Maker) -> Any:
    return {
        "list": [make.jax((2,)), make.jax((3,)), [make.jax((1,))]],
        "tuple": (make.jax((2,)), {"inner": make.jax((2,))}),
        "named": Point(make.jax((2,)), make.jax((3,))),
    }


def long_list(make: Maker) -> Any:
    """Twelve entries, whose keys as texts sort differently than as numbers."""
    return [make.jax((2,)) for _ in range(12)]


def jax_dtypes(make: Maker) -> Any:
    names = [
        "bfloat16",
        "float16",
        "float32",
        "int8",
        "int16",
        "int32",
        "uint8",
        "uint16",
        "uint32",
        "bool",
    ]
    return {
        **{name: make.jax((2, 3), jnp.dtype(name)) for name in names},
        "complex64": make.jax((2,), "complex64"),
    }


def numpy_dtypes(make: Maker) -> Any:
    names = ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint64", "bool"]
    return {
        **{name: make.numpy((2, 3), name) for name in names},
        "complex128": make.numpy((2,), "complex128"),
    }


def shapes(make: Maker) -> Any:
    return {
        "zero_d": make.jax(()),
        "zero_d_int": make.jax((), "int32"),
        "one": make.jax((1,)),
        "four_d": make.jax((1, 2, 3, 2)),
        "fortran": np.asfortranarray(make.numpy((3, 2))),
        "strided": make.numpy((6,))[::2],
    }


def empty_arrays(make: Maker) -> Any:
    return {"none": make.jax((0,)), "rows": make.jax((0, 3)), "some": make.jax((2,))}


def numpy_scalars(make: Maker) -> Any:
    return {
        name: np.dtype(name).type(0 if make.zeros else value)
        for name, value in [
            ("float32", 0.37),
            ("float64", 0.1),
            ("int32", -7),
            ("int64", 2**40),
            ("bool", True),
        ]
    }


def python_scalars(make: Maker) -> Any:
    return {
        "step": make.python(7),
        "rate": make.python(0.1),
        "done": make.python(True),
        "w": make.jax((2,)),
    }


def python_more(make: Maker) -> Any:
    return {
        "name": make.python("digits"),
        "raw": make.python(b"\x00\xff"),
        "number": make.python(1 - 2j),
        "none": None,
    }


def strings(make: Maker) -> Any:
    return {"name": make.python("digits"), "w": make.jax((2,))}


def nothing(make: Maker) -> Any:
    return {"none": None, "w": make.jax((2,))}


def empty_containers(make: Maker) -> Any:
    return {"dict": {}, "inner": {"dict": {}}, "list": [], "tuple": (), "w": make.jax((2,))}


def odd_keys(make: Maker) -> Any:
    keys = ["a.b", "a b", "gr\u00fc\u00dfe", "0", "10", "~", "w"]
    return {key: make.jax((2,)) for key in keys}


def slash_keys(make: Maker) -> Any:
    return {"a/b": make.jax((2,)), "a": {"b": make.jax((3,))}}


def empty_key(make: Maker) -> Any:
    return {"": make.jax((2,)), "a": make.jax((2,))}


def int_keys(make: Maker) -> Any:
    return {0: make.jax((2,)), 3: make.jax((3,)), 10: make.jax((1,))}


def optax_adam(make: Maker) -> Any:
    import optax

    weights = params(make)
    return {"params": weights, "opt_state": make.like(optax.adam(1e-3).init(weights))}


def optax_chain(make: Maker) -> Any:
    import optax

    weights = params(make)
    chain = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.trace(decay=0.9),
        optax.scale_by_schedule(lambda count: 1.0),
    )
    return make.like(chain.init(weights))


def frozen_dict(make: Maker) -> Any:
    from flax.core import freeze

    return freeze({"params": params(make), "batch_stats": {"mean": make.jax((4,))}})


@functools.cache
def optimizer(name: str) -> Any:
    """One object a name, since a TrainState's structure is equal only for the same optimizer."""
    if name == "flax.optim":
        from flax import optim

        return optim.Adam(learning_rate=1e-3)
    import optax

    return optax.adam(1e-3) if name == "adam" else optax.sgd(1e-2, momentum=0.9)


def train_state(make: Maker) -> Any:
    from flax.training import train_state

    weights = params(make)
    state = train_state.TrainState.create(apply_fn=None, params=weights, tx=optimizer("adam"))
    return state.replace(step=make.python(5), opt_state=make.like(state.opt_state))


def train_state_frozen(make: Maker) -> Any:
    """As linen programs had it before flax 0.7, whose `init` gave a FrozenDict."""
    from flax.core import freeze
    from flax.training import train_state

    weights = freeze(params(make))
    state = train_state.TrainState.create(apply_fn=None, params=weights, tx=optimizer("momentum"))
    return state.replace(step=make.jax((), "int32"), opt_state=make.like(state.opt_state))


@functools.cache
def model_class() -> Any:
    from flax import struct

    @struct.dataclass
    class Model:
        weights: Any
        step: Any
        name: str = struct.field(pytree_node=False, default="model")

    return Model


def struct_dataclass(make: Maker) -> Any:
    return model_class()(weights=params(make), step=make.jax((), "int32"))


@functools.cache
def jax_dataclass_class() -> Any:
    import jax_dataclasses

    @jax_dataclasses.pytree_dataclass
    class Learned:
        weights: Any
        count: Any
        name: jax_dataclasses.Static[str] = "learned"

    return Learned


def jax_dataclass(make: Maker) -> Any:
    return jax_dataclass_class()(weights=params(make), count=make.jax((), "int32"))


def nnx_state(make: Maker) -> Any:
    import flax
    from flax import nnx

    if flax.__version__.startswith("0.8."):
        raise NotImplementedError(
            "flax 0.8 names a variable's array raw_value, and no later one does"
        )

    class Model(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.linear = nnx.Linear(3, 4, rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)

    return make.like(nnx.state(Model(nnx.Rngs(0))))


def optim_adam(make: Maker) -> Any:
    """The optimizers that flax had until 0.5; there is no such target any more."""
    made = optimizer("flax.optim").create(params(make))
    return made.replace(state=make.like(made.state))


def chunked(make: Maker) -> Any:
    """Written with a chunk of 1 KiB in place of 1 GiB."""
    return {
        "large": make.jax((20, 30)),
        "half": make.jax((700,), jnp.dtype("bfloat16")),
        "small": make.jax((2,)),
        "inner": {"ints": make.numpy((5, 7, 11), "int64"), "exact": make.jax((256,))},
    }


def chunked_array(make: Maker) -> Any:
    return make.jax((600,))


def large(make: Maker) -> Any:
    """Large enough for Orbax and for several processes to split it."""
    return {
        "params": {"w": make.jax((16, 8)), "v": make.jax((8,), jnp.dtype("bfloat16"))},
        "step": make.python(3),
    }


TREES: Dict[str, Callable[[Maker], Any]] = {
    function.__name__: function
    for function in (
        array,
        nested,
        containers,
        long_list,
        jax_dtypes,
        numpy_dtypes,
        shapes,
        empty_arrays,
        numpy_scalars,
        python_scalars,
        python_more,
        strings,
        nothing,
        empty_containers,
        odd_keys,
        slash_keys,
        empty_key,
        int_keys,
        optax_adam,
        optax_chain,
        frozen_dict,
        train_state,
        train_state_frozen,
        struct_dataclass,
        jax_dataclass,
        nnx_state,
        optim_adam,
        chunked,
        chunked_array,
        large,
    )
}


def values(name: str) -> Any:
    """The tree that was saved."""
    return TREES[name](Maker(zeros=False))


def target(name: str) -> Any:
    """The same tree of zeros."""
    return TREES[name](Maker(zeros=True))


def same(left: Any, right: Any) -> bool:
    """Whether two trees have the same structure and, as bits, the same numbers in their leaves.

    The kind of a leaf does not count: a JAX array, a NumPy array and a Python number are alike if
    their dtypes agree, or if one of them is a Python number of the same value.
    """
    left_leaves, left_tree = jax.tree_util.tree_flatten(left)
    right_leaves, right_tree = jax.tree_util.tree_flatten(right)
    return left_tree == right_tree and all(map(same_leaf, left_leaves, right_leaves))


def same_leaf(left: Any, right: Any) -> bool:
    plain = (bool, int, float, complex, str, bytes)
    if type(left) in plain or type(right) in plain:
        return bool(left == right)
    one, other = np.asarray(left), np.asarray(right)
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


def described(tree: Any) -> List[Dict[str, Any]]:
    """The leaves of a tree of dicts, lists and tuples, as JSON can hold them; `{}` is a leaf, too."""
    import base64

    leaves: List[Dict[str, Any]] = []

    def visit(node: Any, path: List[Any]) -> None:
        if isinstance(node, (dict, list, tuple)) and len(node):
            items = node.items() if isinstance(node, dict) else enumerate(node)
            for key, value in items:
                visit(value, [*path, key])
            return
        entry: Dict[str, Any] = {"path": path, "kind": type(node).__name__}
        if isinstance(node, (dict, list, tuple, type(None))):
            pass
        elif isinstance(node, (bool, int, float, str)) and not isinstance(node, np.generic):
            entry["value"] = node
        elif isinstance(node, complex) and not isinstance(node, np.generic):
            entry["value"] = [node.real, node.imag]
        elif isinstance(node, bytes) and not isinstance(node, np.generic):
            entry["value"] = base64.b64encode(node).decode("ascii")
        else:
            numbers = np.asarray(node)
            entry["kind"] = "scalar" if isinstance(node, np.generic) else "array"
            entry["dtype"] = numbers.dtype.name
            entry["shape"] = list(numbers.shape)
            entry["data"] = base64.b64encode(numbers.tobytes()).decode("ascii")
        leaves.append(entry)

    visit(tree, [])
    return leaves
