"""Run tests of the public interface on a directory and once more at an address.

There, `tmp_path` is in obstore's memory store, which is fast; tests/remote covers servers, networks
and several processes. Tests that need a disk do not run there:

- other processes, which do not see this one's memory;
- links, pipes, modes, times and sizes of files, the current directory, `os` and `shutil`;
- libraries that open files themselves, such as TensorBoard, safetensors and Orbax;
- errors of a disk, which are provoked by putting a file or a directory in the way.
"""

import inspect
import os
import pathlib
import re
import uuid

from fifteen.experiments import _session
from fifteen.experiments._local_path import local_path

TESTS = pathlib.Path(__file__).parent
MODULES = {
    "checkpoints/test_matching.py",
    "checkpoints/test_partial.py",
    "checkpoints/test_paths.py",
    "cli/test_upkeep.py",
    "events/test_log.py",
    "events/test_reading.py",
    "events/test_reopening.py",
    "events/test_timeline.py",
    "metadata/test_notes.py",
    "metadata/test_reading.py",
    "metadata/test_round_trip.py",
    "metadata/test_writing.py",
    "test_discovery.py",
    "test_experiment.py",
    "test_experiments.py",
}
ONLY_ON_A_DISK = re.compile(
    r"\b(os|shutil|glob|filecmp|warm)\.|\bopen\(|run_script|run_python|subprocess|spawn|fork|multiprocessing"
    r"|symlink_to|hardlink_to|mkfifo|chmod|touch\(|\.stat\(|\.rename\(|rmdir\(|\.resolve\(|chdir|cwd"
    r"|EventAccumulator|tensorboardX|SummaryWriter|safetensors|orbax|monkeypatch|rmtree"
)
NAMED = {
    # TensorBoard reads, or the directory is not created by us.
    "test_compiled_function_logs_after_close",
    "test_alternating_tags_keep_their_order",
    "test_numpy_and_jax_hparams_are_numbers",
    # At an address no line reports a new directory, empty directories do not exist, and not all
    # names are valid.
    "test_file_in_the_way_is_named",
    "test_hostile_names",
    "test_prints_one_line_per_action",
    "test_summary_of_nothing",
}


def runs_at_an_address(function):
    """Return whether a test function also runs at an address."""
    module = str(pathlib.Path(inspect.getfile(function)).relative_to(TESTS))
    is_slow = any(mark.name in ("slow", "soak") for mark in getattr(function, "pytestmark", ()))
    if module not in MODULES or is_slow or function.__name__ in NAMED:
        return False
    return not ONLY_ON_A_DISK.search(inspect.getsource(function))


def address():
    """Return a fresh address, which tests use as a path."""
    root = os.environ.get("FIFTEEN_TEST_ADDRESS", "memory:/")
    return local_path(f"{root}/{uuid.uuid4().hex}/tests")


def close_all(path):
    """Close everything a test left open: each log and lease at an address has a thread."""
    for session in list(_session._open):
        if path in session.directory.parents:
            session.settle(None)
