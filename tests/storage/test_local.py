"""Local paths: atomic writes, leftovers of dead writers, safe names."""

import os
import pathlib
import signal
import stat
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fifteen.experiments import UnsafePathError
from fifteen.experiments.storage import Directory, _local


def tree(path):
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


class TestAtomicFile:
    def test_writes_and_replaces(self, tmp_path):
        path = tmp_path / "a"
        for content in (b"old", b"new"):
            with _local.atomic_file(path) as file:
                file.write(content)
            assert path.read_bytes() == content
        assert tree(tmp_path) == ["a"]

    def test_exception_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "a"
        path.write_bytes(b"old")

        def write_half():
            with _local.atomic_file(path) as file:
                file.write(b"ne")
                raise RuntimeError("half-way")

        with pytest.raises(RuntimeError, match="half"):
            write_half()
        assert path.read_bytes() == b"old"
        assert tree(tmp_path) == ["a"]

    def test_file_is_invisible_until_complete(self, tmp_path):
        with _local.atomic_file(tmp_path / "a") as file:
            file.write(b"x")
            assert Directory(tmp_path).names() == []
        assert Directory(tmp_path).names() == ["a"]

    def test_respects_the_umask(self, tmp_path):
        old = os.umask(0o027)
        try:
            with _local.atomic_file(tmp_path / "a") as file:
                file.write(b"x")
        finally:
            os.umask(old)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640

    def test_long_and_wide_names(self, tmp_path):
        for name in ("n" * 255, "é" * 127, "🙂" * 63):
            with _local.atomic_file(tmp_path / name) as file:
                file.write(b"x")
            assert (tmp_path / name).read_bytes() == b"x"

    def test_file_is_synced_before_it_is_renamed(self, tmp_path, monkeypatch):
        calls = []
        real_fsync, real_replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), real_fsync(fd)))
        monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), real_replace(*a)))
        with _local.atomic_file(tmp_path / "a") as file:
            file.write(b"x")
        assert calls == ["fsync", "replace", "fsync"]


def start_writer(tmp_path, before="pass", stdin=None):
    """Start a process that stops halfway through writing `tmp_path / "a"`."""
    script = f"""
        import os, pathlib, sys, time
        from fifteen.experiments.storage import _local
        with _local.atomic_file(pathlib.Path(sys.argv[1]) / "a") as file:
            file.write(b"half")
            {before}
            print("ready", flush=True)
            time.sleep(60)
    """
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdin=stdin,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout.readline() == b"ready\n"
    return writer


def end(writer):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()


def test_leftovers_are_removed_once_their_writer_is_dead(tmp_path):
    writer = start_writer(tmp_path)
    try:
        assert _local.remove_leftovers(tmp_path) == []
        assert len(list(tmp_path.iterdir())) == 1
    finally:
        end(writer)
    removed = _local.remove_leftovers(tmp_path)
    assert [_local.is_temporary(path.name) for path in removed] == [True]
    assert tree(tmp_path) == []


def test_child_of_the_writer_does_not_keep_its_leftovers(tmp_path):
    reading, writing = os.pipe()
    try:
        # The child ends when this test closes the other end of the pipe.
        fork = "if not os.fork(): os.read(0, 1); file.close(); os._exit(0)"
        writer = start_writer(tmp_path, fork, stdin=reading)
        assert _local.remove_leftovers(tmp_path) == []
        end(writer)
        # The child releases the lock once it runs, perhaps after its parent's death.
        deadline = time.monotonic() + 60
        while not (removed := _local.remove_leftovers(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [_local.is_temporary(path.name) for path in removed] == [True]
    finally:
        os.close(reading)
        os.close(writing)


def test_directories_are_locked_too(tmp_path):
    with _local.temporary_directory(tmp_path / "d") as temporary:
        (temporary / "inside").write_text("x")
        assert _local.remove_leftovers(tmp_path) == []
    temporary.mkdir()
    assert _local.remove_leftovers(tmp_path) == [temporary]


def test_remove_leftovers_touches_nothing_else(tmp_path):
    (tmp_path / ".a.fifteen").write_text("x")
    (tmp_path / "a.fifteen-tmp").write_text("x")
    (tmp_path / ".link.00000000.fifteen-tmp").symlink_to(tmp_path / ".a.fifteen")
    assert _local.remove_leftovers(tmp_path) == []
    assert _local.remove_leftovers(tmp_path / "absent") == []
    assert len(tree(tmp_path)) == 3


@pytest.mark.slow
def test_two_cleaners_and_a_writer(tmp_path):
    script = """
        import pathlib, sys, time
        from fifteen.experiments.storage import _local
        end = time.monotonic() + 2
        while time.monotonic() < end:
            _local.remove_leftovers(pathlib.Path(sys.argv[1]))
    """
    cleaners = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(tmp_path)])
        for _ in range(2)
    ]
    written = 0
    while any(cleaner.poll() is None for cleaner in cleaners):
        with _local.atomic_file(tmp_path / "a") as file:
            file.write(b"whole")
        assert (tmp_path / "a").read_bytes() == b"whole"
        written += 1
    assert [cleaner.wait() for cleaner in cleaners] == [0, 0]
    assert written > 10


class TestMakeDirectory:
    def test_returns_whether_it_was_created(self, tmp_path):
        assert _local.make_directory(tmp_path / "a" / "b")
        assert not _local.make_directory(tmp_path / "a" / "b")

    def test_file_in_the_way(self, tmp_path):
        (tmp_path / "a").write_text("x")
        with pytest.raises((FileExistsError, NotADirectoryError), match="a"):
            _local.make_directory(tmp_path / "a" / "b")


class TestRemove:
    def test_files_directories_and_nothing(self, tmp_path):
        (tmp_path / "d" / "e").mkdir(parents=True)
        (tmp_path / "f").write_text("x")
        for name in ("d", "f", "absent"):
            _local.remove(tmp_path / name)
        assert tree(tmp_path) == []

    def test_links_are_not_followed(self, tmp_path):
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "precious").write_text("x")
        inside = tmp_path / "inside"
        inside.mkdir()
        (inside / "link").symlink_to(outside)
        (tmp_path / "direct").symlink_to(outside)
        _local.remove(inside)
        _local.remove(tmp_path / "direct")
        assert tree(tmp_path) == ["outside", "outside/precious"]

    def test_kill_during_removal_leaves_nothing_under_the_name(self, tmp_path):
        script = """
            import os, pathlib, shutil, signal, sys
            from fifteen.experiments.storage import _local
            def die(path, *arguments, **options):
                os.unlink(sorted(pathlib.Path(path).iterdir())[0])
                os.kill(os.getpid(), signal.SIGKILL)
            shutil.rmtree = die
            _local.remove(pathlib.Path(sys.argv[1]))
        """
        doomed = tmp_path / "doomed"
        doomed.mkdir()
        for name in "abc":
            (doomed / name).write_text("x")
        process = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(doomed)])
        assert process.returncode == -signal.SIGKILL
        assert not doomed.exists()
        assert Directory(tmp_path).names() == []
        assert len(_local.remove_leftovers(tmp_path)) == 1
        assert tree(tmp_path) == []


class TestCheckedName:
    @pytest.mark.parametrize("name", ["config", "eval/step_100", "a.b", "a b", "ü", "..a", ".a"])
    def test_accepts(self, tmp_path, name):
        assert Directory(tmp_path).checked_name(name, ".yaml") == f"{name}.yaml"

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("", "empty"),
            ("/etc/passwd", "absolute"),
            ("..", r"'\.\.'"),
            ("a/../../b", r"'\.\.'"),
            ("a//b", "empty part"),
            ("a/", "empty part"),
            ("./a", "empty part or '.'"),
            ("a\0b", "NUL"),
            ("config.yaml", "leave out '.yaml'"),
        ],
    )
    def test_refuses(self, tmp_path, name, problem):
        with pytest.raises(UnsafePathError, match=problem):
            Directory(tmp_path).checked_name(name, ".yaml")

    def test_refuses_a_link_to_the_outside(self, tmp_path):
        root = tmp_path / "root"
        root.mkdir()
        (root / "out").symlink_to(tmp_path)
        (root / "file.yaml").symlink_to(tmp_path / "elsewhere.yaml")
        for name in ("out/config", "file"):
            with pytest.raises(UnsafePathError, match="symbolic link leads out"):
                Directory(root).checked_name(name, ".yaml")

    def test_accepts_a_link_to_the_inside(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        assert Directory(tmp_path).checked_name("link/a") == "link/a"

    def test_root_may_be_a_link(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        assert Directory(tmp_path / "link").checked_name("a") == "a"


class TestCheckRemovable:
    def test_refuses_root_home_and_working_directory(self, tmp_path, monkeypatch):
        (tmp_path / "a" / "b").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "a" / "b")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        (tmp_path / "home" / "user").mkdir(parents=True)
        for path, problem in [
            (pathlib.Path("/"), "root of the file system"),
            (tmp_path / "home", "home directory"),
            (tmp_path / "a", "current directory"),
            (tmp_path / "a" / "b", "current directory"),
            (tmp_path, "home directory"),
            (pathlib.Path("/proc"), "mounted"),
        ]:
            with pytest.raises(UnsafePathError, match=problem):
                Directory(path).check_removable()
        Directory(tmp_path / "home" / "user").check_removable()
        Directory(tmp_path / "absent").check_removable()

    def test_refuses_a_link_to_home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        (tmp_path / "home").mkdir()
        (tmp_path / "link").symlink_to("home")
        with pytest.raises(UnsafePathError, match="home directory"):
            Directory(tmp_path / "link").check_removable()


def test_threads_create_the_same_directory(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        for number in range(200):
            path = tmp_path / str(number) / "a" / "b"
            list(threads.map(_local.make_directory, [path] * 8))
            assert path.is_dir()
