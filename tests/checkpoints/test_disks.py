"""Full, read-only and vanishing disks; memory of a save."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True
    )


# A file size limit fails like a full disk, in the middle of a write.
FULL = """
import errno, pathlib, resource, signal, sys
import numpy as np
from fifteen.experiments.checkpoints import Checkpoints, Retention

directory, blocking = pathlib.Path(sys.argv[1]), sys.argv[2] == "blocking"
checkpoints = Checkpoints(directory)
def save(size, step):
    checkpoints.save({"w": np.arange(size)}, step, "checkpoint_", Retention, blocking)
    checkpoints.wait()
save(1000, 1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
for size in (1 << 18, 5 << 20):
    try:
        save(size, 2)
    except OSError as error:
        assert error.errno == errno.EFBIG
        text = str(error)
    else:
        raise SystemExit("no error")
    assert "could not save step 2; earlier checkpoints are intact (steps present: 1)" in text, text
    assert text.endswith("checkpoint_2.safetensors'"), text
    assert [path.name for path in directory.iterdir()] == ["checkpoint_1.safetensors"]
    restored, _ = checkpoints.restore(None, None, "checkpoint_", False, False)
    assert (restored["w"] == np.arange(1000)).all()
save(100, 2)
assert checkpoints.steps("checkpoint_") == [2]
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["blocking", "background"])
def test_full_disk(handle, how):
    result = run(FULL, handle.directory, how)
    assert result.returncode == 0, result.stderr


# Root may write everywhere, so the script changes its user.
READ_ONLY = """
import errno, os, pathlib, sys
import numpy as np
from fifteen.experiments.checkpoints import Checkpoints, Retention

directory = pathlib.Path(sys.argv[1])
checkpoints = Checkpoints(directory)
checkpoints.save({"w": 1}, 1, "checkpoint_", Retention, True)
directory.chmod(0o555)
if os.geteuid() == 0:
    os.seteuid(65534)
for blocking in (True, False):
    try:
        checkpoints.save({"w": 2}, 2, "checkpoint_", Retention, blocking)
        checkpoints.wait()
    except PermissionError as error:
        assert "Permission denied: could not save step 2" in str(error), error
        assert "steps present: 1" in str(error), error
    else:
        raise SystemExit("no error")
assert checkpoints.restore({"w": 0}, None, "checkpoint_", False, False)[0] == {"w": 1}
"""


@pytest.mark.slow
def test_read_only_directory(handle, tmp_path):
    for parent in (tmp_path, *tmp_path.parents[:3]):
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(0o755)
    result = run(READ_ONLY, handle.directory)
    handle.directory.chmod(0o755)
    assert result.returncode == 0, result.stderr


def test_deleted_directory_is_created_again(handle):
    handle.save({"w": 1}, 1)
    shutil.rmtree(handle.directory)
    assert handle.steps() == []
    handle.save({"w": 2}, 2)
    assert handle.steps() == [2]


def test_file_in_place_of_the_directory(handle):
    handle.directory.write_text("not a directory")
    with pytest.raises(OSError, match=f"{handle.directory}.* is a file"):
        handle.save({"w": 1}, 1)
    assert handle.directory.read_text() == "not a directory"


def test_directory_deleted_during_the_save(handle, monkeypatch):
    from fifteen.experiments.checkpoints._safetensors import _save

    write = _save.write

    def writing(*arguments):
        shutil.rmtree(handle.directory)
        write(*arguments)

    handle.save({"w": 1}, 1)
    monkeypatch.setattr(_save, "write", writing)
    with pytest.raises(FileNotFoundError, match="could not save step 2"):
        handle.save({"w": 1}, 2)
    assert not handle.directory.exists()


# The file's pages belong to the kernel; only the process's own memory counts.
MEMORY = """
import os, pathlib, resource, sys
import jax, jax.numpy as jnp, numpy as np
from fifteen.experiments.checkpoints import Checkpoints, Retention

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

kind, directory = sys.argv[2], pathlib.Path(sys.argv[1])
def make(number):
    array = np.arange(8 << 20, dtype=np.float32).reshape(2048, 4096) + number
    if kind == "numpy":
        return array
    if kind == "turned":
        return array.T
    if kind == "jax":
        return jnp.asarray(array)
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("a",))
    spec = jax.sharding.PartitionSpec(None, "a")
    return jax.device_put(array, jax.sharding.NamedSharding(mesh, spec))

checkpoints = Checkpoints(directory)
checkpoints.save({"w": make(0)[:10, :10]}, 0, "checkpoint_", Retention, True)
state = {str(number): make(number) for number in range(6)}
jax.block_until_ready(state)
before = peak()
checkpoints.save(state, 1, "checkpoint_", Retention, True)
saving = peak() - before
restored, _ = checkpoints.restore(state, None, "checkpoint_", True, False)
jax.block_until_ready(restored)
restoring = peak() - before
print(saving, restoring)
for number in range(6):
    assert (np.asarray(restored[str(number)]) == np.asarray(state[str(number)])).all()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["numpy", "turned", "jax", "sharded"])
def test_memory_of_save_and_restore_is_bounded(handle, kind):
    result = run(MEMORY, handle.directory, kind)
    assert result.returncode == 0, result.stderr
    saving, restoring = map(int, result.stdout.split())
    print(f"{kind}: saving took {saving} MiB, restoring {restoring} MiB")
    # For a state of 192 MiB.
    assert saving <= 64
    assert restoring <= 192 + 100


def test_links_to_a_checkpoint_are_followed(handle, tmp_path):
    path = handle.save({"w": np.arange(3)}, 1)
    moved = tmp_path / "elsewhere.safetensors"
    path.rename(moved)
    path.symlink_to(moved)
    assert handle.restore({"w": np.zeros(3, int)})["w"].tolist() == [0, 1, 2]
    handle.save({"w": np.arange(4)}, 2)
    assert moved.exists()
    assert handle.names() == ["checkpoint_2.safetensors"]


def test_old_checkpoint_that_cannot_be_removed(handle, monkeypatch):
    from fifteen.experiments.storage import _local

    def refusing(path):
        raise PermissionError(13, "Permission denied", str(path))

    handle.save({"w": 1}, 1)
    monkeypatch.setattr(_local, "remove", refusing)
    with pytest.raises(
        OSError, match=r"checkpoint_2\.safetensors: saved, but what it replaces could"
    ):
        handle.save({"w": 2}, 2)
    assert handle.restore({"w": 0}) == {"w": 2}
