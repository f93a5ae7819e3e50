"""Snapshots of arrays of any memory layout on any devices."""

import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fifteen.experiments.checkpoints import _host_copy


def content(value, copy=False):
    return b"".join(bytes(block) for block in _host_copy.snapshot(value, copy).blocks())


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_host_copy, "BLOCK_BYTES", 48)


shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@hypothesis.given(shapes, st.permutations(range(4)), st.sampled_from(["<i4", ">i4", "<c16"]))
def test_arrays_of_any_memory_layout(shape, axes, dtype):
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    turned = array.transpose([axis for axis in axes if axis < len(shape)])
    expected = turned.astype(turned.dtype.newbyteorder("<")).tobytes()
    assert content(turned) == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_host_copy, "BLOCK_BYTES", 48)
        assert content(turned) == expected


@pytest.mark.parametrize("dtype", ["g", "G"])
def test_extended_precision_of_any_byte_order(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    # NumPy treats both spellings as one dtype, so it caches results of one for the other.
    for value in (array, array.T, array.astype(f"<{dtype}"), array.astype(f">{dtype}")):
        found = np.frombuffer(content(value), dtype).reshape(value.shape)
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
    "axes", [(), ("a",), ("b",), (None, "a"), (None, "b", "a"), (("a", "b"),), ("b", None, "a")]
)
@pytest.mark.parametrize("own", [False, True])
def test_sharded_arrays(axes, own, small_blocks):
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("a", "b"))
    value = jnp.arange(8 * 16 * 4, dtype=jnp.float32).reshape(8, 16, 4)
    placed = jax.device_put(value, NamedSharding(mesh, PartitionSpec(*axes)))
    assert content(placed, own) == np.asarray(value).tobytes()


def test_arrays_on_the_cpu_are_not_copied():
    value = jnp.arange(1 << 16)
    (block,) = _host_copy.snapshot(value, copy=True).blocks()
    assert np.asarray(block).ctypes.data == value.unsafe_buffer_pointer()


DTYPES = ["float32", "int32", "uint8", "complex64", "float16", "bfloat16", "float8_e4m3fn"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_array_can_be_donated_after_its_bytes_are_released(dtype):
    double = jax.jit(lambda value: value + value, donate_argnums=0)
    value = jnp.zeros(1 << 16, dtype)
    pointer = value.unsafe_buffer_pointer()
    for block in _host_copy.snapshot(value, copy=False).blocks():
        bytes(block)
    del block
    assert double(value).unsafe_buffer_pointer() == pointer
    assert value.is_deleted()


@pytest.mark.parametrize("dtype", DTYPES)
def test_donated_array_keeps_its_bytes(dtype):
    double = jax.jit(lambda value: value + value, donate_argnums=0)
    value = jnp.arange(1 << 16).astype(dtype)
    expected = np.array(value).tobytes()
    pieces = _host_copy.snapshot(value, copy=True)
    double(value).block_until_ready()
    assert b"".join(pieces.blocks()) == expected


def test_bytes_are_read_only():
    for value in (np.zeros(3), np.zeros(3, "bfloat16"), np.zeros((3, 3), ">f8"), jnp.zeros(3)):
        assert all(block.readonly for block in _host_copy.snapshot(value, copy=False).blocks())


def test_numpy_arrays_are_copied_only_on_request():
    array = np.arange(10)
    owned, looked_at = _host_copy.snapshot(array, copy=True), _host_copy.snapshot(array, copy=False)
    array[:] = 0
    assert b"".join(owned.blocks()) == np.arange(10).tobytes()
    assert b"".join(looked_at.blocks()) == bytes(80)


class Device:
    """A device as JAX describes one; no test machine has an accelerator."""

    def __init__(self, **statistics):
        self.statistics = statistics or None

    def memory_stats(self):
        return self.statistics


@pytest.mark.parametrize(
    ("device", "has_room"),
    [
        (Device(bytes_limit=1000, bytes_in_use=100, peak_bytes_in_use=700), True),
        (Device(bytes_limit=1000, bytes_in_use=100, peak_bytes_in_use=850), False),
        (Device(bytes_limit=1000), False),
        (Device(), False),
    ],
)
def test_free_device_memory_excludes_the_peak_of_training(device, has_room):
    assert _host_copy._has_room(device, 100) is has_room
