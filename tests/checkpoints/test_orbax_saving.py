"""Failing saves of several processes: every process gets the error, and none hangs."""

import pathlib
import sys
import textwrap

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import distributed_processes
from distributed_processes import MESH

pytestmark = pytest.mark.slow

COMMON = """
from fifteen.experiments import Experiment
from fifteen.experiments.checkpoints._orbax import _save as _orbax_saving
from fifteen.experiments.storage import _local

def outcome(action):
    try:
        return action()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
"""


@pytest.fixture(scope="module")
def pools():
    with distributed_processes.pool(2, 2, MESH + COMMON) as two:
        yield two


@pytest.fixture
def run(pools, tmp_path):
    """Run a script in two processes; none may wait for long."""

    def run_in(script: str) -> list[str]:
        code = "experiment = Experiment(directory, verbose=False)\n" + textwrap.dedent(script)
        return pools.run(code, tmp_path, timeout=30)

    return run_in


def test_different_targets_of_processes_are_named(run, tmp_path):
    script = """
    def save(tree, step=7):
        print(outcome(lambda: experiment.save_checkpoint(tree, step)))
    rows = np.arange(8, dtype=np.float32)
    for one in (0, 1):
        save({"w": spread(rows) if INDEX == one else rows, "n": INDEX})
    save({"w": spread(rows, P("x") if INDEX else P()), "v": spread(rows if INDEX else rows > 1)})
    save({"a": 1, f"only{INDEX}": 1})
    save({f"{INDEX} {number}": 1 for number in range(100)})
    save({"n": 1}, step=35 + INDEX)
    save({"n": INDEX, "w": spread(rows)})
    """
    for output in run(script):
        found = output.splitlines()
        pytree = "CheckpointError: the processes save different pytrees:"
        advice = "save the same structure in all of them, and spread a leaf over the processes "
        assert [line for line in found if advice in line] == [
            advice + "in all of them or in none"
        ] * 5
        spread = "float32[8] spread in parts of [2]"
        assert found[:11] == [
            pytree,
            f"  w: {spread} in process 0, local in process 1",
            found[2],
            pytree,
            f"  w: local in process 0, {spread} in process 1",
            found[2],
            pytree,
            f"  v: bool[8] spread in parts of [2] in process 0, {spread} in process 1",
            f"  w: float32[8] spread in parts of [8] in process 0, {spread} in process 1",
            found[2],
            pytree,
        ]
        assert found[11:13] == [
            "  only0: local in process 0, missing in process 1",
            "  only1: missing in process 0, local in process 1",
        ]
        assert found[-3] == found[2]
        assert found[-4] == "  and 181 more of 200"
        assert found[-2].startswith(
            "CheckpointError: the processes save different checkpoints: process 0 checkpoint_35, "
            "process 1 checkpoint_36; save the same step"
        )
        assert found[-1].endswith("checkpoint_7")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_7"]


def test_no_process_waits_for_files_process_0_does_not_write(run, tmp_path):
    script = """
    started = _orbax_saving._start
    def fail(handler, path, tree):
        raise OSError(28, "No space left on device")
    def remove(handler, path, tree):
        directory.rename(directory.with_name("removed"))
        return []
    tree = {"w": spread(np.arange(8.0, dtype=np.float32))}
    for step, start in enumerate([fail, remove]):
        if INDEX == 0:
            _orbax_saving._start = start
        print(outcome(lambda: experiment.save_checkpoint(tree, step)))
        _orbax_saving._start = started
    print(outcome(lambda: experiment.save_checkpoint(tree, 3)))
    """
    for output in run(script):
        full, removed, saved = output.splitlines()
        assert full.startswith(
            "OSError: [Errno 28] No space left on device: could not save step 0;"
        )
        assert full.endswith("checkpoint_0'")
        # Either Orbax or we find it first.
        assert removed.startswith("FileNotFoundError: [Errno 2] ")
        assert ": could not save step 1;" in removed
        assert saved.endswith("checkpoint_3")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_3"]


def test_file_system_error_is_raised_in_all_processes(run, tmp_path):
    script = """
    import resource
    tree = {"w": spread(np.ones((512, 512), np.float32))}
    experiment.save_checkpoint(tree, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if INDEX == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    print(outcome(lambda: experiment.save_checkpoint(tree, 2)))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    """
    for output in run(script):
        assert output == (
            "OSError: [Errno 27] File too large: could not save step 2; earlier checkpoints are "
            f"intact (steps present: 1): '{tmp_path / 'checkpoint_2'}'\n"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_1"]


def test_subclasses_and_special_values_round_trip(run, tmp_path):
    script = r"""
    import enum
    class Mode(str, enum.Enum):
        TRAIN = "train"
    class Size(enum.IntEnum):
        SMALL = 3
    class Rate(float, enum.Enum):
        HALF = 0.5
    tree = {
        "mode": Mode.TRAIN, "size": Size.SMALL, "rate": Rate.HALF, "half": "\ud800", "\udfff": 1,
        "words": np.zeros((0, 2), "U3"), "none": np.zeros(3, jax.dtypes.float0),
        "w": spread(np.arange(4, dtype=np.int32)),
    }
    named = {"a/b": "one", "c~d": "two", "e": {"f": "three"}, "n": 4}
    experiment.save_checkpoint(named, 0)
    assert experiment.restore_checkpoint(named) == named
    experiment.save_checkpoint(tree, 1)
    found = experiment.restore_checkpoint(None)
    assert str(found.pop("words").dtype) == "<U3"
    assert found.pop("none").dtype == jax.dtypes.float0
    assert found.pop("w").tolist() == [0, 1, 2, 3]
    print(ascii(sorted(found.items())))
    """
    for output in run(script):
        assert output == (
            r"[('half', '\ud800'), ('mode', 'train'), ('rate', 0.5), ('size', 3), ('\udfff', 1)]"
            "\n"
        )


def test_unsupported_leaves_are_named(run, tmp_path):
    script = """
    def save(tree):
        print(outcome(lambda: experiment.save_checkpoint(tree, 1)))
    rows = np.arange(8, dtype=np.float32)
    local, whole = jnp.ones(3), spread(rows)
    local.delete(), whole.delete()
    elsewhere = Mesh(np.array([d for d in jax.devices() if d.process_index == 1]), ("x",))
    save({
        "local": local, "whole": whole, "masked": np.ma.masked_array([1, 2], [True, False]),
        "object": np.zeros(0, object), "one": spread(rows, mesh=elsewhere),
        "record": np.zeros(2, [("a", "u1")]), "void": np.array([b"a"], "V1"),
    })
    save([object()] * 300)
    jax.jit(lambda x: save({"x": x}))(1.0)
    deep = 1
    for _ in range(3000):
        deep = [deep]
    save(deep)
    """
    for output in run(script):
        found = output.splitlines()
        begins = "CheckpointError: cannot save the target:"
        assert found[0] == begins
        assert found[1].startswith("  local: it has been deleted")
        assert found[2] == (
            "  masked: cannot save a masked array; save its data and its mask as leaves"
        )
        assert found[3].startswith("  object: cannot save a NumPy array of dtype object")
        if found[4].startswith("  one"):
            assert "on devices of only some of the processes (1 of 2); spread it" in found.pop(4)
        assert found.pop(4).startswith("  record: cannot save a NumPy array of dtype [('a', 'u1')]")
        assert found.pop(4).startswith("  void: cannot save a NumPy array of dtype |V1")
        assert found[4].startswith("  whole: it has been deleted")
        assert found[5] == begins
        assert found[25] == "  and 281 more of 300"
        assert found[26] == begins
        assert found[27] == "  x: it is a tracer, which has no value yet; save outside of jit"
        assert found[28].startswith("CheckpointError: the target is nested too deeply")
    assert list(tmp_path.iterdir()) == []


def test_path_unsupported_by_orbax_is_refused(run, tmp_path):
    script = r"""
    tree = {"w": spread(np.arange(8, dtype=np.int32))}
    experiment.save_checkpoint(tree, 1, prefix="\u00e9_")
    for blocking in (True, False):
        print(outcome(lambda: experiment.save_checkpoint(tree, 2, "\udcff_", blocking=blocking)))
    if INDEX == 0:
        (directory / "\u00e9_1").rename(directory / "\udcff_1")
    print(outcome(lambda: experiment.restore_checkpoint(tree, 1, "\udcff_")))
    """
    for output in run(script):
        for step, line in zip((2, 2, 1), output.splitlines(), strict=True):
            path = rf"{tmp_path}/\udcff_{step}"
            assert line.startswith(
                f"CheckpointError: {path}: Orbax takes only paths that are valid UTF-8"
            )
    assert len(list(tmp_path.iterdir())) == 1


def test_interrupt_ends_the_save_in_all_processes(run, tmp_path):
    script = """
    import os, signal, threading, time
    tree = {"w": spread(np.arange(8, dtype=np.float32))}
    def interrupt(*rest):
        raise KeyboardInterrupt
    def save(blocking=True):
        print(outcome(lambda: experiment.save_checkpoint(tree, 1, blocking=blocking)))
    # Python drops an interrupt that comes while it compiles a module; a save imports some.
    experiment.save_checkpoint(tree, 1, prefix="first_")
    if INDEX == 0:
        start = time.monotonic()
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
    else:
        time.sleep(3)
    save()
    print(INDEX or time.monotonic() - start < 2)
    start, sync = (_orbax_saving, "_start"), (_local, "sync_all")
    for who, (module, name), blocking in [(1, start, True), (1, start, False), (0, sync, True)]:
        kept = getattr(module, name)
        if INDEX == who:
            setattr(module, name, interrupt)
        save(blocking)
        setattr(module, name, kept)
    save()
    """
    told = ["KeyboardInterrupt: ", "RuntimeError: KeyboardInterrupt"]
    for index, output in enumerate(run(script)):
        mine, other = told[index], told[1 - index]
        saved = str(tmp_path / "checkpoint_1")
        timely = ("True", "1")[index]
        assert output.splitlines() == [mine, timely, other, other, mine, saved]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_1", "first_1"]


def test_error_is_raised_while_another_is_handled(run, tmp_path):
    script = """
    tree = {"w": spread(np.arange(8, dtype=np.float32))}
    try:
        experiment.restore_checkpoint(tree)
    except Exception:
        bad = tree | {"n": object() if INDEX else 1}
        print(outcome(lambda: experiment.save_checkpoint(bad, 1)).splitlines()[0])
    print(outcome(lambda: experiment.save_checkpoint(tree, 1)))
    """
    saved = str(tmp_path / "checkpoint_1")
    for output in run(script):
        assert output.splitlines() == ["CheckpointError: cannot save the target:", saved]


def test_background_error_already_raised_in_one_process(run, tmp_path):
    script = """
    tree = {"w": spread(np.arange(8, dtype=np.float32))}
    kept = _local.sync_all
    def full(*rest):
        raise OSError(28, "No space left on device")
    _local.sync_all = full
    experiment.save_checkpoint(tree, 1, blocking=False)
    if INDEX == 0:
        print(outcome(experiment.flush)[:24])
    else:
        while threading.active_count() > 1 and any(
            "checkpoint" in thread.name for thread in threading.enumerate()
        ):
            time.sleep(0.01)
    _local.sync_all = kept
    for step in (2, 3, 4):
        print(outcome(lambda: experiment.save_checkpoint(tree, step))[:24])
    print(experiment.checkpoint_steps())
    """
    first, second = run("import threading, time\n" + textwrap.dedent(script))
    error, path = "OSError: [Errno 28] No s", str(tmp_path)[:24]
    assert first.splitlines() == [error, error, path, path, "[4]"]
    assert second.splitlines() == [error, path, path, "[4]"]


@pytest.mark.parametrize("blocking", [True, False])
def test_interrupt_after_a_collective_is_raised_in_the_next(run, tmp_path, blocking):
    script = """
    import os, signal, threading, time
    tree = {"w": spread(np.arange(8, dtype=np.float32))}
    kept = _orbax_saving._start
    def slow(*rest):
        started = kept(*rest)
        if INDEX == 0:
            time.sleep(0.5)
        return started
    _orbax_saving._start = slow
    experiment.save_checkpoint(tree, 1)
    def interrupt_while_waiting(action):
        # A signal is seen to when the waiting is over, which may have been for the last process.
        if INDEX == 1:
            threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        print(outcome(action))
    interrupt_while_waiting(lambda: experiment.save_checkpoint(tree, 2, blocking=BLOCKING))
    _orbax_saving._start = kept
    print(outcome(experiment.flush))
    def assert_exists():
        time.sleep(0 if INDEX else 0.5)
        experiment.assert_exists()
    interrupt_while_waiting(assert_exists)
    print(outcome(lambda: experiment.save_checkpoint(tree, 3)))
    """
    first, second = run(f"BLOCKING = {blocking}\n" + textwrap.dedent(script))
    saved = str(tmp_path / "checkpoint_3")
    flushed = "None" if blocking else "RuntimeError: KeyboardInterrupt"
    told = "RuntimeError: KeyboardInterrupt"
    assert first.splitlines() == [told, flushed, told, saved]
    assert second.splitlines() == ["KeyboardInterrupt: ", "None", "KeyboardInterrupt: ", saved]


def test_different_subfolders_are_reported(run):
    script = """
    print(outcome(lambda: experiment.save_checkpoint({"n": 1}, 0, prefix=f"d{INDEX}/c_")))
    """
    for output in run(script):
        assert "save different checkpoints: process 0 d0/c_0, process 1 d1/c_0;" in output


@pytest.mark.parametrize("blocking", [True, False])
def test_temporary_that_cannot_be_removed_is_a_leftover(run, tmp_path, blocking):
    script = f"""
    kept = _local.remove
    def refuse(path):
        if _local.is_temporary(path.name):
            raise OSError(39, "Directory not empty")
        kept(path)
    _local.remove = refuse
    print(outcome(lambda: experiment.save_checkpoint({{"n": 1}}, 1, blocking={blocking})))
    print(outcome(experiment.flush))
    _local.remove = kept
    print(outcome(lambda: experiment.save_checkpoint({{"n": 1}}, 2)))
    """
    for output in run(script):
        saved = [str(tmp_path / f"checkpoint_{step}") for step in (1, 2)]
        assert output.splitlines() == [saved[0], "None", saved[1]]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_2"]
