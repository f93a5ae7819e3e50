"""`partial=True` restores the common leaves and reports the others."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fifteen.experiments import CheckpointMismatchError, ExperimentWarning


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def failing(handle, target, **options):
    with pytest.raises(CheckpointMismatchError) as caught:
        handle.restore(target, partial=True, **options)
    return str(caught.value)


def warned(handle, target, **options):
    with pytest.warns(ExperimentWarning) as caught:
        restored = handle.restore(target, partial=True, **options)
    assert len(caught) == 1
    return restored, str(caught[0].message)


def test_partial_restores_common_leaves_and_lists_the_rest(handle):
    handle.save({"w": ones(2), "old": ones(3), "n": 7})
    target = {"w": np.zeros(2, np.float32), "new": np.zeros(1), "n": 0}
    restored, text = warned(handle, target)
    np.testing.assert_array_equal(restored["w"], ones(2))
    assert restored["new"] is target["new"]
    assert restored["n"] == 7
    assert "new: missing in checkpoint_1; the target has float64[1]" in text
    assert "old: unexpected in checkpoint_1, as float32[3]" in text


def test_partial_without_a_difference_does_not_warn(handle):
    handle.save({"w": 1})
    assert handle.restore({"w": 0}, partial=True) == {"w": 1}


@pytest.mark.parametrize("strict", [False, True])
def test_partial_without_a_common_leaf_is_an_error(handle, strict):
    handle.save({"model": {"w": ones(2)}})
    text = failing(handle, {"params": {"w": ones(2)}}, strict=strict)
    assert "checkpoint_1.safetensors has no leaf in common with the target:" in text
    assert "params/w: missing in checkpoint_1; the target has float32[2]" in text
    assert "model/w: unexpected in checkpoint_1" in text


@pytest.mark.parametrize(("saved", "target"), [({}, {"w": 1}), ({"w": 1}, {})])
def test_partial_with_an_empty_side_is_an_error(handle, saved, target):
    handle.save(saved)
    assert "no leaf in common" in failing(handle, target)


def test_partial_of_two_empty_trees_is_allowed(handle):
    handle.save({})
    assert handle.restore({}, partial=True) == {}


def test_strict_partial_keeps_the_targets_differing_leaves(handle):
    handle.save({"body": ones(4), "head": ones(4, 10), "half": ones(2), "name": "a"}, 7)
    target = {
        "body": jnp.zeros(4),
        "head": jnp.zeros((4, 3)),
        "half": jnp.zeros(2, jnp.bfloat16),
        "name": 3,
        "new": 5,
    }
    restored, text = warned(handle, target, strict=True)
    np.testing.assert_array_equal(restored["body"], ones(4))
    for name in ("head", "half", "name", "new"):
        assert restored[name] is target[name]
    assert text.splitlines()[1:] == [
        "  new: missing in checkpoint_7; the target has int[]",
        "  half: target has dtype bfloat16, checkpoint_7 has float32; kept the target's",
        "  head: target has shape (4, 3), checkpoint_7 has (4, 10); kept the target's",
        "  name: target has dtype int, checkpoint_7 has str; kept the target's",
    ]


def test_strict_partial_fails_if_all_leaves_differ(handle):
    handle.save({"w": ones(2)})
    text = failing(handle, {"w": ones(3)}, strict=True)
    assert "no leaf in common" in text
    assert "w: target has shape (3,), checkpoint_1 has (2,); pass strict=False to take" in text


def test_shifted_list_item_is_named(handle):
    params = {"w": jnp.ones(3)}
    adam, schedule = optax.scale_by_adam(), optax.scale_by_schedule(lambda count: 0.1)
    state = optax.chain(adam, schedule).init(params)
    handle.save({"params": params, "moments": state})
    target = {
        "params": params,
        "moments": optax.chain(optax.clip(1.0), adam, schedule).init(params),
    }
    _, text = warned(handle, target)
    assert text.splitlines()[1] == (
        "  moments/1: it holds count in checkpoint_1, and count, mu/w, nu/w in the target; items "
        "are found by their number, so it may have another's values"
    )


def test_list_of_another_length_is_named(handle):
    handle.save({"net": {"layers": [{"w": ones(2)}]}, "n": 1})
    target = {"net": {"layers": [{"w": ones(2)} for _ in range(3)]}, "n": 1}
    _, text = warned(handle, target)
    assert text.splitlines()[1] == (
        "  net/layers: 1 item in checkpoint_1, 3 in the target; items are found by their number, "
        "so some may have another's values"
    )


def test_items_are_not_mentioned_if_none_is_restored(handle):
    handle.save({"a": 1, "list": [ones(2), ones(2)]})
    _, text = warned(handle, {"a": 0, "list": {"0": {"x": 1}}})
    assert "items are found" not in text
