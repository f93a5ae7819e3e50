"""States sharded over several processes: saving, restoring, and other numbers of processes."""

import contextlib
import json
import pathlib
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fifteen.experiments import CheckpointDamagedError, CheckpointError
from fifteen.experiments.checkpoints import Checkpoints, Retention

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import distributed_processes
from distributed_processes import MESH

pytestmark = pytest.mark.slow

COMMON = """
import hashlib
from fifteen.experiments.checkpoints import Checkpoints, Retention

def state(seed=0, spec=P("x")):
    rows = np.random.default_rng(seed).normal(size=(16, 6)).astype(np.float32)
    return {
        "params": {"w": spread(rows, spec), "b": spread(np.arange(3, dtype=np.int32), P())},
        "half": spread(rows.astype(jnp.bfloat16), spec),
        "step": 7,
        "host": np.arange(5.0),
        "none": None,
        "nested": [np.arange(3), (1, 2.5)],
    }

def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, one), other in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected)):
        assert type(one) is type(other), (path, one, other)
        if isinstance(one, jax.Array):
            assert one.sharding == other.sharding, (one.sharding, other.sharding)
            assert one.dtype == other.dtype and one.shape == other.shape
            if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
                one, other = jax.random.key_data(one), jax.random.key_data(other)
            for a, b in zip(one.addressable_shards, other.addressable_shards):
                assert np.asarray(a.data).tobytes() == np.asarray(b.data).tobytes()
        elif not isinstance(one, np.ndarray | np.generic):
            assert one == other
        else:
            assert np.asarray(one).dtype == np.asarray(other).dtype, (path, one, other)
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), (path, one, other)
"""


SHARED = """
def save(tree, step, keep=9, overwrite=False, blocking=True):
    return checkpoints.save(tree, step, "checkpoint_", lambda: Retention(keep, overwrite), blocking)

def restore(target, step=None, strict=True):
    return checkpoints.restore(target, step, "checkpoint_", strict, False)[0]
"""


ALONE = MESH + COMMON + "checkpoints = Checkpoints(directory)\n" + SHARED


@pytest.fixture(scope="module")
def pools():
    """Pools by number of processes, shared by all tests."""
    with contextlib.ExitStack() as stack:
        yield {
            count: stack.enter_context(distributed_processes.pool(count, devices, MESH + COMMON))
            for count, devices in ((1, 4), (2, 2), (4, 1))
        }


@pytest.fixture
def run(pools, tmp_path):
    """Run a script in a number of processes."""

    def run_in(script: str, count: int = 2) -> list[str]:
        code = "checkpoints = Checkpoints(directory)\n" + textwrap.dedent(script)
        return pools[count].run(SHARED + code, tmp_path)

    return run_in


def test_saves_do_not_fill_the_coordination_service(run):
    script = """
    from fifteen.experiments import distributed
    from jax._src import distributed as of_jax
    def keys():
        distributed.main.all_gather("look")
        found = of_jax.global_state.client.key_value_dir_get("fifteen/save 0/")
        distributed.main.all_gather("done")
        return len(found)
    for step in range(3):
        save(state(), step, blocking=step % 2 == 0)
    checkpoints.wait()
    before = keys()
    for step in range(3, 6):
        save(state(), step, blocking=step % 2 == 0)
    checkpoints.wait()
    print(0 < before == keys())
    """
    assert run(script) == ["True\n", "True\n"]


@pytest.mark.parametrize("count", [2, 4])
def test_round_trip(run, tmp_path, count):
    script = """
    tree = state()
    path = save(tree, 3)
    blank = jax.tree.map(lambda leaf: leaf * 0, tree)
    assert_same(restore(blank), tree)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        if isinstance(leaf, jax.Array) else leaf, tree)
    assert_same(restore(shapes), tree)
    print(path.name, checkpoints.steps("checkpoint_"))
    """
    outputs = run(script, count)
    assert [output.strip() for output in outputs] == ["checkpoint_3 [3]"] * count
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_3"]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_restore_with_any_number_of_processes_and_another_sharding(run, tmp_path, count):
    run("save(state(), 3)", 2)
    script = """
    target = state(seed=1, spec=P(None, "x") if 6 % len(jax.devices()) == 0 else P(None, None))
    found = restore(target)
    assert_same(found, state(spec=target["params"]["w"].sharding.spec))
    """
    run(script, count)


def test_file_of_one_process_is_restored_onto_many(run, tmp_path):
    script = """
    tree = {
        "w": spread(np.array([np.nan, 1.0, np.inf, -0.0], np.float32), P("x")),
        "weak": jax.jit(lambda: 2.0, out_shardings=NamedSharding(mesh, P()))(),
        "step": spread(np.int32(7), P()),
        "key": jax.jit(lambda: jax.random.key(3), out_shardings=NamedSharding(mesh, P()))(),
        "keys": jax.jit(
            lambda: jax.random.split(jax.random.key(4), 4),
            out_shardings=NamedSharding(mesh, P("x")),
        )(),
        "float8": spread(np.ones(4, jnp.float8_e3m4), P("x")),
    }
    if COUNT == 1:
        save({**tree, "step": 7}, 3)
    else:
        found = restore(tree, 3)
        assert_same(found, tree)
        assert found["weak"].weak_type
        save(found, 3 + COUNT)
        assert_same(restore(tree), tree)
    """
    run(script, 1)
    run(script, 2)
    run(script, 4)


@pytest.mark.parametrize("by", [1, 4])
def test_target_on_the_devices_of_some_processes(run, tmp_path, by):
    tree = """
    def tree_over(mesh, by=np.arange):
        rows, everywhere = NamedSharding(mesh, P("x")), NamedSharding(mesh, P())
        def put(array, sharding):
            return jax.make_array_from_callback(
                array.shape, sharding, lambda index: array[index], dtype=array.dtype)
        def made(make, sharding):
            return jax.jit(make, out_shardings=sharding)()
        return {
            "w": put(by(8).astype(np.float32), rows),
            "float8": put(by(8).astype(jnp.float8_e4m3fnuz), rows),
            "empty": put(np.zeros((0, 3), np.int8), everywhere),
            "scalar": put(np.asarray(by(3)[1], jnp.bfloat16), everywhere),
            "weak": made(lambda: jnp.broadcast_to(jnp.asarray(float(by(3)[2])), (8,)), rows),
            "key": made(lambda: jax.random.key(int(by(3)[1])), everywhere),
            "keys": made(lambda: jax.random.split(jax.random.key(int(by(3)[1])), 8), rows),
        }
    """
    run(tree + "save(tree_over(mesh), 3)", by)
    script = """
    some = Mesh(np.array(jax.devices()[:2]), ("x",))
    found = restore(tree_over(some, np.zeros))
    assert_same(found, tree_over(some))
    assert found["weak"].weak_type
    """
    run(tree + script, 4)


@pytest.mark.filterwarnings("ignore")  # Orbax's own warnings.
def test_indivisible_shape_is_replicated(run, tmp_path):
    import flax.serialization
    import orbax.checkpoint as ocp
    from orbax.checkpoint.experimental import v1

    arrays = """
    arrays = {"v": np.arange(6, dtype=np.float32), "lower": np.arange(3.0), "weak": np.full((), 2, np.float32)}
    keys = {"keys": jax.random.split(jax.random.key(1), 6)}
    """
    run(arrays + "save(arrays | keys, 1)", 1)
    run(arrays + "save(arrays | keys, 2)", 2)
    names: dict = {"np": np, "jax": jax}
    exec(textwrap.dedent(arrays), names)
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "checkpoint_3", names["arrays"] | names["keys"])
    v1.save(tmp_path / "checkpoint_4", names["arrays"])
    (tmp_path / "checkpoint_5").write_bytes(flax.serialization.to_bytes(names["arrays"]))
    script = """
    import warnings
    rows, everywhere = NamedSharding(mesh, P("x")), NamedSharding(mesh, P())
    target = {
        "v": spread(np.zeros(8, np.float32), P("x")),
        "lower": spread(np.zeros((8, 3), np.float32), P("x", None)),
        "weak": jax.jit(lambda: jnp.broadcast_to(1.0, (8,)), out_shardings=rows)(),
        "keys": jax.jit(lambda: jax.random.split(jax.random.key(0), 8), out_shardings=rows)(),
    }
    for step in range(1, 6):
        if step == 4:
            del target["keys"], keys["keys"]
        with warnings.catch_warnings(record=True, action="always") as caught:
            found = restore(target, step, strict=False)
        assert "v: target has shape (8,), checkpoint_" in str(caught[0].message), caught
        assert found["weak"].weak_type
        for name, value in (arrays | keys).items():
            assert found[name].sharding.is_equivalent_to(everywhere, value.ndim), (step, name)
            local = found[name].addressable_data(1)
            if name == "keys":
                value, local = jax.random.key_data(value), jax.random.key_data(local)
            np.testing.assert_array_equal(local, np.asarray(value, local.dtype), strict=True)
    """
    run(arrays + script)


@pytest.mark.parametrize("count", [2, 4])
def test_round_trip_from_one_process_to_many_and_back(run, tmp_path, count):
    run("save(state(), 3)", 1)
    assert (tmp_path / "checkpoint_3.safetensors").exists()
    script = """
    found = restore(state(seed=1))
    assert_same(found, state())
    save(found, 4, keep=1)
    """
    run(script, count)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_4"]
    run("assert_same(restore(state(seed=1)), state())", 1)
    run("save(state(seed=5), 4, overwrite=True)", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_4.safetensors"]


def test_every_kind_of_leaf(run, tmp_path):
    script = """
    import ml_dtypes
    dtypes = [
        "bool", "int4", "uint4", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float16",
        "float32", "bfloat16", "complex64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz",
        "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e3m4", "float8_e4m3", "float8_e8m0fnu",
        "float4_e2m1fn", "int2", "uint2",
    ]
    def values(dtype, shape=(8, 3)):
        return (np.arange(np.prod(shape)) % 2).reshape(shape).astype(getattr(ml_dtypes, dtype, dtype))
    keys = {
        name: jax.jit(
            lambda: jax.random.split(jax.random.key(3, impl=name), 8),
            out_shardings=NamedSharding(mesh, P("x")),
        )()
        for name in ("threefry2x32", "rbg", "unsafe_rbg")
    }
    tree = {
        "spread": {dtype: spread(values(dtype), P("x")) for dtype in dtypes},
        "local": {dtype: jnp.asarray(values(dtype)) for dtype in dtypes},
        "numpy": {dtype: values(dtype) for dtype in [*dtypes, "float64", "int64", "complex128"]},
        "scalar": {dtype: values(dtype).reshape(-1)[1] for dtype in dtypes},
        "empty": {"spread": spread(np.zeros((0, 4), np.float32), P()), "local": jnp.zeros((0, 3)),
                  "numpy": np.zeros((2, 0), np.int8)},
        "keys": keys,
        "key": jax.random.key(1),
        "python": [1, -(2**63), 2**63, -(2**200), 2.5, float("inf"), 1j, True, False, "text", "",
                   b"bytes", b"", None],
        "0-d": [spread(np.float32(3), P()), jnp.float32(2), np.array(4)],
        "order": np.arange(3, dtype=">i4"),
        "strided": np.arange(12).reshape(3, 4).T[::2],
        "date": np.array("2026-01-02", "M8[D]"),
        "words": np.array(["a", "bcd"]),
        "letters": [np.array([b"a", b"b"]), np.bytes_(b"c")],
    }
    save(tree, 1)
    def blank(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        if isinstance(leaf, jax.Array):
            return jax.tree.map(lambda s: s, spread(np.zeros(leaf.shape, leaf.dtype), leaf.sharding.spec)
                if not leaf.is_fully_addressable else jnp.zeros(leaf.shape, leaf.dtype))
        return np.zeros_like(leaf) if isinstance(leaf, np.ndarray) else leaf
    found = restore(jax.tree.map(blank, tree))
    order = found.pop("order")
    np.testing.assert_array_equal(order, tree.pop("order"))
    assert_same(found, tree)
    """
    run(script)


def test_names_confused_by_orbax_are_kept(run, tmp_path):
    script = """
    one, two = np.arange(4.0), np.arange(4.0) + 10
    tree = {
        "dots": {"a.b": spread(one, P("x")), "a": {"b": spread(two, P("x"))}},
        "slashes": {"c/d": one, "c": {"d": two}, "e": spread(one, P()), "e/0": spread(two, P())},
        "odd": {"": one, "%": two, "é\\n": one, "'\\"\\\\": two, "~1": one, "x%2Ey": two},
        "optax": [{"(1,)": one}],
    }
    save(tree, 1)
    assert_same(restore(jax.tree.map(lambda leaf: leaf * 0, tree)), tree)
    print(sorted(checkpoints.leaves(1, "checkpoint_")))
    """
    outputs = run(script)
    assert "'dots/a.b', 'dots/a/b'" in outputs[0]
    restored, _ = Checkpoints(tmp_path).restore(None, None, "checkpoint_", False, False)
    np.testing.assert_array_equal(restored["dots"]["a.b"], np.arange(4.0))
    np.testing.assert_array_equal(restored["dots"]["a"]["b"], np.arange(4.0) + 10)


def test_single_leaf_and_tree_without_arrays(run, tmp_path):
    script = """
    whole = spread(np.arange(8.0), P("x"))
    save(whole, 1)
    assert_same(restore(whole * 0), whole)
    spread_keys = jax.jit(
        lambda: jax.random.split(jax.random.key(0, impl="rbg"), (0, 4)),
        out_shardings=NamedSharding(mesh, P(None, "x")),
    )()
    keys = {"host": jax.random.split(jax.random.key(0), 0), "spread": spread_keys}
    nothing = {"empty": np.zeros((0,)), "c": 1j, "d": {}, "keys": keys}
    save(nothing, 2)
    assert_same(restore(nothing), nothing)
    """
    run(script)


def test_restore_recompiles_nothing(run, tmp_path):
    script = """
    @jax.jit
    def train(tree):
        return jax.tree.map(lambda leaf: leaf + 1, tree)
    tree = {"w": spread(np.arange(8.0, dtype=np.float32), P("x")), "weak": jnp.asarray(1.0),
            "committed": jax.device_put(jnp.arange(3), jax.local_devices()[0])}
    only_global = {"w": tree["w"]}
    train(only_global)
    size = train._cache_size()
    save(tree, 1)
    found = restore(tree)
    train({"w": found["w"]})
    assert train._cache_size() == size
    local = {"weak": tree["weak"]}
    train(local)
    size = train._cache_size()
    train({"weak": found["weak"]})
    assert train._cache_size() == size
    assert found["weak"].weak_type and found["committed"].committed
    """
    run(script)


def test_weak_types_and_keys_over_processes_are_not_recompiled(run, tmp_path):
    script = """
    sharding = NamedSharding(mesh, P("x"))
    weak = jax.jit(lambda: jnp.broadcast_to(jnp.asarray(2.5), (8,)), out_shardings=sharding)()
    keys = jax.jit(lambda: jax.random.split(jax.random.key(3), 8), out_shardings=sharding)()
    assert weak.weak_type

    @jax.jit
    def train(tree):
        return tree["weak"] * 2, jax.vmap(jax.random.fold_in, (0, None))(tree["keys"], 1)

    tree = {"weak": weak, "keys": keys}
    train(tree)
    size = train._cache_size()
    save(tree, 1)
    shapes = {name: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=sharding, weak_type=leaf is weak)
        for name, leaf in tree.items()}
    for target in (tree, shapes):
        found = restore(target)
        assert found["weak"].weak_type
        assert_same(found, tree)
        train(found)
        assert train._cache_size() == size
    """
    run(script)


def test_undecodable_leaf_is_named(run, tmp_path):
    script = """
    whole = spread(np.arange(8.0), P("x"))
    save({"w": whole, "key": jax.random.key(0), "n": 3, "b": b"bytes"}, 1)
    """
    run(script)
    path = tmp_path / "checkpoint_1" / "fifteen.json"
    # The format of version 0.1, without a checksum.
    content = path.read_text().replace('"version":2,', '"version":1,')
    for written, damage, error, text in [
        ("threefry2x32", "mine", CheckpointError, r"checkpoint_1: key: .*'mine'.*JAX does not"),
        ('"scalar":"int"', '"scalar":"text"', CheckpointDamagedError, "checkpoint_1: n: "),
        ('"bytes":"', '"bytes":"=', CheckpointDamagedError, "checkpoint_1: b: "),
    ]:
        assert written in content
        path.write_text(content.replace(written, damage))
        with pytest.raises(error, match=text):
            Checkpoints(tmp_path).restore(None, None, "checkpoint_", False, False)
    path.write_text(content)
    restored, _ = Checkpoints(tmp_path).restore(None, None, "checkpoint_", False, False)
    assert restored["b"] == b"bytes"


def test_prefixes_ending_in_digits(run, tmp_path):
    script = """
    for number, prefix in enumerate(["net", "net1"]):
        for step in (0, 3, 10):
            checkpoints.save({"of": number}, step, prefix, lambda: Retention(9), True)
    checkpoints.save({"of": 0}, 26, "net", Retention, True)
    print(checkpoints.steps("net"), checkpoints.steps("net1"))
    """
    for output in run(script):
        assert output == "[26] [0, 3, 10]\n"
    alone = Checkpoints(tmp_path)
    assert alone.restore(None, None, "net1", False, False)[0] == {"of": 1}
    assert (
        alone.save({"of": 2}, 11, "net1", lambda: Retention(9), True).name == "net1@11.safetensors"
    )
    assert alone.steps("net1") == [0, 3, 10, 11]


def test_fields_of_a_dataclass_without_key_paths(run, tmp_path):
    pytest.importorskip("jax_dataclasses")
    script = """
    import jax_dataclasses
    @jax_dataclasses.pytree_dataclass
    class Before:
        w: jax.Array
        b: jax.Array
    @jax_dataclasses.pytree_dataclass
    class After:
        b: jax.Array
        w: jax.Array
    w, b = spread(np.arange(8.0), P("x")), spread(np.arange(8.0) + 10, P("x"))
    save({"model": Before(w, b)}, 1)
    found = restore({"model": After(w * 0, b * 0)})
    assert_same(found, {"model": After(b, w)})
    print(list(checkpoints.leaves(1, "checkpoint_")))
    """
    for output in run(script):
        assert output == "['model/w', 'model/b']\n"
    # Orbax finds them by their numbers.
    described = json.loads((tmp_path / "checkpoint_1" / "_METADATA").read_text())
    assert list(described["tree_metadata"]) == ["('model', '0')", "('model', '1')"]


def test_flipped_bit_in_the_description_is_detected(run, tmp_path):
    run("""save({"w": spread(np.arange(8.0), P("x")), "n": 2**70, "b": b"bytes"}, 1)""")
    path = tmp_path / "checkpoint_1" / "fifteen.json"
    content = path.read_bytes()
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointDamagedError, match=r"checkpoint_1: fifteen.json is not a "):
            Checkpoints(tmp_path).restore(None, None, "checkpoint_", False, False)


def test_damaged_latest_description_names_an_intact_step(run, tmp_path):
    script = """
    from fifteen.experiments import CheckpointDamagedError
    target = {"w": spread(np.arange(8.0), P("x"))}
    def problem(step=None):
        try:
            restore(target, step)
        except CheckpointDamagedError as error:
            return str(error).splitlines()[0]
    """
    run(script + "save(target, 20); save(target, 21)")
    (tmp_path / "checkpoint_21" / "fifteen.json").write_text("{")
    (tmp_path / "checkpoint_22.safetensors").write_bytes(b"cut")
    for output in run(script + "print(problem()); print(problem(22))"):
        latest, asked = output.splitlines()
        assert "checkpoint_22" in latest
        assert (
            "the latest other one that opens is step 20: restore_checkpoint(..., step=20)" in latest
        )
        assert "checkpoint_22" in asked
        assert "one that opens" not in asked


def test_retention_and_refusals_agree_in_all_processes(run, tmp_path):
    script = """
    from fifteen.experiments import CheckpointExistsError, CheckpointNotFoundError
    def outcome(action):
        try:
            action()
        except Exception as error:
            return type(error).__name__
    tree = {"a": spread(np.arange(4.0), P("x"))}
    print(outcome(lambda: restore(tree)))
    for step in range(1, 6):
        save(tree, step, keep=2)
    print(checkpoints.steps("checkpoint_"))
    print(outcome(lambda: save(tree, 5)))
    save(tree, 4, keep=2, overwrite=True)
    print(checkpoints.steps("checkpoint_"))
    print(outcome(lambda: restore(tree, step=9)))
    print(outcome(lambda: restore({"b": tree["a"]})))
    """
    for output in run(script):
        assert output.split("\n")[:-1] == [
            "CheckpointNotFoundError",
            "[4, 5]",
            "CheckpointExistsError",
            "[4]",
            "CheckpointNotFoundError",
            "CheckpointMismatchError",
        ]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_4"]


def test_error_in_one_process_is_raised_in_all(run, tmp_path):
    script = """
    def outcome(action):
        try:
            action()
        except Exception as error:
            return f"{type(error).__name__}: {error}".replace("\\n", " ")
    good = {"a": spread(np.arange(4.0), P("x"))}
    save(good, 1)
    bad = {**good, "b": object() if INDEX == 1 else 3}
    print(outcome(lambda: save(bad, 2)))
    other = {**good, **({"c": 1} if INDEX == 1 else {})}
    print(outcome(lambda: save(other, 2)))
    print(outcome(lambda: save(good, 2.5 if INDEX == 0 else 2)))
    target = {"a": good["a"], **({"c": 1} if INDEX == 1 else {})}
    print(outcome(lambda: restore(target)))
    from fifteen.experiments.checkpoints._orbax import _save as _orbax_saving
    if INDEX == 1:
        class Failing:
            def result(self):
                raise OSError(28, "No space left on device", "/shared/checkpoint")
        started = _orbax_saving._start
        _orbax_saving._start = lambda *rest: [*started(*rest), Failing()]
    print(outcome(lambda: save(good, 2)).splitlines()[0])
    save_in_background = lambda: save(good, 2, blocking=False)
    print(outcome(save_in_background), outcome(checkpoints.wait), outcome(checkpoints.wait))
    if INDEX == 1:
        _orbax_saving._start = started
    print(checkpoints.steps("checkpoint_"))
    assert_same(restore(good), good)
    """
    for output in run(script):
        lines = output.splitlines()
        assert lines[0].startswith("CheckpointError: ")
        assert "b: expected an array" in lines[0]
        assert lines[1].startswith("CheckpointError: the processes save different pytrees")
        assert lines[2].startswith("CheckpointError: step: expected a whole number")
        assert lines[3].startswith("CheckpointMismatchError: ")
        assert "No space left on device: could not save step 2" in output
        assert output.splitlines()[-2].startswith("None OSError: [Errno 28] No space left")
        assert output.splitlines()[-2].endswith(" None")
        assert output.splitlines()[-1] == "[1]"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_1"]


@pytest.mark.parametrize("by", [1, 2])
def test_64_bit_numbers_are_not_truncated(run, tmp_path, by):
    save = """
    with jax.enable_x64(True):
        save({{"x": {x}, "y": {y}}}, 1)
    """
    # One value in the last process's shard needs 64 bits.
    big, small = "np.array([1, 2, 3, 2**40])", "np.array([1, 2, 3, 4])"
    wrapped = (lambda text: text) if by == 1 else (lambda text: f"spread({text}, P('x'))")
    run(save.format(x=wrapped(big), y=wrapped(small)), by)
    script = """
    import warnings
    from fifteen.experiments import CheckpointMismatchError, ExperimentWarning
    warnings.simplefilter("ignore", ExperimentWarning)
    target = {"x": spread(np.zeros(4, np.int32), P("x")), "y": spread(np.zeros(4, np.int32), P("x"))}
    try:
        restore(target, strict=False)
    except CheckpointMismatchError as error:
        print(str(error).splitlines()[-1])
    found = checkpoints.restore({"y": target["y"]}, None, "checkpoint_", False, True)[0]["y"]
    assert found.dtype == np.int32
    for shard in found.addressable_shards:
        np.testing.assert_array_equal(shard.data, np.array([1, 2, 3, 4])[shard.index])
    warnings.simplefilter("error", ExperimentWarning)
    """
    for output in run(script, 2):
        assert "int64 with 1099511627776, which int32 cannot hold; set jax_enable_x64" in output


def test_missing_orbax_error_names_the_extra(run, tmp_path):
    script = """
    import sys
    from fifteen.experiments import MissingExtraError
    module = sys.modules.get("orbax.checkpoint")
    if INDEX == 1:
        sys.modules["orbax.checkpoint"] = None
    try:
        save({"a": spread(np.arange(4.0), P("x"))}, 1)
    except MissingExtraError as error:
        print(error)
    if module is not None:
        sys.modules["orbax.checkpoint"] = module
    else:
        sys.modules.pop("orbax.checkpoint", None)
    """
    for output in run(script):
        assert "needs orbax.checkpoint, which is not installed" in output
        assert "pip install 'fifteen[orbax]'" in output
    assert list(tmp_path.iterdir()) == []


def test_values_may_change_after_a_background_save_returns(run, tmp_path):
    script = """
    import functools
    @functools.partial(jax.jit, donate_argnums=0)
    def train(tree):
        return jax.tree.map(lambda leaf: leaf * 2 + 1, tree)
    big = np.random.default_rng(0).normal(size=(1024, 512)).astype(np.float32)
    for step in range(1, 4):
        tree = {"w": spread(big + step, P("x")), "r": spread(big[:4] + step, P())}
        host = big[:8] + step
        save({**tree, "host": host}, step, blocking=False)
        tree = train(tree)
        host[:] = 0
    checkpoints.wait()
    for step in range(1, 4):
        tree = {"w": spread(big + step, P("x")), "r": spread(big[:4] + step, P()), "host": big[:8] + step}
        assert_same(restore(jax.tree.map(lambda leaf: leaf * 0, tree), step), tree)
    """
    run(script)


@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)"])
def test_exit_without_close_neither_hangs_nor_loses_data(tmp_path, ending):
    script = f"""
    tree = {{"w": spread(np.ones((2048, 2048), np.float32), P("x")), "n": np.arange(10)}}
    save(tree, 1)
    save(tree, 2, blocking=False)
    {ending}
    """
    distributed_processes.run(ALONE + textwrap.dedent(script), tmp_path, 2)
    restored, _ = Checkpoints(tmp_path).restore(None, None, "checkpoint_", False, False)
    assert Checkpoints(tmp_path).steps("checkpoint_") == [1, 2]
    np.testing.assert_array_equal(restored["w"], np.ones((2048, 2048)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_1", "checkpoint_2"]


def test_orbax_prints_nothing(tmp_path):
    script = ALONE + textwrap.dedent("""
    import logging
    logging.basicConfig(level=logging.INFO)
    save({"w": spread(np.ones(8), P("x"))}, 1)
    save({"w": spread(np.ones(8), P("x"))}, 2, blocking=False)
    checkpoints.wait()
    restore({"w": spread(np.ones(8), P("x"))})
    """)
    processes = distributed_processes.start(script, tmp_path, 2)
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert "orbax" not in errors.lower()
        assert "warn" not in errors.lower()


@pytest.mark.filterwarnings("ignore")  # Warnings of flax and Orbax.
def test_flax_and_orbax_restore_it(run, tmp_path):
    script = """
    import optax
    params = {"dense": {"kernel": spread(np.arange(32.0, dtype=np.float32).reshape(8, 4), P("x")),
                        "bias": spread(np.arange(4, dtype=np.float32), P())}}
    save({"params": params, "opt_state": optax.adam(1e-3).init(params), "step": 7,
          "name": "run", "list": [np.arange(3), 2.5]}, 3)
    """
    run(script)
    import optax
    import orbax.checkpoint as ocp
    from flax.training import checkpoints as flax_checkpoints
    from orbax.checkpoint.experimental import v1

    params = {"dense": {"kernel": jnp.zeros((8, 4)), "bias": jnp.zeros(4)}}
    target = {
        "params": params,
        "opt_state": optax.adam(1e-3).init(params),
        "step": 0,
        "name": "",
        "list": [np.zeros(3, int), 0.0],
    }
    found = flax_checkpoints.restore_checkpoint(tmp_path, target)
    kernel = np.arange(32.0).reshape(8, 4)
    np.testing.assert_array_equal(found["params"]["dense"]["kernel"], kernel)
    assert found["step"] == 7
    assert found["name"] == "run"
    np.testing.assert_array_equal(found["list"][0], np.arange(3))
    directory = tmp_path / "checkpoint_3"
    with ocp.PyTreeCheckpointer() as checkpointer:
        arguments = ocp.checkpoint_utils.construct_restore_args(target)
        restored = checkpointer.restore(directory, item=target, restore_args=arguments)
        np.testing.assert_array_equal(restored["params"]["dense"]["kernel"], kernel)
    local = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: (
            jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=local)
            if isinstance(leaf, jax.Array)
            else leaf
        ),
        target,
    )
    loaded = v1.load(directory, abstract)
    np.testing.assert_array_equal(loaded["params"]["dense"]["kernel"], kernel)
    assert jax.tree.structure(found) == jax.tree.structure(target)


def test_arrays_are_stored_uncompressed(run, tmp_path):
    run('save({"w": spread(np.zeros((512, 512), np.float32), P("x"))}, 1)')
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size > 512 * 512 * 4
