"""Collective operations of real processes that `jax.distributed` connects."""

import pathlib
import subprocess
import sys
import textwrap

import pytest

from fifteen.experiments import distributed

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import distributed_processes

COMMON = """
from fifteen.experiments import distributed

def outcome(action):
    try:
        return action()
    except Exception as error:
        notes = " ".join(getattr(error, "__notes__", []))
        return f"{type(error).__name__}: {error} {notes}".strip()
"""


@pytest.fixture(scope="module")
def pools():
    with (
        distributed_processes.pool(2, 1, COMMON) as two,
        distributed_processes.pool(4, 1, COMMON) as four,
    ):
        yield {2: two, 4: four}


@pytest.fixture
def run(pools, tmp_path):
    def run_in(script, count=2):
        return [output.splitlines() for output in pools[count].run(script, tmp_path)]

    return run_in


def test_single_process():
    assert distributed.is_primary()
    assert distributed.index() == 0
    assert distributed.count() == 1
    assert distributed.on_primary(lambda: 3) == 3
    distributed.main.all_gather("here")
    with pytest.raises(KeyError), distributed.collective("failing"):
        raise KeyError("x")
    with pytest.raises(OSError, match="full"):
        distributed.main.all_gather("failing", error=OSError("full"))


@pytest.mark.slow
def test_single_process_initialises_no_backend():
    script = """
import fifteen.experiments as f
from fifteen.experiments import distributed
from jax._src import xla_bridge
distributed.is_primary(), distributed.count(), distributed.on_primary(lambda: 1)
with distributed.collective("it"):
    pass
assert not xla_bridge.backends_are_initialized()
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_result_of_process_0_is_returned_in_all(run, tmp_path, count):
    script = """
    def act():
        (directory / f"by_{INDEX}").touch()
        return {"who": INDEX}
    for _ in range(3):
        print(distributed.count(), distributed.is_primary(), distributed.on_primary(act))
    from jax._src import xla_bridge
    print(xla_bridge.backends_are_initialized())
    """
    outputs = run(script, count)
    assert [path.name for path in tmp_path.iterdir()] == ["by_0"]
    for index, output in enumerate(outputs):
        assert output == [f"{count} {index == 0} {{'who': 0}}"] * 3 + ["False"]


@pytest.mark.slow
def test_process_0_waits_for_all(run, tmp_path):
    script = """
    import time
    if INDEX == 1:
        time.sleep(0.5)
        (directory / "mine").touch()
    print(distributed.on_primary(lambda: (directory / "mine").exists()))
    """
    assert run(script) == [["True"], ["True"]]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_error_in_process_0_is_raised_in_all(run, count):
    script = """
    from fifteen.experiments import ExperimentExistsError
    def exists():
        raise ExperimentExistsError("it is there")
    def full():
        raise OSError(28, "No space left on device", "a/file")
    def forbidden():
        raise PermissionError(13, "Permission denied", "b")
    def odd():
        return {}["missing"]
    for action in (exists, full, forbidden, odd):
        print(outcome(lambda: distributed.on_primary(action)))
    print(distributed.on_primary(lambda: "goes on"))
    """
    outputs = run(script, count)
    note = f"Raised in process 0 of {count}, and so in all."
    expected = [
        "ExperimentExistsError: it is there",
        "OSError: [Errno 28] No space left on device: 'a/file'",
        "PermissionError: [Errno 13] Permission denied: 'b'",
    ]
    assert outputs[0] == [*expected, "KeyError: 'missing'", "goes on"]
    revived = [f"{line} {note}" for line in [*expected, "RuntimeError: KeyError: 'missing'"]]
    assert outputs[1:] == [[*revived, "goes on"]] * (count - 1)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["before", "between", "after", "background"])
def test_error_in_any_process_is_raised_in_all(run, where):
    script = f"""
    def fail(here):
        if here == {where!r} and INDEX == 1:
            raise OSError(5, "Input/output error", "disk")
    def work():
        with distributed.collective("saving"):
            fail("before")
            distributed.on_primary(lambda: 1)
            with distributed.collective("inside"):
                fail("between")
            distributed.main.all_gather("middle")
            fail("after")
    print(outcome(work))
    import threading
    rounds = distributed.ProcessGroup("thread " + {where!r})
    def in_background():
        with rounds.collective("writing"):
            fail("background")
        rounds.on_primary(lambda: 2)
    found = []
    thread = threading.Thread(target=lambda: found.append(outcome(in_background)))
    thread.start()
    print(distributed.on_primary(lambda: "the main thread goes on"))
    thread.join()
    print(found[0])
    """
    outputs = run(script)
    problem = "OSError: [Errno 5] Input/output error: 'disk'"
    note = " Raised in process 1 of 2, and so in all."
    failed = [problem + note, problem]
    for output, failure in zip(outputs, failed, strict=True):
        in_main, in_thread = ("None", failure) if where == "background" else (failure, "None")
        assert output == [in_main, "the main thread goes on", in_thread]


@pytest.mark.slow
def test_different_calls_are_reported(run):
    script = """
    print(outcome(lambda: distributed.main.all_gather("saving" if INDEX else "clearing")))
    print(distributed.on_primary(lambda: "goes on"))
    """
    for output in run(script):
        assert "process 0 for clearing, process 1 for saving" in output[0]
        assert output[1:] == ["goes on"]


@pytest.mark.slow
def test_missing_process_is_reported(tmp_path):
    script = COMMON + textwrap.dedent("""
    from fifteen.experiments.distributed import _group
    _group.TIMEOUT_SECONDS = 1
    if INDEX == 0:
        print(outcome(lambda: distributed.main.all_gather("saving")))
    """)
    output, _ = distributed_processes.run(script, tmp_path, 2, 1)
    assert "saving: process 0 of 2 waited for process 1, which did not answer" in output
    assert "every process of the run must make the same calls" in output


@pytest.mark.slow
def test_long_results_and_messages_are_transferred(run):
    script = """
    print(len(distributed.on_primary(lambda: "ä" * 300_000)))
    def fail():
        raise RuntimeError("x" * 100_000)
    print(len(outcome(lambda: distributed.on_primary(fail))) > 10_000)
    """
    assert run(script) == [["300000", "True"]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
def test_waiting_process_can_be_interrupted(run, who):
    script = f"""
    import os, signal, threading, time
    def late_or_interrupted():
        # Process 0 has seen what the others brought before the last one comes.
        if INDEX == 3:
            time.sleep(2.5)
        if INDEX == {who}:
            threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
    def told(action):
        distributed.main.all_gather("all start")
        start = time.monotonic()
        try:
            print(outcome(action))
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - start < 2)
    def wait():
        late_or_interrupted()
        with distributed.collective("saving"):
            distributed.main.all_gather("here")
    def work():
        with distributed.collective("saving"):
            late_or_interrupted()
            if INDEX == {who}:
                time.sleep(10)
            distributed.main.all_gather("here")
    def act():
        late_or_interrupted()
        time.sleep(10)
    told(wait)
    told(work)
    if {who} == 0:
        told(lambda: distributed.on_primary(act))
    print(distributed.on_primary(lambda: "goes on"))
    """
    times = 2 if who else 3
    problem = f"RuntimeError: KeyboardInterrupt Raised in process {who} of 4, and so in all."
    outputs = run(script, 4)
    assert outputs.pop(who) == ["interrupted True"] * times + ["goes on"]
    assert outputs == [[problem] * times + ["goes on"]] * 3
