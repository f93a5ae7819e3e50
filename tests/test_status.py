"""Status of experiments of running, finished, failed and killed processes."""

import contextlib
import fcntl
import gc
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import time
import weakref

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import plugin_data_pb2

from fifteen.experiments import Experiment, TensorboardLogData, find_experiments
from fifteen.experiments.storage import Directory, _locks, _open_mark

BEGIN = """
import os, signal, sys, time
from fifteen.experiments import Experiment, TensorboardLogData
experiment = Experiment(sys.argv[1], verbose=False)
experiment.write_metadata("config", {"steps": 10})
"""
LOG = """
for step in range(5):
    experiment.log(TensorboardLogData(scalars={"loss": 1 / (step + 1)}), step=step)
experiment.flush()
"""


@contextlib.contextmanager
def process(code, path):
    """Run a script until it has printed a line."""
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN + code, str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.PIPE,
    ) as running:  # fmt: skip
        try:
            assert running.stdout.readline() == b"ready\n"
            yield running
        finally:
            running.kill()


def run(code, path):
    return subprocess.run(
        [sys.executable, "-c", BEGIN + code, str(path)], capture_output=True, timeout=120
    ).returncode


def fields_of(path):
    (fields,) = find_experiments(path).fields
    return fields


CATCH = """
def work():
    try:
        sys.exit(1)
    except SystemExit:
        pass
"""
WAIT = "print('ready', flush=True); sys.stdin.read()"


@pytest.mark.slow
def test_open_experiment_is_running(tmp_path):
    path = tmp_path / "run"
    with process(LOG + WAIT, path) as running:
        fields = fields_of(path)
        assert str(fields.status) == fields.value("status") == "running"
        assert fields.value("progress") == 0.5
        assert fields.value("elapsed") >= 0
        assert fields.value("speed") > 0
        running.stdin.close()
        assert running.wait(60) == 0
    assert str(fields_of(path).status) == "finished"


@pytest.mark.slow
def test_experiment_is_running_before_anything_is_logged(tmp_path):
    path = tmp_path / "run"
    with process(WAIT, path) as running:
        assert fields_of(path).value("status") == "running"
        running.stdin.close()
        assert running.wait(60) == 0
    assert str(fields_of(path).status).startswith("last write ")
    assert os.listdir(path) == ["config.yaml"]


ENDS = [
    ("", "finished", False),
    ("sys.exit(1)", "failed: SystemExit: 1", False),
    ("raise ValueError('boom\\nand more')", "failed: ValueError: boom", False),
    ("os.kill(os.getpid(), signal.SIGKILL)", "killed", True),
    ("sys.exit()", "finished", False),
    ("sys.exit(0)", "finished", False),
    ("sys.exit(False)", "finished", False),
    ("sys.exit('no data')", "failed: SystemExit: no data", False),
    ("def main(): return 3\nsys.exit(main())", "failed: SystemExit: 3", False),
    (f"{CATCH}\nwork()", "finished", False),
    (f"{CATCH}\nwork(); sys.exit()", "finished", False),
    (f"{CATCH}\ndef main(): work(); experiment.close()\nmain()", "finished", False),
    ("def main(): sys.exit(3)\nmain()", "failed: SystemExit: 3", False),
    ("try: sys.exit(3)\nfinally: os.getpid()", "failed: SystemExit: 3", False),
    ("try: sys.exit(3)\nexcept SystemExit: raise", "failed: SystemExit: 3", False),
    (
        "import atexit; atexit.register(experiment.close); sys.exit(3)",
        "failed: SystemExit: 3",
        False,
    ),
    ("import IPython\nraise ValueError('boom')", "failed: ValueError: boom", False),
    (f"{CATCH}\nwork(); 1 / 0", "failed: ZeroDivisionError: division by zero", False),
    (
        "import threading\nthreading.Thread(target=sys.exit, args=[1]).start()",
        "finished",
        False,
    ),
    ("with experiment: sys.exit(1)", "failed: SystemExit: 1", False),
    ("raise KeyboardInterrupt", "failed: KeyboardInterrupt", False),
    ("experiment.close(); sys.exit(1)", "finished", False),
    ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", "killed", True),
    ("with experiment: 1 / 0", "failed: ZeroDivisionError: division by zero", False),
    ("os._exit(0)", "killed", True),
]


@pytest.mark.parametrize(
    ("code", "status", "is_marked"),
    [*ENDS[:4], *(pytest.param(*end, marks=pytest.mark.slow) for end in ENDS[4:])],
)
def test_status_after_each_kind_of_end(tmp_path, code, status, is_marked):
    path = tmp_path / "run"
    run(LOG + code, path)
    fields = fields_of(path)
    assert str(fields.status) == status
    assert fields.value("status") == status.partition(":")[0]
    hidden = [name for name in os.listdir(path) if name.startswith(".")]
    assert len(hidden) == is_marked
    assert Directory(path).names() == sorted({*os.listdir(path)} - {*hidden})


@pytest.mark.parametrize("arguments", [["script.py"], ["-m", "script"]])
@pytest.mark.slow
def test_status_after_a_script_that_exits_by_what_main_returns(tmp_path, arguments):
    (tmp_path / "script.py").write_text("""
import sys
from fifteen.experiments import Experiment, TensorboardLogData
def main():
    experiment = Experiment(sys.argv[1], verbose=False)
    experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=0)
    return int(sys.argv[2])
sys.exit(main())
""")
    for code, status in ((0, "finished"), (3, "failed: SystemExit: 3")):
        command = [sys.executable, *arguments, f"run_{code}", str(code)]
        assert subprocess.run(command, cwd=tmp_path, timeout=120).returncode == code
        assert str(fields_of(tmp_path / f"run_{code}").status) == status


@pytest.mark.slow
def test_status_after_an_error_of_an_earlier_line(tmp_path):
    (tmp_path / "test_both.py").write_text(f"""
from fifteen.experiments import Experiment, TensorboardLogData
def test_error(): 1 / 0
def test_log():
    with Experiment({str(tmp_path / "pytest")!r}, verbose=False) as experiment:
        experiment.log(TensorboardLogData(scalars={{"loss": 1.0}}), step=0)
""")
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tmp_path], timeout=120
    )
    lines = "\n".join([
        "from fifteen.experiments import Experiment, TensorboardLogData", "1 / 0",
        f"experiment = Experiment({str(tmp_path / 'lines')!r}, verbose=False)",
        "experiment.log(TensorboardLogData(scalars={'loss': 1.0}), step=0)", "",
    ])  # fmt: skip
    for interpreter in (["-i"], ["-m", "IPython"]):
        subprocess.run(
            [sys.executable, *interpreter], input=lines, text=True, timeout=120, cwd=tmp_path
        )
        assert str(fields_of(tmp_path / "lines").status) == "finished"
        Experiment(tmp_path / "lines", verbose=False).clear()
    assert str(fields_of(tmp_path / "pytest").status) == "finished"


@pytest.mark.slow
def test_tensorboard_shows_how_it_ended(tmp_path):
    for code, status in (("", "STATUS_SUCCESS"), ("raise ValueError('boom')", "STATUS_FAILURE")):
        path = tmp_path / status
        run("experiment.log_hparams({'lr': 1})\n" + LOG + code, path)
        (file,) = path.glob("*tfevents*")
        ends = [
            plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
            for event in EventFileLoader(str(file)).Load()
            for value in event.summary.value
            if value.tag == "_hparams_/session_end_info"
        ]
        assert [_status_name(end.session_end_info.status) for end in ends] == [status]


def _status_name(number):
    from tensorboard.plugins.hparams import api_pb2

    return api_pb2.Status.Name(number)


@pytest.mark.slow
def test_resumed_run_gets_a_new_status(tmp_path):
    path = tmp_path / "run"
    run(LOG, path)
    assert str(fields_of(path).status) == "finished"
    run("experiment.log(TensorboardLogData(scalars={'loss': 0.1}), step=7)\nexperiment.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)", path)  # fmt: skip
    assert str(fields_of(path).status) == "killed"
    run(LOG + "raise ValueError", path)
    assert str(fields_of(path).status) == "failed: ValueError"
    assert not [name for name in os.listdir(path) if name.startswith(".")]


IN_CHILD = """
import multiprocessing, warnings
warnings.simplefilter("ignore")

def work():
    experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
    sys.exit(3)

child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""


@pytest.mark.slow
def test_error_that_ends_a_multiprocessing_child(tmp_path):
    run(IN_CHILD, tmp_path)
    assert str(fields_of(tmp_path).status) == "failed: SystemExit: 3"


def raise_and_close(error, experiment):
    try:
        raise error
    finally:
        experiment.close()


def test_close_records_the_error_that_is_being_handled(tmp_path):
    experiment = Experiment(tmp_path / "run", verbose=False)
    for error, status in (
        (ValueError("boom"), "failed: ValueError: boom"),
        (KeyboardInterrupt(), "failed: KeyboardInterrupt"),
        (SystemExit(0), "finished"),
        (StopIteration(), "finished"),
        (StopAsyncIteration(), "finished"),
    ):
        experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
        with contextlib.suppress(BaseException):
            raise_and_close(error, experiment)
        assert str(fields_of(experiment.data_dir).status) == status


def test_error_of_a_with_block_is_the_one_that_leaves_it(tmp_path):
    experiment = Experiment(tmp_path / "run", verbose=False)
    try:
        raise KeyError("of the caller")
    except KeyError:
        with experiment:
            experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
    assert str(fields_of(experiment.data_dir).status) == "finished"
    with contextlib.suppress(StopIteration), experiment:
        experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=2)
        next(iter([]))
    assert str(fields_of(experiment.data_dir).status) == "failed: StopIteration"


def test_error_handled_before_the_experiment_was_made_is_not_its_own(tmp_path):
    try:
        raise KeyError("of the caller")
    except KeyError:
        experiment = Experiment(tmp_path / "run", verbose=False)
        experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
        experiment.close()
        assert str(fields_of(experiment.data_dir).status) == "finished"
        experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=2)
        with contextlib.suppress(ValueError):
            raise_and_close(ValueError("boom"), experiment)
    assert str(fields_of(experiment.data_dir).status) == "failed: ValueError: boom"


def test_experiment_keeps_no_error_alive(tmp_path):
    class Failure(Exception):
        pass

    try:
        raise Failure
    except Failure as error:
        experiment = Experiment(tmp_path / "run", verbose=False)
        kept = weakref.ref(error)
    experiment.write_metadata("config", {})
    gc.collect()
    assert kept() is None


def test_closing_and_opening_again_in_one_process(tmp_path):
    experiment = Experiment(tmp_path / "run", verbose=False)
    for step in range(3):
        experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=step)
        experiment.flush()
        assert fields_of(experiment.data_dir).value("status") == "running"
        experiment.close()
        assert str(fields_of(experiment.data_dir).status) == "finished"
    assert experiment.read_scalars()["loss"].step.tolist() == [0, 1, 2]


def test_diverged(tmp_path):
    for name, values, status in (
        ("nan", [1.0, float("nan"), float("nan")], "diverged at 1"),
        ("inf", [1.0, 2.0, float("inf")], "diverged at 2"),
        ("again", [1.0, float("nan"), 1.0], "finished"),
    ):
        with Experiment(tmp_path / name, verbose=False) as experiment:
            for step, value in enumerate(values):
                experiment.log(TensorboardLogData(scalars={"loss": value, "x": 1.0}), step=step)
        assert str(fields_of(tmp_path / name).status) == status
    found = find_experiments(tmp_path)
    assert len(found.where("status == 'diverged'")) == 2
    assert found.where("diverged_at == 1")[0].data_dir.name == "nan"


@pytest.mark.slow
def test_mark_is_not_content(tmp_path):
    experiment = Experiment(tmp_path / "run", verbose=False)
    experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
    assert Directory(experiment.data_dir).open_state() == "open"
    experiment.clear().assert_new()
    assert Directory(experiment.data_dir).open_state() == "unknown"
    experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
    assert Directory(experiment.data_dir).open_state() == "open"
    moved = experiment.move(tmp_path / "moved")
    assert Directory(moved.data_dir).open_state() == "unknown"
    moved.log(TensorboardLogData(scalars={"loss": 1.0}), step=2)
    assert Directory(moved.data_dir).open_state() == "open"
    moved.close()
    directory = tmp_path / "killed"
    run("os.kill(os.getpid(), signal.SIGKILL)", directory)
    (directory / "config.yaml").unlink()
    assert Directory(directory).open_state() == "abandoned"
    Experiment(directory, verbose=False).assert_new()


def test_dropped_handle_leaves_no_mark(tmp_path):
    Experiment(tmp_path / "run", verbose=False).write_metadata("config", {})
    assert os.listdir(tmp_path / "run") == ["config.yaml"]


@pytest.mark.slow
def test_many_handles_do_not_exhaust_descriptors(tmp_path):
    held = [Experiment(tmp_path / f"run_{number}", verbose=False) for number in range(300)]
    for experiment in held:
        experiment.write_metadata("config", {})
    states = [Directory(experiment.data_dir).open_state() for experiment in held]
    assert 0 < states.count("open") <= _open_mark._MAX_MARKS
    assert states.count("abandoned") == 0


def test_forked_child_does_not_hold_its_parents_mark(tmp_path):
    path = tmp_path / "run"
    code = """
child = os.fork()
if child == 0:
    os.write(1, b"ready\\n")
    time.sleep(60)
    os._exit(0)
os.write(1, b"%d\\n" % child)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", BEGIN + LOG + code, str(path)],
        stdout=subprocess.PIPE,
    ) as running:
        lines = {running.stdout.readline(), running.stdout.readline()}
        (child,) = lines - {b"ready\n"}
        running.wait(60)
        try:
            assert str(fields_of(path).status) == "killed"
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_without_locks_status_is_the_last_write(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    experiment = Experiment(tmp_path / "run", verbose=False)
    experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=1)
    experiment.flush()
    assert [name for name in os.listdir(tmp_path / "run") if name.startswith(".")] == []
    assert str(fields_of(tmp_path / "run").status).startswith("last write ")
    experiment.close()
    assert str(fields_of(tmp_path / "run").status) == "finished"


def test_mark_that_another_process_removes_before_it_is_locked(tmp_path, monkeypatch):
    flock = fcntl.flock

    def remove_before_locking(file, operation):
        monkeypatch.undo()
        (mark,) = tmp_path.glob(".open.*")
        assert _locks.remove_if_free(mark)
        flock(file, operation)

    monkeypatch.setattr("fcntl.flock", remove_before_locking)
    mark = Directory(tmp_path).mark_open()
    assert Directory(tmp_path).open_state() == "open"
    mark.release()
    assert os.listdir(tmp_path) == []


# If interrupted before its `with` block, the file is closed a little later.
@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning",
    "ignore:.*FileIO:pytest.PytestUnraisableExceptionWarning",
)
def test_interrupted_opening_or_closing_leaves_no_mark(tmp_path, untraced):
    class Stop(Exception):
        pass

    def interrupt(number, action):
        lines = itertools.count()

        def trace(frame, event, argument):
            if event == "line" and next(lines) == number:
                raise Stop
            return trace

        try:
            sys.settrace(trace)
            return action()
        finally:
            sys.settrace(None)

    for number in itertools.count():
        with contextlib.suppress(Stop):
            interrupt(number, lambda: Directory(tmp_path).mark_open()).release()
            break
        assert os.listdir(tmp_path) == [], number
    assert number > 20
    for number in range(20):
        mark = Directory(tmp_path).mark_open()
        with contextlib.suppress(Stop):
            interrupt(number, mark.release)
        del mark
        assert os.listdir(tmp_path) == [], number


def test_mark_of_another_host_does_not_count_during_writes(tmp_path):
    mark = tmp_path / ".open.0123abcd.fifteen-tmp"
    mark.write_text("another host")
    (tmp_path / "config.yaml").write_text("a: 1\n")
    assert Directory(tmp_path).open_state() == "unknown"
    old = time.time() - 3600
    os.utime(tmp_path, (old, old))
    assert Directory(tmp_path).open_state() == "abandoned"


def test_events_of_other_writers(tmp_path):
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(tmp_path / "run")) as writer:
        writer.add_scalar("loss", 1.0, 5)
    fields = fields_of(tmp_path / "run")
    assert str(fields.status).startswith("last write ")
    assert fields.value("loss") == 1.0
    assert pathlib.Path(fields.path).name == "run"


def test_progress(tmp_path):
    for name, config, progress in (
        ("a", {"steps": 10}, 0.5),
        ("b", {"train": {"num_steps": 8}}, 0.625),
        ("c", {"max_steps": 3}, 1.0),
        ("d", {"lr": 1}, ""),
        ("e", {"steps": "many"}, ""),
        ("f", {"total_steps": 0}, ""),
        ("g", {"total_steps": 10**400}, ""),
        ("h", {"total_steps": float("nan")}, ""),
    ):
        with Experiment(tmp_path / name, verbose=False) as experiment:
            experiment.write_metadata("config", config)
            experiment.log(TensorboardLogData(scalars={"loss": 1.0}), step=4)
        value = fields_of(tmp_path / name).value("progress")
        assert (value if isinstance(value, float) else str(value)) == progress
