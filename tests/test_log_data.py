"""TensorboardLogData: a pytree that carries log data out of transformed functions."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from fifteen.experiments import LogDataError, TensorboardLogData


def make(loss, weights=None):
    return TensorboardLogData(
        scalars={"loss": loss},
        histograms={} if weights is None else {"weights": weights},
    )


def test_defaults_are_empty_and_not_shared():
    first, second = TensorboardLogData(), TensorboardLogData()
    assert first.scalars == {}
    assert first.histograms == {}
    assert first.scalars is not second.scalars


def test_is_frozen():
    with pytest.raises(AttributeError, match="scalars"):
        TensorboardLogData().scalars = {}


class TestPytree:
    def test_leaves_have_a_stable_order_and_readable_paths(self):
        one = TensorboardLogData(scalars={"b": 1.0, "a": 2.0}, histograms={"h": np.zeros(2)})
        other = TensorboardLogData(scalars={"a": 2.0, "b": 1.0}, histograms={"h": np.zeros(2)})
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(one)]
        assert paths == [".scalars['a']", ".scalars['b']", ".histograms['h']"]
        assert jax.tree.structure(one) == jax.tree.structure(other)

    def test_jit(self):
        result = jax.jit(lambda x: make(x * 2, jnp.arange(3)))(1.5)
        assert result.scalars["loss"] == 3
        assert result.histograms["weights"].tolist() == [0, 1, 2]

    def test_jit_traces_once_for_equal_structures(self):
        function = jax.jit(lambda log_data: log_data)
        function(make(1.0))
        function(make(2.0))
        assert function._cache_size() == 1

    def test_grad_aux(self):
        gradient, aux = jax.grad(lambda x: (x**2, make(x)), has_aux=True)(3.0)
        assert gradient == 6
        assert aux.scalars["loss"] == 3

    def test_vmap(self):
        assert jax.vmap(make)(jnp.arange(3.0)).scalars["loss"].tolist() == [0, 1, 2]

    def test_scan(self):
        _, stacked = jax.lax.scan(lambda carry, x: (carry + x, make(carry)), 0.0, jnp.ones(4))
        assert stacked.scalars["loss"].tolist() == [0, 1, 2, 3]

    def test_pmap(self):
        result = jax.pmap(lambda x: make(jax.lax.pmean(x, "d")), axis_name="d")(jnp.arange(8.0))
        assert result.scalars["loss"].shape == (8,)
        assert result.fix_sharded_scalars().scalars["loss"] == 3.5

    def test_shard_map(self):
        mesh = jax.make_mesh((8,), ("d",))
        spec = PartitionSpec("d")
        mapped = jax.jit(jax.shard_map(make, mesh=mesh, in_specs=spec, out_specs=spec))
        result = mapped(jax.device_put(np.arange(8.0) + 1, NamedSharding(mesh, spec)))
        assert result.fix_sharded_scalars().scalars["loss"] == 1

    def test_tree_map_and_pickle(self):
        doubled = jax.tree.map(lambda x: x * 2, make(2.0, np.ones(2)))
        assert doubled.scalars == {"loss": 4.0}
        again = pickle.loads(pickle.dumps(doubled))
        assert again.scalars == doubled.scalars
        np.testing.assert_array_equal(again.histograms["weights"], [2, 2])


class TestPrefix:
    def test_composes(self):
        prefixed = make(1.0, np.ones(1)).prefix("b/").prefix("a/")
        assert list(prefixed.scalars) == ["a/b/loss"]
        assert list(prefixed.histograms) == ["a/b/weights"]

    def test_does_not_change_the_original(self):
        original = make(1.0)
        original.prefix("a/")
        assert list(original.scalars) == ["loss"]


class TestMerge:
    def test_joins_both(self):
        left = TensorboardLogData(scalars={"a": 1.0}, histograms={"h": np.ones(1)})
        right = TensorboardLogData(scalars={"b": 2.0}, histograms={"g": np.ones(1)})
        merged = left.merge(right)
        assert merged.scalars == {"a": 1.0, "b": 2.0}
        assert sorted(merged.histograms) == ["g", "h"]

    def test_never_changes_its_inputs(self):
        left, right = make(1.0, np.ones(1)), TensorboardLogData(scalars={"b": 2.0})
        new_scalars, new_histograms = {"c": 3.0}, {"g": np.ones(1)}
        merged = left.merge(right).merge_scalars(new_scalars).merge_histograms(new_histograms)
        merged.scalars["later"] = 4.0
        merged.histograms["later"] = np.ones(1)
        assert left.scalars == {"loss": 1.0}
        assert list(left.histograms) == ["weights"]
        assert right.scalars == {"b": 2.0}
        assert new_scalars == {"c": 3.0}
        assert list(new_histograms) == ["g"]

    def test_result_of_one_side_is_not_shared(self):
        left = make(1.0, np.ones(1))
        left.merge_scalars({"b": 2.0}).histograms["later"] = np.ones(1)
        left.merge_histograms().scalars["later"] = 1.0
        assert list(left.histograms) == ["weights"]
        assert list(left.scalars) == ["loss"]

    def test_default_arguments(self):
        assert make(1.0).merge_scalars().merge_histograms().scalars == {"loss": 1.0}

    @pytest.mark.parametrize(
        "merge",
        [
            lambda data: data.merge(TensorboardLogData(scalars={"b": 1, "a": 2})),
            lambda data: data.merge_scalars({"b": 1, "a": 2}),
        ],
    )
    def test_duplicate_tags_are_named(self, merge):
        data = TensorboardLogData(scalars={"a": 1, "b": 2, "c": 3})
        with pytest.raises(LogDataError, match=r"scalars: on both sides of the merge: 'a', 'b'"):
            merge(data)

    def test_duplicate_histograms_are_named(self):
        with pytest.raises(LogDataError, match=r"histograms: .*'weights'"):
            make(1.0, np.ones(1)).merge_histograms({"weights": np.ones(1)})

    def test_one_name_may_be_a_scalar_and_a_histogram(self):
        merged = make(1.0).merge_histograms({"loss": np.ones(1)})
        assert list(merged.scalars) == list(merged.histograms) == ["loss"]

    @pytest.mark.parametrize(
        ("merge", "message"),
        [
            (lambda one: one.merge({"a": 1.0}), r"merge: .* found dict; merge_scalars\(\)"),
            (
                lambda one: one.merge_scalars(one),
                r"scalars: .* found TensorboardLogData; merge\(\)",
            ),
            (lambda one: one.merge_histograms([1.0]), "histograms: expected a Mapping, found list"),
        ],
    )
    def test_error_names_the_expected_type(self, merge, message):
        with pytest.raises(LogDataError, match=message):
            merge(TensorboardLogData({"b": 1.0}))


class TestFixShardedScalars:
    def test_keeps_replicated_scalars_and_histograms(self):
        zero_d, numpy_scalar, weights = jnp.float32(1), np.float64(2), jnp.ones(3)
        data = TensorboardLogData(
            scalars={"python": 0.5, "jax": zero_d, "numpy": numpy_scalar},
            histograms={"weights": weights},
        )
        fixed = data.fix_sharded_scalars()
        assert fixed.scalars["python"] == 0.5
        assert fixed.scalars["jax"] is zero_d
        assert fixed.scalars["numpy"] is numpy_scalar
        assert fixed.histograms["weights"] is weights

    @pytest.mark.parametrize("shape", [(1,), (8,), (2, 3), (8, 1, 1)])
    def test_takes_the_first_value(self, shape):
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 7
        for value in (values, jnp.asarray(values)):
            fixed = make(value).fix_sharded_scalars().scalars["loss"]
            assert np.shape(fixed) == ()
            assert fixed == 7

    def test_works_under_jit(self):
        fixed = jax.jit(lambda x: make(x).fix_sharded_scalars())(jnp.arange(4) + 2)
        assert fixed.scalars["loss"] == 2

    def test_keeps_the_dtype(self):
        fixed = make(jnp.ones(8, jnp.bfloat16)).fix_sharded_scalars()
        assert fixed.scalars["loss"].dtype == jnp.bfloat16

    def test_two_dimensional_mesh(self):
        mesh = jax.make_mesh((2, 4), ("a", "b"))
        values = np.arange(64.0).reshape(8, 8) + 5
        for axes in [("a", "b"), ("b",), (None, "a"), (("b", "a"),), ()]:
            sharded = jax.device_put(values, NamedSharding(mesh, PartitionSpec(*axes)))
            assert make(sharded).fix_sharded_scalars().scalars["loss"] == 5

    def test_reversed_devices(self):
        mesh = jax.sharding.Mesh(np.array(jax.devices()[::-1]), ("d",))
        sharded = jax.device_put(jnp.arange(8.0), NamedSharding(mesh, PartitionSpec("d")))
        assert make(sharded).fix_sharded_scalars().scalars["loss"] == 0

    def test_does_not_wait_for_the_device(self):
        matrix = jnp.eye(400)
        slow = (
            jax.jit(lambda x: jax.lax.fori_loop(0, 2000, lambda _, y: jnp.sin(y @ y), x)[:, 0])
            .lower(matrix)
            .compile()
        )
        result = slow(matrix)
        fixed = make(result).fix_sharded_scalars()
        still_running = not result.is_ready()
        assert fixed.scalars["loss"].shape == ()
        assert still_running, "the computation ended too early for this test to show anything"

    def test_empty_array_error_names_the_tag(self):
        with pytest.raises(LogDataError, match=r"scalars\['loss'\]: .*\(0, 3\)"):
            make(jnp.zeros((0, 3))).fix_sharded_scalars()
