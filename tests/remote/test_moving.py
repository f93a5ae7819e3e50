"""Moving to, from and between object stores: the source or the destination is always complete."""

import functools
import os
import signal
import subprocess
import sys
import textwrap
import uuid

import numpy as np
import obstore.store
import pytest

from fifteen.cli import main
from fifteen.experiments import (
    Experiment,
    ExperimentExistsError,
    ExperimentMovedError,
    TensorboardLogData,
    UnsafePathError,
)
from fifteen.experiments.storage import Directory, _move
from fifteen.experiments.storage._remote._directory import RemoteDirectory


def place(request, kind):
    """Return an unused address or path."""
    if kind == "local":
        return str(request.getfixturevalue("tmp_path_factory").mktemp("place"))
    if kind == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"


KINDS = ["memory", "server", "local"]


@pytest.fixture(params=KINDS)
def root(request):
    return place(request, request.param)


@pytest.fixture(params=KINDS)
def other_root(request):
    return place(request, request.param)


@pytest.fixture(params=["local to server", "server to local", "server to server"])
def both(request):
    """A source with some files, and a destination."""
    first, last = request.param.split(" to ")
    source = Experiment(f"{place(request, first)}/a", verbose=False)
    fill(source)
    return source.data_dir, Experiment(f"{place(request, last)}/b", verbose=False).data_dir


def fill(experiment):
    for number in range(6):
        experiment.write_metadata(f"eval/{number}", number)
    experiment.save_checkpoint({"w": np.arange(3 << 20)}, 3)
    experiment.log(TensorboardLogData(scalars={"loss": 0.5}), 3)
    experiment.close()


def contents(path):
    directory = Directory(path)
    return {name: directory.read(name) for name in directory.files()}


@pytest.mark.slow
def test_everything_is_moved_in_every_direction(root, other_root):
    experiment = Experiment(f"{root}/runs/a", verbose=False)
    fill(experiment)
    before = contents(experiment.data_dir)
    taken = Experiment(f"{other_root}/taken", verbose=False)
    taken.write_metadata("config", 1)
    with pytest.raises(ExperimentExistsError, match="taken: exists already and is not an empty"):
        experiment.move(taken.data_dir)
    with pytest.raises(UnsafePathError, match="into itself"):
        experiment.move(experiment.data_dir / "below")
    assert contents(experiment.data_dir) == before
    moved = experiment.move(f"{other_root}/moved/b")
    assert str(moved.data_dir) == f"{other_root}/moved/b"
    assert contents(moved.data_dir) == before
    assert moved.read_metadata("eval/5") == 5
    moved.log(TensorboardLogData(scalars={"loss": 0.25}), 4)
    assert moved.read_scalars()["loss"].value.tolist() == [0.5, 0.25]
    moved.close()
    Experiment(f"{root}/runs/a", verbose=False).assert_new()
    with pytest.raises(ExperimentMovedError):
        experiment.write_metadata("config", 1)


def test_directory_with_a_link_is_not_moved(tmp_path):
    experiment = Experiment(tmp_path / "run", verbose=False)
    experiment.write_metadata("config", 1)
    (tmp_path / "run" / "data").symlink_to("/")
    address = f"memory://{uuid.uuid4().hex}"
    with pytest.raises(UnsafePathError, match="run/data: a link, which no object store can hold"):
        experiment.move(f"{address}/run")
    assert experiment.read_metadata("config") == 1
    Experiment(f"{address}/run", verbose=False).assert_new()


@pytest.mark.s3
def test_move_within_a_bucket_copies_in_the_store(bucket, proxy):
    experiment = Experiment(f"{bucket}/a", verbose=False)
    experiment.write_metadata("config", {"x": "y" * 10**6})
    experiment.move(f"{bucket}/b")
    assert len([size for size in proxy.sent("PUT", "config.yaml") if size > 1000]) == 1
    assert not proxy.sent("GET", "config.yaml")


@pytest.mark.parametrize("name", ["eval/0.yaml", "new"])
def test_source_that_changes_during_the_move_stays(both, name, monkeypatch):
    source, destination = both
    owner = type(Directory(destination))
    real = owner.copy

    def copy(*arguments):
        real(*arguments)
        if arguments[2] == "eval/5.yaml":
            with Directory(source).replace(name) as file:
                file.write(b"changed")

    monkeypatch.setattr(owner, "copy", copy)
    monkeypatch.setattr(_move, "_FILES_AT_ONCE", 1)
    with pytest.raises(OSError, match=f"{name}: changed while .* nothing was moved"):
        Experiment(source, verbose=False).move(destination)
    assert (source / name).read_bytes() == b"changed"
    Experiment(destination, verbose=False).assert_new()


KILLED = """
    import itertools, os, signal, sys, threading
    from fifteen.experiments import Experiment
    from fifteen.experiments.storage import Directory
    from fifteen.experiments.storage._remote._directory import RemoteDirectory

    kind, name, after = sys.argv[1], sys.argv[2], int(sys.argv[3])
    owner = RemoteDirectory if kind == "remote" else Directory
    real, calls = getattr(owner, name), itertools.count()

    def die(*arguments, **options):
        if next(calls) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(owner, name, die)
    Experiment(sys.argv[4], verbose=False).move(sys.argv[5])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    ["there copy 0", "there copy 4", "there has_equal 0", "there has_equal 5", "here delete 0"],
)
def test_kill_leaves_the_source_or_the_destination_intact(both, moment):
    source, destination = both
    before = contents(source)
    owner, name, number = moment.split()
    path = source if owner == "here" else destination
    kind = "remote" if "://" in str(path) else "local"
    command = [sys.executable, "-c", textwrap.dedent(KILLED), kind, name, number]
    process = subprocess.run([*command, str(source), str(destination)], capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert contents(source) == before
    experiment = Experiment(source, verbose=False)
    if name == "delete":
        assert contents(destination) == before
        with pytest.raises(ExperimentExistsError, match="exists already and is not an empty"):
            experiment.move(destination)
    elif isinstance(destination, type(source)) or "://" in str(destination):
        with pytest.raises(ExperimentExistsError, match=f"an unfinished copy of {source}; if no"):
            experiment.move(destination)
    Experiment(destination, verbose=False).clear()
    experiment.move(destination)
    assert contents(destination) == before
    if "://" not in str(destination):
        # The leftovers of the killed process are gone.
        assert os.listdir(destination.parent) == ["b"]


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["there", "back"])
def test_random_faults_change_nothing(bucket, proxy, tmp_path, direction):
    source = Experiment(tmp_path / "a", verbose=False)
    fill(source)
    before = contents(source.data_dir)
    if direction == "back":
        source = source.move(f"{bucket}/a")
    destination = f"{bucket}/b" if direction == "there" else tmp_path / "b"
    proxy.fail_at_random(seed=0, rate=0.2)
    moved = source.move(destination)
    proxy.fail_at_random(seed=0, rate=0)
    assert proxy.refused > 3
    assert contents(moved.data_dir) == before
    Experiment(source.data_dir, verbose=False).assert_new()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["copy", "has_equal"])
def test_network_outage_leaves_the_source(bucket, proxy, tmp_path, monkeypatch, moment):
    impatient = functools.partial(obstore.store.from_url, retry_config={"max_retries": 1})
    monkeypatch.setattr("obstore.store.from_url", impatient)
    source = Experiment(tmp_path / "a", verbose=False)
    fill(source)
    before = contents(source.data_dir)
    real = getattr(RemoteDirectory, moment)

    def turn_off(*arguments):
        if arguments[2] == "eval/3.yaml":
            proxy.turn_off()
        return real(*arguments)

    monkeypatch.setattr(RemoteDirectory, moment, turn_off)
    with pytest.raises(OSError, match=rf"{bucket}/b/"):
        source.move(f"{bucket}/b")
    monkeypatch.setattr(RemoteDirectory, moment, real)
    assert contents(source.data_dir) == before
    proxy.turn_on()
    with pytest.raises(ExperimentExistsError, match="an unfinished copy of"):
        source.move(f"{bucket}/b")
    Experiment(f"{bucket}/b", verbose=False).clear()
    assert contents(source.move(f"{bucket}/b").data_dir) == before


def test_move_command_accepts_addresses(bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Experiment("a", verbose=False).write_metadata("config", 1)
    for source, destination, shown in (
        ("a", f"{bucket}/runs/", f"{bucket}/runs/a"),
        (f"{bucket}/runs/a", f"{bucket}/other/b", f"{bucket}/other/b"),
        (f"{bucket}/other/b", f"{bucket}/other/c", f"{bucket}/other/c"),
        (f"{bucket}/other/c", "back", "back"),
    ):
        main(["move", source, destination])
        assert capsys.readouterr().out == f"Moved {source} to {shown}\n"
    assert Experiment("back", verbose=False).read_metadata("config") == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_bounded(bucket, tmp_path):
    for number in range(3):
        with (tmp_path / f"{number}").open("wb") as file:
            for _ in range(25):
                file.write(os.urandom(4 << 20))
    script = """
import pathlib, re, sys
from fifteen.experiments import Experiment
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) >> 10
experiment = Experiment(sys.argv[1], verbose=False)
peaks = [peak()]
for destination in sys.argv[2:]:
    experiment = experiment.move(destination)
    peaks.append(peak())
print(*peaks)
"""
    command = [sys.executable, "-c", script, str(tmp_path), f"{bucket}/a", str(tmp_path / "../b")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    before, there, back = map(int, result.stdout.split())
    assert there - before < 200
    assert back - before < 200
