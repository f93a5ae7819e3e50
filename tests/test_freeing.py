"""Large files are gone at once, and their blocks soon after."""

import os
import threading

import pytest

from fifteen.experiments import _freeing

LARGE = 2 << 20


@pytest.mark.parametrize("size", [0, 10, LARGE])
def test_a_file_is_gone_at_once(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    _freeing.remove_soon(path)
    assert os.listdir(tmp_path) == []
    _freeing.await_removals()
    _freeing.remove_soon(path)


def test_directories_and_links_go_too(tmp_path):
    (tmp_path / "directory").mkdir()
    (tmp_path / "target").write_bytes(bytes(LARGE))
    (tmp_path / "link").symlink_to("target")
    for name in ("directory", "link"):
        _freeing.remove_soon(tmp_path / name)
    assert os.listdir(tmp_path) == ["target"]


def test_no_descriptor_and_no_thread_is_left(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        path = tmp_path / str(number)
        path.write_bytes(bytes(LARGE))
        _freeing.remove_soon(path)
    _freeing.await_removals()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "freeing"]


def test_what_another_has_open_stays_readable(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * LARGE)
    with open(path, "rb") as file:
        _freeing.remove_soon(path)
        _freeing.await_removals()
        assert file.read() == b"x" * LARGE


def test_where_no_thread_can_be_started_it_is_done_at_once(tmp_path, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    before = len(os.listdir("/proc/self/fd"))
    path = tmp_path / "file"
    path.write_bytes(bytes(LARGE))
    _freeing.remove_soon(path)
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before
