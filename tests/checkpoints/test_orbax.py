"""Directories of the current Orbax, written by one process, intact and damaged."""

import json
import re
import shutil
import subprocess
import sys
import uuid

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from fifteen.experiments import (
    CheckpointDamagedError,
    CheckpointError,
    CheckpointMismatchError,
    Experiment,
    ExperimentWarning,
    MissingExtraError,
)


def tree():
    return {
        "params": {"w": jnp.arange(12.0).reshape(3, 4), "b": jnp.ones(4, jnp.bfloat16)},
        "list": [jnp.zeros(2), np.arange(3)],
        "step": 7,
        "name": "run",
        "none": None,
        "key": jax.random.key(3),
    }


@pytest.fixture
def saved(handle):
    handle.directory.mkdir()
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(handle.directory / "checkpoint_3", tree())
    return handle


def test_orbax_checkpoint_is_restored_exactly(saved, assert_same):
    blank = jax.tree.map(lambda leaf: leaf, tree()) | {
        "params": {"w": jnp.zeros((3, 4)), "b": jnp.zeros(4, jnp.bfloat16)}
    }
    assert_same(saved.restore(blank, strict=True), tree())
    assert str(saved.leaves()["params/b"]) == "bfloat16[4]"
    assert saved.restore(None)["list"][1].tolist() == [0, 1, 2]


def test_restored_dtypes_are_the_stored_ones(saved):
    target = tree() | {"params": {"w": jnp.zeros((3, 4), jnp.bfloat16), "b": jnp.zeros((2, 2))}}
    with pytest.raises(CheckpointMismatchError, match="params/w: target has dtype bfloat16"):
        saved.restore(target, strict=True)
    with pytest.warns(ExperimentWarning, match="params/b: target has shape"):
        found = saved.restore(target)
    assert found["params"]["w"].dtype == jnp.float32
    assert found["params"]["b"].shape == (4,)


def test_restore_recompiles_nothing(saved):
    mesh = Mesh(np.array(jax.devices()[:4]), ("x",))
    sharded = jax.device_put(jnp.zeros((3, 4)), NamedSharding(mesh, P(None, "x")))
    target = {"params": {"w": sharded, "b": jnp.zeros(4, jnp.bfloat16)}}

    @jax.jit
    def train(state):
        return jax.tree.map(lambda leaf: leaf * 2, state)

    train(target)
    with pytest.warns(ExperimentWarning):
        found = saved.restore(target, partial=True)
    train(found)
    assert train._cache_size() == 1
    assert found["params"]["w"].sharding == sharded.sharding
    assert not found["params"]["b"].committed


def test_only_requested_leaves_are_read(saved):
    shutil.rmtree(saved.directory / "checkpoint_3")
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)) as checkpointer:
        checkpointer.save(saved.directory / "checkpoint_3", {"a": np.ones(3), "b": np.ones(3)})
    (saved.directory / "checkpoint_3" / "b" / "0").write_bytes(b"damaged")
    with pytest.warns(ExperimentWarning, match="unexpected"):
        found = saved.restore({"a": np.zeros(3)}, partial=True)
    np.testing.assert_array_equal(found["a"], np.ones(3))
    with pytest.raises(CheckpointDamagedError, match="checkpoint_3: b: "):
        saved.restore(None)


@pytest.mark.parametrize("name", ["manifest.ocdbt", "_METADATA", "_strings.json"])
def test_missing_or_truncated_file_is_reported(saved, name):
    path = saved.directory / "checkpoint_3" / name
    content = path.read_bytes()
    for damage in (content[: len(content) // 2], b"", None):
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
        with pytest.raises(CheckpointDamagedError, match="checkpoint_3: "):
            saved.restore(None)
    path.write_bytes(content)
    saved.restore(None)


def test_keys_of_an_unregistered_implementation_are_refused(saved):
    found = list(saved.directory.glob("checkpoint_3/array_metadatas/*"))
    for path in found:
        path.write_text(path.read_text().replace("threefry2x32", "mine"))
    assert "mine" in "".join(path.read_text() for path in found)
    with pytest.raises(CheckpointError, match=r"checkpoint_3: key: .*'mine'.*JAX does not know"):
        saved.restore(None)


def test_missing_arrays_are_reported(saved):
    for path in saved.directory.glob("checkpoint_3/**/d/*"):
        path.unlink()
    with pytest.raises(CheckpointDamagedError, match="there is no other one that opens"):
        saved.restore(None)


@pytest.mark.parametrize("zarr3", [False, True])
def test_missing_chunk_is_not_read_as_zeros(handle, zarr3):
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=zarr3)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(handle.directory / "checkpoint_3", {"w": np.ones(3), "z": np.zeros(3)})
    assert handle.restore(None)["z"].tolist() == [0, 0, 0]
    (chunk,) = handle.directory.glob("checkpoint_3/w/**/0")
    chunk.unlink()
    with pytest.raises(CheckpointDamagedError, match=r"checkpoint_3: w: .*missing"):
        handle.restore({"w": np.zeros(3), "z": np.ones(3)})
    # Older Orbax omits chunks of zeros, and does not mark them.
    description = handle.directory / "checkpoint_3" / "_METADATA"
    key = '"store_array_data_equal_to_fill_value": true'
    assert key in description.read_text()
    description.write_text(description.read_text().replace(key, key.replace("true", "false")))
    assert handle.restore(None)["w"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("ocdbt", [False, True])
def test_leaves_overwritten_by_orbax_are_reported(handle, ocdbt):
    x, y, z = np.zeros(3), np.ones(3), np.full(3, 2)
    tree = {"a.b": x, "a": {"b": y}, "z": z, "t.u": "text", "t": {"u": "other"}, "s.v": "text",
            "s": {"v": z}, "e.f": {}, "e": {"f": z}}  # fmt: skip
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt)) as checkpointer:
        checkpointer.save(handle.directory / "checkpoint_3", tree)
    lost = r"checkpoint_3: .*partial=True.*\n  a\.b\n  a/b\n  t\.u\n  t/u; restore another"
    with pytest.raises(CheckpointDamagedError, match=lost):
        handle.restore(None)
    for target in ({"a.b": x}, {"a": {"b": y}}):
        with pytest.raises(CheckpointDamagedError, match=lost):
            handle.restore(target, partial=True)
    with pytest.warns(ExperimentWarning, match="unexpected"):
        found = handle.restore({"z": x, "s.v": "", "s": {"v": x}, "e": {"f": x}}, partial=True)
    assert found["s.v"] == "text"
    for leaf in (found["z"], found["s"]["v"], found["e"]["f"]):
        np.testing.assert_array_equal(leaf, z)


def test_texts_under_keys_with_slashes(handle):
    tree = {"a/b": "one", "a": {"x/": "two"}, "c~0d": "three", "e": ["four"], "w": np.arange(3)}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save(handle.directory / "checkpoint_3", tree)
    found = handle.restore(None)
    assert found.pop("w").tolist() == [0, 1, 2]
    assert found == {"a/b": "one", "a": {"x/": "two"}, "c~0d": "three", "e": ["four"]}
    (handle.directory / "checkpoint_3" / "_strings.json").write_text('{"a":{"b":"one"}}')
    missing = r"checkpoint_3: .*expected a string in _strings\.json under 'a.x/', found none"
    with pytest.raises(CheckpointDamagedError, match=missing):
        handle.restore(None)


def test_directory_of_other_origin_is_reported(handle):
    (handle.directory / "checkpoint_3" / "images").mkdir(parents=True)
    assert handle.steps() == []
    with pytest.raises(CheckpointDamagedError, match="Orbax did not write"):
        handle.restore(None, 3)


def test_directory_of_several_items_error_says_how_to_restore_one(handle):
    for item in ("one", "two"):
        with ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(handle.directory / "checkpoint_4" / item, {"a": np.ones(3)})
    with pytest.raises(CheckpointError, match="several items in it: one, two; link") as caught:
        handle.restore(None)
    assert not isinstance(caught.value, CheckpointDamagedError)
    command = re.search(r"ln -s \S+ \S+", str(caught.value))
    subprocess.run(command[0].split(), check=True)
    np.testing.assert_array_equal(handle.restore(None, prefix="one_")["a"], np.ones(3))


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"tree_metadata": []},
        {"tree_metadata": {"('a',)": {"key_metadata": [{"key": "a"}]}}},
        {"tree_metadata": {"a": {"key_metadata": [{"key": "a", "key_type": "x"}]}}},
        [],
    ],
)
def test_invalid_description_is_reported(saved, description):
    path = saved.directory / "checkpoint_3" / "_METADATA"
    path.write_text(json.dumps(description))
    with pytest.raises(CheckpointDamagedError, match="checkpoint_3: "):
        saved.restore(None)


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        (["params", "w", "x"], "its structure is invalid"),
        (["params"], "its structure is invalid"),
        (["list", "x"], "its structure is invalid"),
        (["a"] * 10_000, "nested too deeply to be read from here"),
    ],
    ids=["below a leaf", "above a leaf", "in a list", "deep"],
)
def test_invalid_tree_is_reported(saved, parts, problem):
    path = saved.directory / "checkpoint_3" / "_METADATA"
    described = json.loads(path.read_text())
    key_type = 1 if parts[0] == "list" else 2
    described["tree_metadata"]["other"] = {
        "key_metadata": [{"key": part, "key_type": key_type} for part in parts],
        "value_metadata": {"value_type": "None"},
    }
    path.write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=f"checkpoint_3: {problem}"):
        saved.restore(None)
    path.write_text("[" * 100_000)
    with pytest.raises(CheckpointDamagedError, match="checkpoint_3: its description"):
        saved.restore(None)


def test_missing_tensorstore_error_names_the_extra(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(MissingExtraError, match=r"fifteen\[orbax\]"):
        saved.restore(None)


def test_directory_at_an_address_error_says_to_move_it(saved):
    path = saved.directory
    moved = Experiment(path, verbose=False).move(f"memory://{uuid.uuid4().hex}/run")
    for read in (moved.checkpoint_leaves, lambda: moved.restore_checkpoint(None)):
        with pytest.raises(CheckpointError, match=r"checkpoint_3: Orbax.* move .* to a disk"):
            read()
    assert moved.move(path).restore_checkpoint(None)["step"] == 7


def test_directory_is_replaced_by_a_file_of_the_same_step(saved):
    saved.save({"a": 1}, step=3, overwrite=True)
    assert saved.names() == ["checkpoint_3.safetensors"]


@pytest.mark.parametrize(
    "content", ["", "{}", '{"version": 2}', "[1]", '{"version": 1, "leaves": [["a"]]}']
)
def test_damaged_description_of_ours_is_reported(saved, content):
    (saved.directory / "checkpoint_3" / "fifteen.json").write_text(content)
    with pytest.raises(CheckpointDamagedError, match=r"fifteen\.json is not a description that"):
        saved.restore(None)


def describe(handle, *leaves, structure="0"):
    """Write our description of an Orbax directory, in its version without a checksum."""
    content = {"version": 1, "leaves": leaves, "structure": structure}
    (handle.directory / "checkpoint_3" / "fifteen.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("leaf", "text"),
    [
        (["w", "params.w", "float32", [4, 3], None], r"w: .*float32\[4,3\].*float32\[3,4\]"),
        (["w", "params.w", "int32", [3, 4], None], r"w: .*int32\[3,4\].*float32\[3,4\]"),
        (
            ["w", "params.w", "float8_e4m3", [3, 4], {"bits": "float8_e4m3"}],
            r"w: .*e4m3\[3,4\].*float32\[3,4\]",
        ),
        (
            ["w", "params.w", "int", [], {"scalar": "int"}],
            r"w: .*can only convert an array of size 1",
        ),
        (
            ["w", "key", "key<fry>", [3], {"key": "threefry2x32"}],
            r"w: .*key<fry>\[3\].*uint32\[2\]",
        ),
        (
            ["w", "params.w", "float128", [3], {"dtype": "float128"}],
            r"w: .*float128\[3\].*float32\[3,4\]",
        ),
        (["w", "key", "key<fry>", [2], None], r"w: .*'key<fry>'"),
        (["w", None, "int8", [9, 9], {"empty": "int8"}], r"w: .*\(9, 9\)"),
        (["w", "params.w", "float99", [3, 4], None], r"w: .*'float99'"),
        (["w", "params.w", "99999999999i4", [3, 4], None], r"w: "),
        (["w", "params.w", 3, [3, 4], None], r"fifteen\.json .*w: .* leaf, .*3"),
        (["w", "params.w", "float32", ["3", 4], None], r"fifteen\.json .*'str'"),
        (["w", "params.w", "float32", 12, None], r"fifteen\.json .*'int'"),
        (["w", 7, "float32", [3, 4], None], r"fifteen\.json .*w: .* leaf, .*7"),
        (["w", "params.w", "float32", [3, 4], "bits"], r"fifteen\.json .*w: .*'bits'"),
        (["w", "text", "str", [], None], r"w: .*_strings\.json"),
    ],
)
def test_leaf_contradicting_our_description_is_reported(saved, leaf, text):
    describe(saved, leaf)
    with pytest.raises(CheckpointDamagedError, match=f"checkpoint_3: {text}"):
        saved.restore(None)


def test_missing_text_is_reported(saved):
    describe(saved, ["name", "name", "str", [], None])
    assert saved.restore({"name": ""}) == {"name": "run"}
    texts = saved.directory / "checkpoint_3" / "_strings.json"
    for content in ("{}", "[]", '{"name": 3}', "{", None):
        texts.unlink() if content is None else texts.write_text(content)
        with pytest.raises(CheckpointDamagedError, match=r"checkpoint_3: name: .*_strings\.json"):
            saved.restore({"name": ""})


@pytest.mark.parametrize("structure", ["1", '{"a":"{\\"x\\":0}"}', '"["', "1.5", "[" * 100_000])
def test_invalid_structure_is_reported(saved, structure):
    describe(saved, ["w", "params.w", "float32", [3, 4], None], structure=structure)
    with pytest.raises(CheckpointDamagedError, match="checkpoint_3: "):
        saved.restore(None)
