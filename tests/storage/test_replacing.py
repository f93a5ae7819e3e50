"""Replacing a directory, with kills at any moment."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from fifteen.experiments.storage import Directory, _local


def make(path: pathlib.Path, text: str) -> pathlib.Path:
    path.mkdir()
    (path / "content").write_text(text)
    return path


def test_replaces_nothing(tmp_path):
    _local.replace_directory(make(tmp_path / "new", "new"), tmp_path / "it")
    assert Directory(tmp_path).names() == ["it"]
    assert (tmp_path / "it" / "content").read_text() == "new"


@pytest.mark.parametrize("old", ["directory", "file", "link"])
def test_replaces_a_directory_file_or_link(tmp_path, old):
    path = tmp_path / "it"
    if old == "directory":
        make(path, "old")
    elif old == "file":
        path.write_text("old")
    else:
        path.symlink_to(make(tmp_path / "elsewhere", "kept"))
    _local.replace_directory(make(tmp_path / "new", "new"), path)
    assert (path / "content").read_text() == "new"
    assert not path.is_symlink()
    assert (
        os.listdir(tmp_path) == (["elsewhere", "it"] if old == "link" else ["it"]) or old == "link"
    )
    if old == "link":
        assert (tmp_path / "elsewhere" / "content").read_text() == "kept"


def test_kill_before_the_old_one_is_moved_away(tmp_path):
    make(tmp_path / "it", "old")
    make(tmp_path / ".it.fifteen-new", "new")
    assert Directory(tmp_path).names() == ["it"]
    assert (tmp_path / "it" / "content").read_text() == "old"
    assert _local.remove_leftovers(tmp_path) == [tmp_path / ".it.fifteen-new"]
    assert os.listdir(tmp_path) == ["it"]


def test_kill_after_the_old_one_is_moved_away(tmp_path):
    make(tmp_path / ".it.fifteen-new", "new")
    assert Directory(tmp_path).names() == ["it"]
    assert (tmp_path / "it" / "content").read_text() == "new"
    make(tmp_path / ".at.fifteen-new", "new")
    assert _local.remove_leftovers(tmp_path) == []
    assert sorted(os.listdir(tmp_path)) == ["at", "it"]


@pytest.mark.slow
def test_kill_at_any_system_call(tmp_path):
    """An audit hook kills the process at each rename and removal."""
    script = """
import os, pathlib, signal, sys
from fifteen.experiments.storage import _local
directory, limit = pathlib.Path(sys.argv[1]), int(sys.argv[2])
seen = 0
def hook(event, arguments):
    global seen
    if event in ("os.rename", "os.remove", "os.rmdir"):
        seen += 1
        if seen > limit:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
_local.replace_directory(directory / ".new.x.fifteen-tmp", directory / "it")
"""
    for limit in range(20):
        directory = tmp_path / str(limit)
        directory.mkdir()
        make(directory / "it", "old")
        make(directory / ".new.x.fifteen-tmp", "new")
        command = [sys.executable, "-c", script, str(directory), str(limit)]
        code = subprocess.run(command).returncode
        assert Directory(directory).names() == ["it"]
        text = (directory / "it" / "content").read_text()
        assert text in ("old", "new")
        _local.remove_leftovers(directory)
        assert os.listdir(directory) == ["it"]
        assert (directory / "it" / "content").read_text() == text
        if code == 0:
            assert text == "new"
            break
        assert code == -signal.SIGKILL
    else:
        pytest.fail("it made more calls than expected")
    assert limit > 3
