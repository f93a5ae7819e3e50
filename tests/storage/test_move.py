"""Moving a directory within a file system and to another."""

import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap

import pytest

from fifteen.experiments import ExperimentExistsError, UnsafePathError
from fifteen.experiments.storage import Directory, _local


def move(source, destination):
    assert Directory(source).move(Directory(destination))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    (path / "sub").mkdir(parents=True)
    (path / "a").write_bytes(b"a" * 1000)
    (path / "sub" / "b").write_bytes(os.urandom(1000))
    (path / "link").symlink_to("a")
    return path


@pytest.fixture
def elsewhere(tmp_path):
    """A directory on another file system than `tmp_path`."""
    shared_memory = pathlib.Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK) or (
        shared_memory.stat().st_dev == tmp_path.stat().st_dev
    ):
        pytest.skip("needs a second file system at /dev/shm")
    path = pathlib.Path(tempfile.mkdtemp(dir=shared_memory))
    yield path
    shutil.rmtree(path)


def contents(path):
    return {
        str(found.relative_to(path)): os.readlink(found)
        if found.is_symlink()
        else (found.read_bytes() if found.is_file() else None)
        for found in path.rglob("*")
    }


def test_moves_within_a_file_system(source, tmp_path):
    before = contents(source)
    move(source, tmp_path / "new" / "parents" / "destination")
    assert contents(tmp_path / "new" / "parents" / "destination") == before
    assert not source.exists()


def test_moves_into_an_empty_directory(source, tmp_path):
    (tmp_path / "empty").mkdir()
    move(source, tmp_path / "empty")
    assert (tmp_path / "empty" / "a").exists()


def test_moves_across_file_systems(source, elsewhere):
    before = contents(source)
    modified = (source / "a").stat().st_mtime_ns
    move(source, elsewhere / "destination")
    assert contents(elsewhere / "destination") == before
    assert (elsewhere / "destination" / "a").stat().st_mtime_ns == modified
    assert not source.exists()
    assert os.listdir(elsewhere) == ["destination"]


def test_links_that_lead_nowhere_are_moved_across_file_systems(source, elsewhere):
    (source / "broken").symlink_to("nowhere")
    (source / "loop").symlink_to("loop")
    move(source, elsewhere / "destination")
    assert os.readlink(elsewhere / "destination" / "broken") == "nowhere"
    assert os.readlink(elsewhere / "destination" / "loop") == "loop"


def test_moves_across_into_an_empty_directory(source, elsewhere):
    (elsewhere / "empty").mkdir()
    move(source, elsewhere / "empty")
    assert (elsewhere / "empty" / "a").exists()


@pytest.mark.parametrize("occupied", ["file", "full", "link", "broken"])
def test_refuses_an_occupied_destination_and_changes_nothing(source, tmp_path, occupied):
    destination = tmp_path / "parent" / "destination"
    destination.parent.mkdir()
    if occupied == "file":
        destination.write_text("precious")
    elif occupied == "full":
        destination.mkdir()
        (destination / "precious").write_text("x")
    else:
        destination.symlink_to(tmp_path if occupied == "link" else "nowhere")
    before = contents(tmp_path)
    with pytest.raises(ExperimentExistsError, match="choose another destination"):
        move(source, destination)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("inside", [".", "sub", "new/deeper"])
def test_refuses_a_destination_inside_the_source(source, inside):
    before = contents(source)
    with pytest.raises(UnsafePathError, match="into itself"):
        move(source, source / inside)
    assert contents(source) == before


def test_refuses_a_destination_inside_the_source_through_a_link(source, tmp_path):
    (tmp_path / "alias").symlink_to(source)
    with pytest.raises(UnsafePathError, match="into itself"):
        move(source, tmp_path / "alias" / "new")


def test_link_to_an_experiment_still_works(source, tmp_path):
    (tmp_path / "latest").symlink_to("source")
    move(tmp_path / "latest", tmp_path / "deep" / "er" / "latest")
    assert (tmp_path / "deep" / "er" / "latest" / "a").exists()
    assert not (tmp_path / "latest").is_symlink()
    assert source.exists()


def test_source_that_changes_during_the_move_stays(source, elsewhere, monkeypatch):
    real = shutil.copystat

    def copy_and_change(origin, target, **options):
        real(origin, target, **options)
        if pathlib.Path(origin).name == "b":
            with open(origin, "ab") as file:
                file.write(b"more")

    monkeypatch.setattr(shutil, "copystat", copy_and_change)
    with pytest.raises(OSError, match=r"sub/b: changed while .* nothing was moved"):
        move(source, elsewhere / "destination")
    assert (source / "sub" / "b").exists()
    assert os.listdir(elsewhere) == []


@pytest.mark.parametrize("moment", ["copying", "before the rename", "after it", "deleting"])
def test_kill_never_loses_the_source(source, elsewhere, moment):
    before = contents(source)
    script = """
        import os, pathlib, shutil, signal, sys
        from fifteen.experiments.storage import Directory, _local
        moment, source, destination = sys.argv[1], *map(pathlib.Path, sys.argv[2:])

        def die(*arguments, **options):
            os.kill(os.getpid(), signal.SIGKILL)

        real_rename = os.rename
        if moment == "copying":
            shutil.copystat = die
        elif moment == "before the rename":
            os.rename = lambda *pair: die() if "fifteen-tmp" in str(pair[0]) else real_rename(*pair)
        elif moment == "after it":
            _local.remove = die
        else:
            shutil.rmtree = die
        Directory(source).move(Directory(destination))
    """
    destination = elsewhere / "destination"
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), moment, str(source), str(destination)]
    )
    assert process.returncode == -signal.SIGKILL
    found = [path for path in (source, destination) if path.exists()]
    assert found
    assert all(contents(path) == before for path in found)
    if moment in ("copying", "before the rename"):
        # Leftovers of the dead process do not block the next attempt, which removes them.
        move(source, destination)
        assert contents(destination) == before
        assert os.listdir(elsewhere) == ["destination"]


def test_a_temporary_directory_may_vanish_while_all_is_listed(tmp_path):
    for number in range(10):
        (tmp_path / f"sub{number}").mkdir()
        (tmp_path / f"sub{number}" / "file").touch()
        (tmp_path / f".{number}.fifteen-tmp").mkdir()
    found = _local.below(tmp_path)
    first = [path.name for path in itertools.takewhile(lambda path: path.name != "file", found)]
    for number in range(10):
        (tmp_path / f".{number}.fifteen-tmp").rmdir()
    assert len(first) + len(list(found)) == 19


def test_leftovers_of_a_deletion_are_hidden(source, tmp_path):
    hidden = _local.temporary_beside(source)
    source.rename(hidden)
    assert Directory(tmp_path).names() == []
