"""Prefixes, steps and retention."""

import itertools

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

from fifteen.experiments import CheckpointError, CheckpointExistsError, CheckpointNotFoundError
from fifteen.experiments.checkpoints._paths import as_step
from fifteen.experiments.checkpoints._retention import Retention


def test_keep_retains_the_newest(handle):
    for step in (3, 10, 100, 2000):
        handle.save({"step": step}, step, keep=3)
    assert handle.steps() == [10, 100, 2000]
    assert handle.restore({"step": 0}) == {"step": 2000}
    assert handle.restore({"step": 0}, step=10) == {"step": 10}
    assert handle.names() == [f"checkpoint_{step}.safetensors" for step in (10, 100, 2000)]


def test_default_keeps_one(handle):
    for step in range(3):
        path = handle.save({"step": step}, step)
    assert handle.steps() == [2]
    assert path == handle.directory / "checkpoint_2.safetensors"


def test_prefixes_are_independent(handle):
    for prefix in ("checkpoint_", "checkpoint_best_", "checkpoint", "", "best/", "a*[b]."):
        for step in (1, 12):
            handle.save({"step": step, "of": prefix}, step, prefix=prefix)
    for prefix in ("checkpoint_", "checkpoint_best_", "checkpoint", "", "best/", "a*[b]."):
        assert handle.steps(prefix) == [12]
        assert handle.restore({"step": 0, "of": ""}, prefix=prefix) == {"step": 12, "of": prefix}


def test_save_at_or_below_the_latest_step_is_refused(handle):
    handle.save({"w": 1}, 5)
    for step in (5, 4):
        with pytest.raises(CheckpointExistsError) as caught:
            handle.save({"w": 2}, step)
        assert f"cannot save step {step} under the prefix 'checkpoint_'" in str(caught.value)
        assert "there is a checkpoint of step 5; pass overwrite=True" in str(caught.value)
    assert handle.restore({"w": 0}) == {"w": 1}
    handle.save({"w": 2}, 1, prefix="other_")


def test_overwrite_removes_later_steps(handle):
    for step in (1, 2, 3, 4):
        handle.save({"w": step}, step, keep=10)
    handle.save({"w": 20}, 2, keep=10, overwrite=True)
    assert handle.steps() == [1, 2]
    assert handle.restore({"w": 0}) == {"w": 20}


def test_keep_every_n_steps_retains_older_steps(handle):
    for step in range(0, 100, 7):
        handle.save({"w": step}, step, keep=2, keep_every_n_steps=20)
    assert handle.steps() == [0, 21, 42, 63, 84, 91, 98]


@hypothesis.given(
    st.lists(st.integers(0, 60), unique=True).map(sorted),
    st.integers(1, 5),
    st.none() | st.integers(1, 30),
)
def test_retention_matches_its_definition(steps, keep, apart):
    dropped = Retention(keep, keep_every_n_steps=apart).steps_to_delete(steps)
    kept = [step for step in steps if step not in dropped]
    assert dropped == [step for step in steps if step in dropped]
    assert kept[-keep:] == steps[-keep:]
    old = kept[:-keep]
    if apart is None:
        assert old == []
        return
    assert all(later - earlier >= apart for earlier, later in itertools.pairwise(old))
    # Each removed step is too close above a kept one.
    assert all(any(0 < step - other < apart for other in old) for step in dropped)


@pytest.mark.parametrize(
    "step",
    [7, 7.0, np.float32(7), jnp.float32(7), np.int32(7), np.uint64(7), jnp.asarray(7), np.array(7)],
)
def test_steps_are_integral_numbers_of_any_type(handle, step):
    assert handle.save({"w": 1}, step).name == "checkpoint_7.safetensors"
    assert handle.restore({"w": 0}, step=step) == {"w": 1}
    assert handle.steps() == [7]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (-1, "step: expected at least 0, found -1"),
        (1.5, "step: expected a whole number, found 1.5"),
        (np.float32(2.5), "step: expected a whole number, found"),
        (float("inf"), "step: expected a whole number, found inf"),
        (float("nan"), "step: expected a whole number, found nan"),
        (True, "step: expected a whole number, found True"),
        ("3", "step: expected a whole number, found '3'"),
        (None, "step: expected a whole number, found None"),
        (np.arange(3), "step: expected a whole number, found"),
    ],
)
def test_other_steps_are_refused(handle, step, message):
    with pytest.raises(CheckpointError) as caught:
        handle.save({"w": 1}, step)
    assert message in str(caught.value)
    assert not handle.directory.exists()


def test_donated_step_is_refused(handle):
    step = jnp.asarray(3)
    step.delete()
    with pytest.raises(CheckpointError, match="step: expected a whole number, found no value"):
        handle.save({"w": 1}, step)


@pytest.mark.parametrize("keep", [0, -1, 1.5, True, None, "1"])
def test_keep_is_at_least_one(handle, keep):
    with pytest.raises(CheckpointError, match="keep: expected a whole number of at least 1"):
        handle.save({"w": 1}, 1, keep=keep)
    with pytest.raises(CheckpointError, match="keep_every_n_steps: expected a whole number"):
        handle.save({"w": 1}, 1, keep_every_n_steps=-1)


def test_infinite_keep_retains_all_and_every_0_steps_nothing(handle):
    for step in range(4):
        handle.save({"w": step}, step, keep=float("inf"))
    assert handle.steps() == [0, 1, 2, 3]
    handle.save({"w": 4}, 4, keep=2.0, keep_every_n_steps=0)
    assert handle.steps() == [3, 4]


def test_flax_files_with_fractional_steps(handle):
    handle.directory.mkdir()
    for step in (3.0, 4.5):
        content = serialization.msgpack_serialize({"w": np.full(2, step)})
        (handle.directory / f"checkpoint_{step}").write_bytes(content)
    assert handle.restore(None)["w"][0] == 4.5
    assert handle.restore(None, step=4.5)["w"][0] == 4.5
    assert handle.restore(None, step=3)["w"][0] == 3
    assert handle.steps() == [3]
    assert handle.checkpoints.prefixes() == ["checkpoint_"]
    with pytest.raises(CheckpointExistsError, match=r"there is a checkpoint of step 4\.5"):
        handle.save({"w": 4}, 4)
    handle.save({"w": 5}, 5)
    assert handle.names() == ["checkpoint_5.safetensors"]


def test_retention_takes_numpy_integers(handle):
    handle.save({"w": 1}, 1, keep=np.int64(2), keep_every_n_steps=np.int32(3))
    assert handle.steps() == [1]


def test_missing_checkpoint_error_lists_existing_ones(handle):
    with pytest.raises(CheckpointNotFoundError, match="no checkpoint under the prefix 'check"):
        handle.restore({"w": 1})
    with pytest.raises(FileNotFoundError, match="because there is no such directory"):
        handle.restore({"w": 1})
    for step in (3, 20):
        handle.save({"w": step}, step, keep=2)
    with pytest.raises(CheckpointNotFoundError, match=r"of step 4 under .* steps present: 3, 20"):
        handle.restore({"w": 1}, step=4)
    with pytest.raises(CheckpointNotFoundError):
        handle.leaves(4)
    wrong = r"'best_'; steps present: none; prefixes present: 'checkpoint_'"
    with pytest.raises(CheckpointNotFoundError, match=wrong):
        handle.restore(None, prefix="best_")


def test_checkpoint_path_as_experiment_directory_is_explained(handle, new_handle):
    handle.save({"w": 1})
    (name,) = handle.names()
    with pytest.raises(
        CheckpointNotFoundError, match=r"checkpoint_1.safetensors: this is a file; open"
    ):
        new_handle(handle.directory / name).restore(None)


@pytest.mark.parametrize("prefix", ["../out_", "/abs_", "a/../../b_", "a\0b", 3, None, "./x_"])
def test_prefix_outside_the_directory_is_refused(handle, prefix):
    for action in (lambda: handle.save({"w": 1}, 1, prefix=prefix), lambda: handle.steps(prefix)):
        with pytest.raises(CheckpointError, match="prefix"):
            action()
    assert not handle.directory.exists()


def test_similar_names_are_not_checkpoints(handle):
    handle.save({"w": 1}, 5)
    for name in (
        "checkpoint_7.safetensors.bak", "checkpoint_007.safetensors", "checkpoint_-1.safetensors",
        "checkpoint_8.5.safetensors", "checkpoint_9.orbax-checkpoint-tmp-123", "checkpoint_٣",
        "checkpoint_.safetensors", "my_checkpoint_9.safetensors", "checkpoint_1e3",
        ".checkpoint_9.safetensors.0a1b.fifteen-tmp", "checkpoint_10tmp",
    ):  # fmt: skip
        (handle.directory / name).touch()
    assert handle.steps() == [5]


def test_checkpoints_of_every_format_are_listed_and_removed(handle):
    handle.directory.mkdir()
    flax = serialization.msgpack_serialize({"w": np.ones(2)})
    (handle.directory / "checkpoint_1").write_bytes(flax)
    (handle.directory / "checkpoint_1_gda" / "w").mkdir(parents=True)
    (handle.directory / "checkpoint_1_gda" / "w" / ".zarray").touch()
    (handle.directory / "checkpoint_2").mkdir()
    (handle.directory / "checkpoint_2" / "_METADATA").touch()
    (handle.directory / "checkpoint_3").write_bytes(flax)
    assert handle.steps() == [1, 2, 3]
    with pytest.raises(CheckpointExistsError):
        handle.save({"w": 1}, 3)
    handle.save({"w": 1}, 4, keep=3)
    assert handle.names() == ["checkpoint_2", "checkpoint_3", "checkpoint_4.safetensors"]
    # A step overwritten by our file is listed once.
    handle.save({"w": 2}, 3, keep=3, overwrite=True)
    assert handle.names() == ["checkpoint_2", "checkpoint_3.safetensors"]
    handle.save({"w": 3}, 9)
    assert handle.names() == ["checkpoint_9.safetensors"]


def test_prefix_through_a_link_is_refused(handle, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    handle.directory.mkdir()
    (handle.directory / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="symbolic link leads out"):
        handle.save({"w": 1}, 1, prefix="link/checkpoint_")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_prefixes_ending_in_digits(handle):
    prefixes = ["net", "net1", "net11", "net1@", "net@", "-1", 'é"1', "2", "sub/7", "٣"]
    for number, prefix in enumerate(prefixes):
        for step in (0, 3, 25):
            handle.save({"of": number}, step, prefix=prefix, keep=3)
            assert handle.steps(prefix)[-1] == step
    for number, prefix in enumerate(prefixes):
        assert handle.steps(prefix) == [0, 3, 25]
        assert handle.restore(None, 25, prefix) == {"of": number}
    assert set(handle.checkpoints.prefixes()) == set(prefixes) - {"sub/7"}
    path = handle.save({"of": 0}, 26, prefix="net1", keep=1)
    assert path.name == "net1@26.safetensors"
    for prefix in set(prefixes) - {"net1"}:
        assert handle.steps(prefix) == [0, 3, 25]


def test_foreign_files_under_a_prefix_ending_in_a_digit(handle):
    handle.directory.mkdir()
    for step in (0, 5):
        content = serialization.msgpack_serialize({"w": np.full(2, step)})
        (handle.directory / f"net1{step}").write_bytes(content)
    handle.save({"w": np.ones(2)}, 17, prefix="net", keep=9)
    assert handle.steps("net1") == [0, 5]
    assert handle.restore(None, prefix="net1")["w"].tolist() == [5, 5]
    with pytest.raises(CheckpointExistsError, match="there is a checkpoint of step 5"):
        handle.save({"w": np.ones(2)}, 2, prefix="net1")
    # They may be steps 10 and 15 of another prefix, and are kept.
    handle.save({"w": np.ones(2)}, 6, prefix="net1")
    assert handle.steps("net1") == [6]
    assert handle.names() == ["net10", "net15", "net17.safetensors", "net1@6.safetensors"]


def test_prefixes_are_listed(handle):
    for prefix in ("checkpoint_", "best_"):
        handle.save({"w": 1}, 1, prefix=prefix)
    (handle.directory / "events.out.tfevents.123").touch()
    assert handle.checkpoints.prefixes() == ["best_", "checkpoint_"]


@hypothesis.given(st.integers(0, 2**70))
def test_as_step_keeps_integers(step):
    assert as_step(step) == step


@pytest.mark.parametrize("kind", [np.uint8, np.uint64, np.int64])
def test_retention_in_numpys_integers(handle, kind):
    for step in range(5):
        handle.save({"x": 1}, step, keep=kind(3), keep_every_n_steps=kind(100))
    assert handle.steps() == [0, 2, 3, 4]


def test_folder_without_a_checkpoint_is_never_removed(handle):
    thesis = handle.directory / "checkpoint_1" / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("Abstract")
    handle.save({"x": 1}, 1, prefix="checkpoint_1/best_")
    for step in (3, 5):
        handle.save({"x": 1}, step, overwrite=True)
    assert thesis.read_text() == "Abstract"
    assert handle.steps("checkpoint_1/best_") == [1]


def test_save_during_a_save_is_kept(handle, monkeypatch):
    from fifteen.experiments.checkpoints._safetensors import _save

    write = _save.write

    def write_and_save(*arguments):
        monkeypatch.setattr(_save, "write", write)
        # As a handler of SIGTERM may.
        handle.save({"x": 11}, 11)
        write(*arguments)

    monkeypatch.setattr(_save, "write", write_and_save)
    handle.save({"x": 10}, 10)
    assert handle.restore({"x": 0}) == {"x": 11}


@pytest.mark.slow
def test_oversized_description_is_refused_before_anything_is_lost(handle):
    handle.save({"text": b""}, 1)
    with pytest.raises(CheckpointError, match=r"^text: the description of all leaves would be"):
        handle.save({"n": 1, "text": b"\0" * 76_000_000}, 2)
    assert handle.steps() == [1]
    assert handle.names() == ["checkpoint_1.safetensors"]


@pytest.mark.parametrize("step", [10**5000, -(10**5000), 10**101], ids=["huge", "low", "large"])
def test_huge_steps_are_refused(handle, step):
    with pytest.raises(CheckpointError, match=r"step: expected at (most|least)"):
        handle.save(jnp.ones(2), step)


def test_invalid_prefix_is_refused(handle):
    with pytest.raises(
        CheckpointError, match=r"prefix .*: no file name can contain its characters"
    ):
        handle.save(jnp.ones(2), 1, prefix="run\ud800_")
