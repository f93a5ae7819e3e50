"""A save on a disk that fills at any byte raises, and keeps the earlier checkpoints."""

import errno
import os
import subprocess

import numpy as np
import pytest

from fifteen.experiments.storage import _removal

PAGE = 4096
SIZE = 6 << 20


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 6 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a disk of 6 MB needs `mount`")
    if mounted.returncode:
        pytest.skip(f"a disk of 6 MB needs root: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def leave_free(disk, size):
    """Fill a disk until `size` bytes are free."""
    _removal.wait_for_removals()
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * PAGE
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - size)
    assert os.statvfs(disk).f_bavail * PAGE == size


def state(number, length):
    # Many names make a header of several pages, which is written last.
    small = {f"a layer with a long name, number {n}": np.full(1, number) for n in range(300)}
    return {"small": small, "large": np.full(length, number)}


@pytest.mark.slow
@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "background"])
@pytest.mark.parametrize("length", [1000, 160_000], ids=["at once", "header last"])
def test_full_disk_harms_no_checkpoint(new_handle, small_disk, assert_same, length, blocking):
    handle = new_handle(small_disk / "run")
    before = state(1, length)
    size = handle.save(before, 1).stat().st_size
    header = size - 8 * (300 + length)
    assert header > 10 * PAGE
    pages = -(-size // PAGE)
    near = {*range(2 * -(-header // PAGE)), *range(max(pages - 20, 0), pages + 3)}
    failures = 0
    for free in sorted(near | set(range(0, pages, 7))):
        leave_free(small_disk, free * PAGE)
        error = None
        try:
            handle.save(state(2, length), 2, keep=2, blocking=blocking)
            handle.checkpoints.wait()
        except OSError as raised:
            error = raised
        (small_disk / "filler").unlink()
        if error is None:
            assert free >= pages
            assert_same(handle.restore(before), state(2, length))
            handle.save(before, 1, overwrite=True)
            continue
        failures += 1
        assert error.errno == errno.ENOSPC
        assert "could not save step 2; earlier checkpoints are intact (steps present: 1)" in str(
            error
        )
        assert handle.names() == ["checkpoint_1.safetensors"]
        assert_same(handle.restore(before), before)
    assert failures >= pages // 7
