"""Logs on disk after each kind of process end."""

import random
import signal
import subprocess
import sys
import time

import pytest
import warm
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.storage import Directory

# The file of the first half is still open when the process ends.
LOG_100 = """
log = EventLog(Directory(directory))
for step in range(50): log.log(scalars(x=jnp.float32(step)), step, 1, 1)
log.flush()
for step in range(50, 100): log.log(scalars(x=jnp.float32(step)), step, 1, 1)
"""


def steps(directory):
    return EventReader(Directory(directory)).scalars()["x"].step.tolist()


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        pytest.param("sys.exit(3)", 3, marks=pytest.mark.slow),
        ("raise ValueError('oops')", 1),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGINT); time.sleep(5)",
            -signal.SIGINT,
            marks=pytest.mark.slow,
        ),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", -signal.SIGTERM),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGHUP); time.sleep(5)",
            -signal.SIGHUP,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
            "os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)",
            7,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["end", "exit", "exception", "SIGINT", "SIGTERM", "SIGHUP", "own handler"],
)
def test_everything_logged_is_written_at(tmp_path, run_script, ending, code):
    outcome = run_script(LOG_100 + ending)
    assert outcome.returncode == code, outcome.stderr
    assert steps(tmp_path) == list(range(100))


@pytest.mark.slow
def test_handlers_of_the_user_are_kept(run_script):
    outcome = run_script(
        "def own(number, frame): print('own handler')\n"
        "signal.signal(signal.SIGTERM, own)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "log = EventLog(Directory(directory))\n"
        "assert signal.getsignal(signal.SIGTERM) is own\n"
        "assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    assert (outcome.returncode, outcome.stdout) == (0, "own handler\n"), outcome.stderr


def test_log_created_in_another_thread(tmp_path, run_script):
    outcome = run_script(
        "import threading\n"
        "def run():\n    global log\n    log = EventLog(Directory(directory))\n"
        "thread = threading.Thread(target=run); thread.start(); thread.join()\n"
        "log.log(scalars(x=1.0), 1, 1, 1)\n"
    )
    assert outcome.returncode == 0, outcome.stderr
    assert steps(tmp_path) == [1]


# JAX crashes at the normal exit of a forked child that has computed anything.
@pytest.mark.parametrize(
    ("value", "leave"), [("jnp.float32(step)", "os._exit(0)"), ("float(step)", "sys.exit(0)")]
)
@pytest.mark.slow
def test_forked_child_does_not_disturb_its_parent(tmp_path, run_script, value, leave):
    outcome = run_script(
        "import warnings; warnings.simplefilter('ignore')\n"
        + LOG_100.replace("jnp.float32(step)", value)
        + f"""
child = os.fork()
if child == 0:
    {leave}
assert os.waitpid(child, 0)[1] == 0
log.log(scalars(x=100.0), 100, 1, 1)
log.close()
"""
    )
    assert outcome.returncode == 0, outcome.stderr
    assert steps(tmp_path) == list(range(101))
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in accumulator.Scalars("x")] == list(range(101))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_forked_child_may_log_too(tmp_path, run_script):
    outcome = run_script(
        "import warnings; warnings.simplefilter('ignore')\n"
        + LOG_100
        + """
child = os.fork()
if child == 0:
    log.log(scalars(y=1.0), 1, 1, 1)
    log.flush()
    log.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
log.close()
"""
    )
    assert outcome.returncode == 0, outcome.stderr
    assert steps(tmp_path) == list(range(100))
    assert EventReader(Directory(tmp_path)).scalars()["y"].step.tolist() == [1]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("logged_before", [True, False])
def test_multiprocessing_child_writes_at_its_end(tmp_path, run_script, logged_before):
    outcome = run_script(
        "import multiprocessing, warnings; warnings.simplefilter('ignore')\n"
        "log = EventLog(Directory(directory))\n"
        f"if {logged_before}: log.log(scalars(x=0.0), 0, 1, 1)\n"
        """
def work(step):
    log.log(scalars(x=float(step)), step, 1, 1)

for step in (1, 2):
    child = multiprocessing.get_context("fork").Process(target=work, args=(step,))
    child.start()
    child.join()
    assert child.exitcode == 0
"""
    )
    assert outcome.returncode == 0, outcome.stderr
    assert steps(tmp_path) == [0, 1, 2][not logged_before :]


@pytest.mark.slow
def test_flush_in_a_signal_handler_during_put(tmp_path, run_script):
    outcome = run_script(
        "log = EventLog(Directory(directory))\n"
        "os.set_blocking(1, True)\n"
        "import threading\n"
        "threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()\n"
        "step = 0\n"
        "while True:\n"
        "    log.log(scalars(x=float(step)), step, 1, 1)\n"
        "    os.write(1, b'%d\\n' % step)\n"
        "    step += 1\n"
    )
    assert outcome.returncode == -signal.SIGTERM, outcome.stderr
    handed_over = int(outcome.stdout.split()[-1])
    found = steps(tmp_path)
    assert found in (list(range(handed_over + 1)), list(range(handed_over + 2)))


def test_data_lost_at_exit_is_reported(tmp_path, run_script):
    outcome = run_script(
        "log = EventLog(Directory(directory / 'absent'))\n"
        "log.log(scalars(x=1.0), 1, 1, 1)\n"
        "sys.stdout.flush()\n"
    )
    assert "what is not written is lost" in outcome.stderr
    assert "absent" in outcome.stderr
    assert "Traceback" not in outcome.stderr


KILLED = """
import os, pathlib, sys, time
import jax.numpy as jnp
from fifteen.experiments import TensorboardLogData
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory
directory = pathlib.Path(sys.argv[1])
log = EventLog(Directory(directory))
log.log(TensorboardLogData({"x": jnp.float32(-1)}), 0, 1, 1)
log.flush()
print("ready", flush=True)
step = 1
while True:
    log.log(TensorboardLogData({"x": jnp.float32(step), "time": time.time() % 1e4}), step, 1, 1)
    step += 1
    time.sleep(0.0005)
"""


def kill_at_random_moments(tmp_path, trials):
    generator = random.Random(trials)
    for trial in range(trials):
        directory = tmp_path / str(trial)
        directory.mkdir()
        with warm.Process(KILLED, directory) as process:
            try:
                assert process.stdout.readline() == "ready\n"
                time.sleep(generator.uniform(0.0, 2.0))
            finally:
                killed_at = time.time() % 1e4
                process.kill()
        found = EventReader(Directory(directory)).scalars()
        assert found["x"].step.tolist() == list(range(len(found["x"].step)))
        if "time" in found:
            # float32 represents these seconds to a millisecond.
            assert killed_at - found["time"].value[-1] < 1.0
        accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
        by_tensorboard = [event.step for event in accumulator.Scalars("x")]
        assert by_tensorboard == found["x"].step.tolist()
        # The next process continues after the truncated record.
        outcome = warm.run(RESUMED, directory, len(by_tensorboard) - 1)
        assert outcome.returncode == 0, outcome.stderr
        resumed = EventReader(Directory(directory)).scalars()["x"]
        assert resumed.step.tolist() == [*found["x"].step.tolist(), len(by_tensorboard)]


RESUMED = """
import pathlib, sys
from fifteen.experiments import TensorboardLogData
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory
log = EventLog(Directory(pathlib.Path(sys.argv[1])))
log.rewind(int(sys.argv[2]))
log.log(TensorboardLogData({"x": 1.0}), int(sys.argv[2]) + 1, 1, 1)
log.close()
"""


@pytest.mark.slow
def test_kill_at_10_random_moments(tmp_path):
    kill_at_random_moments(tmp_path, 10)


@pytest.mark.soak
def test_kill_at_100_random_moments(tmp_path):
    kill_at_random_moments(tmp_path, 100)


TWO = """
import pathlib, sys
from fifteen.experiments import TensorboardLogData
from fifteen.experiments.events.writing import EventLog
from fifteen.experiments.storage import Directory
log = EventLog(Directory(pathlib.Path(sys.argv[1])))
for step in range(2000):
    log.log(TensorboardLogData({sys.argv[2]: float(step)}), step, 1, 1)
    if step % 100 == 0:
        log.flush()
    if step % 500 == 0:
        log.close()
log.close()
"""


@pytest.mark.slow
def test_two_processes_log_to_one_directory(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", TWO, str(tmp_path), name]) for name in "ab"
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    found = EventReader(Directory(tmp_path)).scalars()
    for name in "ab":
        assert found[name].value.tolist() == list(range(2000))
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in accumulator.Scalars("a")] == list(range(2000))
