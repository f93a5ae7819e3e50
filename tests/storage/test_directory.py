"""The interface of `Directory`."""

import os

import pytest

from fifteen.experiments import UnsafePathError
from fifteen.experiments.storage import Directory, Entry


@pytest.fixture
def directory(tmp_path):
    return Directory(tmp_path)


def test_file_is_replaced_atomically(directory):
    with directory.replace("a") as file:
        file.skip(2)
        file.write(b"cd", memoryview(b"ef"), b"")
        file.write(b"g")
        file.write_at(0, b"ab")
    assert directory.read("a") == b"abcdefg"

    def fail():
        with directory.replace("a") as file:
            file.write(b"new")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert directory.read("a") == b"abcdefg"
    assert directory.names() == os.listdir(directory.path) == ["a"]


def test_many_buffers_are_written_in_order(directory):
    parts = [bytes([number % 251]) * (number % 7) for number in range(3000)]
    with directory.replace("a") as file:
        file.write(*parts)
    assert directory.read("a") == b"".join(parts)


def test_ranges(directory):
    with directory.replace("a") as file:
        file.write(bytes(range(100)))
    with directory.open("a") as file:
        assert file.size == 100
        assert file.read(10, 13) == bytes([10, 11, 12])
        assert file.read(98, 200) == bytes([98, 99])
        buffer = bytearray(5)
        assert (file.read_into(buffer, 97), bytes(buffer)) == (3, bytes([97, 98, 99, 0, 0]))
        directory.remove("a")
        assert file.read(0, 1) == b"\0"


def test_appended_file_is_new_and_reports_its_deletion(directory):
    names = iter(["log", "log", "log2"])
    file = directory.append(lambda _: next(names), b"head", print)
    assert file.write(b"one") == 3
    other = directory.append(lambda _: next(names), b"head", print)
    assert (directory.read("log"), directory.read("log2")) == (b"headone", b"head")
    assert not file.is_gone()
    directory.remove("log")
    assert file.is_gone()
    file.close()
    other.close()


def test_kinds_and_entries(directory):
    (directory / "folder").make()
    with directory.replace("file") as file:
        file.write(b"x")
    (directory.path / "link").symlink_to("file")
    (directory.path / "broken").symlink_to("nowhere")
    os.mkfifo(directory.path / "pipe")
    assert directory.entries() == [
        Entry("broken", "other", True),
        Entry("file", "file", False),
        Entry("folder", "directory", False),
        Entry("link", "file", True),
        Entry("pipe", "other", False),
    ]
    kinds = {name: directory.kind_of(name) for name in (*directory.names(), "absent", "file/x")}
    assert kinds.pop("absent") is kinds.pop("file/x") is None
    assert kinds == {entry.name: entry.kind for entry in directory.entries()}
    for name in ("folder", "pipe"):
        with pytest.raises(OSError, match="not a regular file"):
            directory.open(name)
    assert Directory(directory.path / "absent").entries() == []


def test_names_outside_the_directory_are_refused(directory):
    assert directory.checked_name("eval/step", ".yaml") == "eval/step.yaml"
    for name in ("", "/a", "../a", "a//b", "a.yaml"):
        with pytest.raises(UnsafePathError):
            directory.checked_name(name, ".yaml")


def test_replace_directory_replaces_the_old_one(directory):
    (directory / "old").make()
    with (directory / "old").replace("a") as file:
        file.write(b"old")
    with directory.temporary("old") as temporary:
        new = temporary / "new"
        new.make()
        with new.replace("a") as file:
            file.write(b"new")
        assert directory.names() == ["old"]
        directory.replace_directory(new, "old")
    directory.remove_leftovers()
    assert os.listdir(directory.path) == ["old"]
    assert (directory / "old").read("a") == b"new"


def test_usage_counts_files_but_not_links(directory):
    (directory / "folder").make()
    for name, size in (("folder/a", 100), ("b", 20)):
        (directory.path / name).write_bytes(b"x" * size)
        os.utime(directory.path / name, (0, 4_000_000_000 + size))
    (directory.path / "link").symlink_to("b")
    (directory.path / "up").symlink_to(directory.path)
    assert directory.usage() == (120, 4_000_000_100)
