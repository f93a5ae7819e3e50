"""A handle with the public defaults, and exact comparison."""

import jax
import numpy as np
import pytest

from fifteen.experiments.checkpoints import Checkpoints, Retention


class Handle:
    """`Checkpoints` with the defaults that `Experiment` gives its parameters."""

    def __init__(self, directory):
        self.directory = directory
        self.checkpoints = Checkpoints(directory)

    def save(
        self,
        target,
        step=1,
        prefix="checkpoint_",
        keep=1,
        overwrite=False,
        keep_every_n_steps=None,
        blocking=True,
    ):
        def retention():
            return Retention(keep, overwrite, keep_every_n_steps)

        return self.checkpoints.save(target, step, prefix, retention, blocking)

    def restore(self, target, step=None, prefix="checkpoint_", strict=False, partial=False):
        return self.checkpoints.restore(target, step, prefix, strict, partial)[0]

    def steps(self, prefix="checkpoint_"):
        return self.checkpoints.steps(prefix)

    def leaves(self, step=None, prefix="checkpoint_"):
        return self.checkpoints.leaves(step, prefix)

    def names(self):
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def handle(tmp_path):
    made = Handle(tmp_path / "run")
    yield made
    made.checkpoints.wait()


@pytest.fixture(scope="session")
def new_handle():
    return Handle


def _bits(leaf):
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(leaf.dtype), leaf.shape, np.asarray(jax.random.key_data(leaf)).tobytes()
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()
    if isinstance(leaf, float):
        return np.float64(leaf).tobytes()
    if isinstance(leaf, complex):
        return np.complex128(leaf).tobytes()
    return leaf


def _assert_same(found, expected):
    """Assert that two pytrees are equal in structure, types, placement and bits."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True)
    for (path, one), other in pairs:
        where = jax.tree_util.keystr(path)
        is_array = isinstance(other, jax.Array)
        assert isinstance(one, jax.Array) if is_array else type(one) is type(other), where
        assert _bits(one) == _bits(other), where
        if is_array:
            assert one.sharding == other.sharding, where
            assert one.committed == other.committed, where
            weak_types = [getattr(array, "weak_type", None) for array in (one, other)]
            assert weak_types[0] == weak_types[1], where


@pytest.fixture(scope="session")
def assert_same():
    return _assert_same
