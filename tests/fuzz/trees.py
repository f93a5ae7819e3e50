"""Attack: pytrees of odd objects are restored bit for bit, or refused by name."""

import collections
import dataclasses
import functools
import pathlib

import equinox
import flax
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
from exact import exact, is_key
from flax import nnx

from fifteen.experiments import CheckpointError, Experiment

CUSTOM = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "int4", "uint4", "int2"]
DTYPES = [*"?bBhHiIlLqQefdgFDG", ">i2", ">u4", ">f8", ">c16", "U3", ">U2", "S4", "M8[ns]", ">m8[s]"]
DTYPES += [getattr(ml_dtypes, name) for name in CUSTOM]
ON_DEVICES = ["float32", "float16", "int32", "uint8", "bool", "complex64", *CUSTOM[:6]]
PLAIN = [
    0,
    -(2**200),
    2**63,
    0.0,
    -0.0,
    5e-324,
    float("-nan"),
    float("inf"),
    True,
    1j,
    b"\0a",
    None,
]
PLAIN += ["", "a/b~c", "\0", "e\u0301", "\U0001f9ea", "\u202e", "1", "None", "\ud800"]
PLAIN += [np.float32(0.1), np.int8(-3), np.bool_(True), np.str_("né"), np.bytes_(b"a")]
PLAIN += [
    np.datetime64("2020-01-01"),
    np.longdouble("0.1"),
    ml_dtypes.bfloat16(3),
    ml_dtypes.int4(-2),
]
Pair = collections.namedtuple("Pair", "first second")


Subclass = type("Subclass", (np.ndarray,), {})
Unregistered = dataclasses.make_dataclass("Unregistered", ["w"])
Node = jax.tree_util.register_dataclass(dataclasses.make_dataclass("Node", ["b", "a"]))


class Callable:
    w = np.ones(3)

    def __call__(self, x):
        return self.w * x


def array(rng):
    dtype = np.dtype(rng.choice(DTYPES))
    shape = rng.choice([(), (0,), (1,), (2, 3), (3, 1, 4), (2, 0, 3), (257,), (64, 65)])
    size = int(np.prod(shape))
    if dtype.kind in "US?" or dtype.char in "gG" or dtype.name in CUSTOM:
        made = np.array([rng.randrange(-1, 2) for _ in range(size)], "f8").astype(dtype)
    else:
        made = np.frombuffer(rng.randbytes(size * dtype.itemsize), dtype).copy()
    made = made.reshape(shape)
    return rng.choice(
        [
            *(made, made.T, np.broadcast_to(made, (2, *shape)), made.view(Subclass)),
            *(made[..., ::-1] if shape else made, np.asfortranarray(made), np.repeat(made, 2)[::2]),
        ]
    )


def device_array(rng):
    made = jnp.asarray(np.arange(6) % 2, jnp.dtype(rng.choice(ON_DEVICES)))
    keys = jax.random.key(rng.randrange(9), impl=rng.choice(["threefry2x32", "rbg"]))
    sharding = jax.NamedSharding(jax.sharding.Mesh(np.array(jax.devices()[:2]), "x"), jax.P("x"))
    weak, sharded = jax.lax.full((), rng.random()), jax.device_put(made, sharding)
    return rng.choice(
        [made, made.reshape(2, 3), made[:0], weak, sharded, keys, jax.random.split(keys)]
    )


def deleted():
    made = jnp.ones(3)
    made.delete()
    return made


STATIC = [len, int, lambda x: x, Callable().__call__, jax.nn.relu, jax.jit(lambda x: x)]
BAD = [
    *(
        object,
        Callable,
        frozenset,
        deleted,
        lambda: np.poly1d([1]),
        lambda: {1, 2},
        lambda: iter("a"),
    ),
    *(
        lambda: np.array([1, "a"], object),
        lambda: np.zeros(2, [("a", "f4")]),
        lambda: np.ma.ones(2),
    ),
    *(lambda: np.ma.masked, lambda: np.void(b"ab"), lambda: functools.partial(np.dot, np.ones(3))),
    *(lambda: flax.linen.Dense(3), lambda: Unregistered(np.ones(2)), lambda: pathlib.Path("a")),
    *(lambda: jax.ShapeDtypeStruct((2,), "f4"), lambda: range(3), lambda: bytearray(b"a")),
    *(lambda: memoryview(b"a"), lambda: np.dtype("f4"), np.random.default_rng, lambda: Ellipsis),
]


def good(rng):
    return rng.choice([array(rng), array(rng), device_array(rng), rng.choice(PLAIN)])


def tree(rng, leaf, depth=3):
    """Return a random pytree with leaves from `leaf()`."""
    if not depth or rng.random() < 0.2:
        return leaf()
    children = [tree(rng, leaf, depth - 1) for _ in range(rng.randrange(4))]
    names = rng.sample(["a", "b/c", "~", "__metadata__", "1", "", "ü", "x\n", "a.b", "w" * 80], 3)
    named, two = dict(zip(names, children, strict=False)), [*children, None, None][:2]
    modules = [nnx.state(nnx.Linear(1, 2, rngs=nnx.Rngs(0))), optax.adam(1).init(jnp.ones(2))]
    modules += [equinox.nn.MLP(1, 1, 2, 1, key=jax.random.key(0)), flax.core.FrozenDict(named)]
    return rng.choice(
        [
            *(named, children, tuple(children), Pair(*two), Node(*two), dict(enumerate(children))),
            *(collections.OrderedDict(named), [rng.choice(modules), children]),
        ]
    )


def names_of(made):
    """Return the leaves of a pytree by the names that errors use."""
    named = {}
    for path, leaf in jax.tree.leaves_with_path(made):
        parts = [str(getattr(e, "key", getattr(e, "idx", getattr(e, "name", e)))) for e in path]
        name = "/".join(part.replace("~", "~0").replace("/", "~1") for part in parts)
        named[(f"~{name}" if name == "__metadata__" else name) if path else "~"] = leaf
    return named


def is_static(leaf):
    return callable(leaf) and not isinstance(leaf, jax.Array)


def blank(leaf):
    """Return a target's leaf for a saved leaf."""
    if is_static(leaf):
        return max
    if is_key(leaf):
        data = jnp.zeros_like(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array):
        return jax.device_put(jnp.zeros_like(leaf), leaf.sharding)
    if isinstance(leaf, np.str_ | np.bytes_):
        return leaf  # An empty array has another dtype.
    if isinstance(leaf, np.ndarray | np.generic):
        return np.zeros(leaf.shape, leaf.dtype)[() if isinstance(leaf, np.generic) else ...]
    return type(leaf)()


def on_host(made):
    """Return a pytree as `restore_checkpoint(None)` returns it."""
    leaves = {name: leaf for name, leaf in names_of(made).items() if not is_static(leaf)}
    arrays = jax.Array | np.generic
    return {
        name: exact(np.asarray(leaf) if isinstance(leaf, arrays) and not is_key(leaf) else leaf)
        for name, leaf in leaves.items()
    }


def attack(rng, directory):
    experiment = Experiment(directory, verbose=False)
    kept = experiment.save_checkpoint({"kept": 1}, 0)
    if rng.random() < 0.4:
        return refuse(rng, experiment, pathlib.Path(kept))
    made = tree(rng, lambda: rng.choice(STATIC) if rng.random() < 0.05 else good(rng))
    expected, wanted = [exact(leaf) for leaf in jax.tree.leaves(made)], on_host(made)
    target, blocking = jax.tree.map(blank, made), rng.random() < 0.5
    experiment.save_checkpoint(made, 1, blocking=blocking)
    for leaf in jax.tree.leaves(made):
        if isinstance(leaf, np.ndarray) and leaf.flags.writeable:
            leaf[...] = np.zeros((), leaf.dtype)
    restored = experiment.restore_checkpoint(target, strict=True)
    assert jax.tree.structure(restored) == jax.tree.structure(target)
    for name, leaf, old in zip(names_of(made), jax.tree.leaves(restored), expected, strict=True):
        assert leaf is max or exact(leaf) == old, (name, exact(leaf), old)
    assert on_host(experiment.restore_checkpoint(None)) == wanted
    return ["restored"]


def refuse(rng, experiment, kept):
    bad = [make() for make in rng.choices(BAD, k=3)]
    made = {"w": tree(rng, lambda: rng.choice([*bad, good(rng)])), "bad": bad[0]}
    text = ""
    try:
        experiment.save_checkpoint(made, 1, blocking=rng.random() < 0.5)
    except CheckpointError as error:
        text = str(error)
    for name, value in names_of(made).items():
        is_bad = any(value is one for one in bad)
        assert (f"  {name}: " in text) == is_bad or not name.isprintable(), (name, value, text)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    assert experiment.restore_checkpoint(None) == {"kept": 1}
    return ["refused"]
