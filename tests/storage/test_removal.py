"""Removed files disappear at once, and their blocks are freed soon after."""

import _thread
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fifteen.experiments.storage import _removal

LARGE = 2 << 20


@pytest.mark.parametrize("size", [0, 10, LARGE])
def test_file_disappears_at_once(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    _removal.remove_in_background(path)
    assert os.listdir(tmp_path) == []
    _removal.wait_for_removals()
    _removal.remove_in_background(path)


def test_directories_and_links_are_removed_too(tmp_path):
    (tmp_path / "directory").mkdir()
    (tmp_path / "target").write_bytes(bytes(LARGE))
    (tmp_path / "link").symlink_to("target")
    for name in ("directory", "link"):
        _removal.remove_in_background(tmp_path / name)
    assert os.listdir(tmp_path) == ["target"]


def test_no_descriptors_or_threads_remain(tmp_path):
    before = len(os.listdir("/proc/self/fd")), _thread._count()
    for number in range(20):
        path = tmp_path / str(number)
        path.write_bytes(bytes(LARGE))
        _removal.remove_in_background(path)
    _removal.wait_for_removals()
    # A thread ends a moment after releasing its lock.
    end = time.monotonic() + 30
    while (len(os.listdir("/proc/self/fd")), _thread._count()) != before:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_file_that_is_open_elsewhere_stays_readable(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * LARGE)
    with open(path, "rb") as file:
        _removal.remove_in_background(path)
        _removal.wait_for_removals()
        assert file.read() == b"x" * LARGE


def test_several_threads_may_wait(tmp_path):
    for _ in range(20):
        for number in range(8):
            path = tmp_path / str(number)
            path.write_bytes(bytes(2 << 20))
            _removal.remove_in_background(path)
        with ThreadPoolExecutor(4) as threads:
            waiting = [threads.submit(_removal.wait_for_removals) for _ in range(4)]
        for waited in waiting:
            waited.result()
        assert not _removal._freeing


def test_removal_runs_at_once_if_no_thread_can_start(tmp_path, monkeypatch):
    def start(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", start)
    before = len(os.listdir("/proc/self/fd"))
    path = tmp_path / "file"
    path.write_bytes(bytes(LARGE))
    _removal.remove_in_background(path)
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:os.fork:RuntimeWarning")
def test_forked_child_does_not_wait_for_its_parent(tmp_path):
    under_way = _thread.allocate_lock()
    with under_way:
        _removal._freeing.append(under_way)
        child = os.fork()
        if child == 0:
            _removal.wait_for_removals()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    _removal.wait_for_removals()
