"""Random pytrees round-trip."""

import contextlib
import pathlib
import tempfile
import warnings

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fifteen.experiments import CheckpointMismatchError, ExperimentWarning

dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="="),
    hnp.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="=", sizes=(64, 128)),
    hnp.unicode_string_dtypes(endianness="="),
    hnp.byte_string_dtypes(endianness="="),
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
device_arrays = hnp.arrays(
    st.sampled_from(["f4", "i4", "u1", "?", "c8", "f2"]),
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
).map(jnp.asarray)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(),
    st.binary(), arrays, arrays.map(lambda array: array.T), device_arrays,
    st.integers(0, 2**31).map(jax.random.key), st.sampled_from([np.float16(1), np.int8(-1)]),
)  # fmt: skip
trees = st.recursive(
    leaves,
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.lists(children, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), children, max_size=4),
        st.dictionaries(st.integers(), children, max_size=4),
    ),
    max_leaves=12,
)


@hypothesis.given(trees, st.booleans())
def test_any_pytree_round_trips(new_handle, assert_same, tree, blocking):
    with tempfile.TemporaryDirectory() as directory:
        handle = new_handle(pathlib.Path(directory))
        handle.save(tree, blocking=blocking)
        assert_same(handle.restore(tree, strict=True), tree)
        untargeted = handle.restore(None)
        assert len(jax.tree.leaves(untargeted)) == len(jax.tree.leaves(tree))
        for one, other in zip(jax.tree.leaves(untargeted), jax.tree.leaves(tree), strict=False):
            if isinstance(other, int | str | bytes):
                assert isinstance(one, type(other))


@pytest.mark.slow
@hypothesis.given(trees, trees.filter(lambda tree: tree is not None))
def test_any_other_target_is_restored_or_refused(new_handle, tree, target):
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentWarning)
        handle = new_handle(pathlib.Path(directory))
        handle.save(tree)
        for partial in (False, True):
            with contextlib.suppress(CheckpointMismatchError):
                restored = handle.restore(target, partial=partial)
                assert jax.tree.structure(restored) == jax.tree.structure(target)
