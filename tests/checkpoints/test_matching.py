"""Differences between a checkpoint and a target: reports and results."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fifteen.experiments import CheckpointMismatchError, ExperimentWarning


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def failing(handle, target, **options):
    with pytest.raises(CheckpointMismatchError) as caught:
        handle.restore(target, **options)
    return str(caught.value)


def warned(handle, target, **options):
    with pytest.warns(ExperimentWarning) as caught:
        restored = handle.restore(target, **options)
    assert len(caught) == 1
    return restored, str(caught[0].message)


def test_all_missing_and_unexpected_leaves_are_listed(handle):
    handle.save({"params": {"w": ones(3, 4), "b": ones(4)}, "count": 3})
    target = {"params": {"weights": ones(7), "b": ones(4)}, "lr": 0.1, "note": "x"}
    assert failing(handle, target).splitlines() == [
        f"{handle.directory}/checkpoint_1.safetensors does not fit the target; "
        "pass partial=True to restore what both have:",
        "  lr: missing in checkpoint_1; the target has float[]",
        "  note: missing in checkpoint_1; the target has str[]",
        "  params/weights: missing in checkpoint_1; the target has float32[7]",
        "  count: unexpected in checkpoint_1, as int[]; the target has none",
        "  params/w: unexpected in checkpoint_1, as float32[3,4]; the target has none",
    ]


def test_likely_renames_are_suggested(handle):
    handle.save({"encoder": {"kernel": ones(3, 4), "bias": ones(4)}, "decoder": ones(5)})
    text = failing(
        handle, {"encoder": {"kernels": ones(3, 4), "biases": ones(4)}, "decoder": ones(5)}
    )
    assert (
        "encoder/kernels: missing in checkpoint_1; the target has float32[3,4]; did you mean its encoder/kernel?"
        in text
    )
    assert "did you mean its encoder/bias?" in text


def test_different_structures_are_always_an_error(handle):
    handle.save({"a": [ones(1), ones(2)]})
    for strict in (False, True):
        assert "a: missing" in failing(handle, {"a": ones(1)}, strict=strict)
        assert "a/1: unexpected" in failing(handle, {"a": [ones(1)]}, strict=strict)
        assert "a/2: missing" in failing(handle, {"a": [ones(1), ones(2), ones(3)]}, strict=strict)


def test_different_shapes_and_dtypes_are_restored_with_one_warning(handle):
    saved = {"w": ones(3, 4), "b": ones(4, dtype=np.float16), "same": ones(2)}
    handle.save(saved, 300)
    restored, text = warned(handle, {"w": ones(5, 7), "b": ones(4), "same": ones(2)})
    assert restored["w"].shape == (3, 4)
    assert restored["b"].dtype == np.float16
    assert text.splitlines() == [
        f"{handle.directory}/checkpoint_300.safetensors was restored, "
        "and does not fit the target everywhere:",
        "  b: target has dtype float32, checkpoint_300 has float16; took the checkpoint's; "
        "strict=True makes this an error",
        "  w: target has shape (5, 7), checkpoint_300 has (3, 4); took the checkpoint's; "
        "strict=True makes this an error",
    ]


def test_strict_refuses_different_shapes_and_dtypes(handle):
    handle.save({"w": ones(3, 4), "b": ones(4, dtype=np.float16)}, 300)
    text = failing(handle, {"w": ones(5, 7), "b": ones(4)}, strict=True)
    assert (
        "  w: target has shape (5, 7), checkpoint_300 has (3, 4); "
        "pass strict=False to take the checkpoint's" in text
    )
    assert "  b: target has dtype float32, checkpoint_300 has float16; pass strict=False" in text


def test_warning_points_at_the_call(tmp_path):
    from fifteen.experiments import Experiment

    experiment = Experiment(tmp_path, verbose=True)
    experiment.save_checkpoint({"w": ones(2)}, 1)
    with pytest.warns(ExperimentWarning) as caught:
        experiment.restore_checkpoint({"w": ones(3)})
    assert caught[0].filename == __file__


def test_long_lists_are_truncated_with_a_count(handle):
    handle.save({f"a{number:04}": number for number in range(1000)})
    lines = failing(handle, {f"b{number:04}": ones(2) for number in range(1000)}).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "  and 1981 more of 2000"


def test_text_never_becomes_a_number(handle):
    handle.save({"a": "text", "b": 1, "k": jax.random.key(0), "ok": 1})
    text = failing(handle, {"a": 1, "b": "text", "k": ones(2, dtype=np.uint32), "ok": 1})
    assert "a: target has dtype int, checkpoint_1 has str; change the target's leaf" in text
    assert "b: target has dtype str, checkpoint_1 has int; change the target's leaf" in text
    assert "k: target has" in text
    assert "ok:" not in text


def test_legacy_and_typed_keys_are_distinguished(handle):
    handle.save({"old": jax.random.PRNGKey(0), "typed": jax.random.key(0)})
    text = failing(handle, {"old": jax.random.key(0), "typed": jax.random.PRNGKey(0)})
    assert "old: target has key<fry>[], checkpoint_1 has uint32[2]; " in text
    assert "jax.random.wrap_key_data" in text
    assert "typed: target has uint32[2], checkpoint_1 has key<fry>[]; " in text
    assert "jax.random.key_data" in text
    assert "pass strict" not in text


def test_other_key_implementation_is_a_dtype_difference(handle):
    handle.save(jax.random.key(0, impl="rbg"))
    _, text = warned(handle, jax.random.key(0))
    assert "~: target has dtype key<fry>, checkpoint_1 has key<rbg>" in text


@pytest.mark.parametrize(
    ("saved", "target"),
    [
        (3, jnp.asarray(0)),
        (jnp.asarray(3), 0),
        (np.int64(3), 0),
        (3, np.int64(0)),
        (2.5, jnp.asarray(0.0)),
        (np.float32(2.5), 0.0),
        (jnp.asarray(2.5, jnp.bfloat16), 0.0),
        (True, jnp.asarray(False)),
        (jnp.asarray(True), False),
        (1 + 2j, np.complex64(0)),
        (np.asarray(3), jnp.asarray(0, jnp.int32)),
    ],
)
def test_python_numbers_and_scalar_arrays_are_interchangeable(handle, saved, target):
    handle.save({"x": saved})
    if isinstance(saved, np.ndarray):
        restored, _ = warned(handle, {"x": target})
    else:
        restored = handle.restore({"x": target}, strict=True)
    assert restored["x"] == saved
    if not isinstance(target, jax.Array):
        assert type(restored["x"]) is type(target)
    else:
        assert isinstance(restored["x"], jax.Array)


def test_int_does_not_match_float(handle):
    handle.save({"x": 3})
    restored, text = warned(handle, {"x": 0.5})
    assert restored == {"x": 3}
    assert "x: target has dtype float, checkpoint_1 has int" in text


def test_none_and_empty_containers_have_no_leaves(handle, assert_same):
    tree = {"a": None, "b": {}, "c": [], "d": (), "e": 1}
    handle.save(tree)
    assert_same(handle.restore(tree), tree)
    assert handle.restore({"a": {}, "e": 0}) == {"a": {}, "e": 1}
    assert handle.restore(None) == {"a": None, "b": {}, "c": [], "d": [], "e": 1}


@pytest.mark.parametrize("tree", [{}, [], (), {"a": {}}])
def test_pytrees_without_leaves(handle, assert_same, tree):
    handle.save(tree)
    assert_same(handle.restore(tree), tree)


def test_matching_leaves_cause_no_warning(handle):
    tree = {"w": jnp.ones(3), "n": 1, "v": ones(2)}
    handle.save(tree)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        handle.restore(tree, strict=True)


def test_target_is_not_changed(handle):
    target = {"w": np.zeros(3), "v": [1, {"x": np.zeros(2)}]}
    handle.save({"w": np.ones(3), "v": [2, {"x": np.ones(2)}]})
    restored = handle.restore(target)
    assert target["w"].sum() == 0
    assert target["v"][0] == 1
    assert target["v"][1]["x"].sum() == 0
    assert restored["v"][0] == 2
    restored["w"][0] = 5
    assert handle.restore(target)["w"][0] == 1


def test_control_characters_in_names_are_escaped(handle):
    handle.save({"a\nb": 1, "c\x1b[2J": ones(2)})
    lines = failing(handle, {"a\nb": 1, "c\x1b[2J": ones(3)}, strict=True).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(r"  c\x1b[2J: target has shape (3,)")
    text = failing(handle, {"a\nb": 1})
    assert r"c\x1b[2J: unexpected" in text


def test_long_names_are_truncated(handle):
    handle.save({f"a{number:04}" * 300: 1 for number in range(200)})
    text = failing(handle, {f"b{number:04}" * 300: 1 for number in range(200)})
    assert len(text) < 10_000
    first = text.splitlines()[1]
    assert first.startswith("  b0000b0000")
    assert first.endswith("0000: missing in checkpoint_1; the target has int[]")
