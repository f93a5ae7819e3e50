"""A file is always the old or the new one, despite kills and other writers."""

import dataclasses
import multiprocessing
import os
import pathlib
import random
import signal
import time

import pytest

from fifteen.experiments import metadata
from fifteen.experiments.storage import Directory, _local


@dataclasses.dataclass
class Config:
    writer: int
    count: int
    numbers: list[int]


def check(directory: pathlib.Path) -> Config:
    config = metadata.read(directory, "config", Config)
    assert len(config.numbers) == (2_000 if config.count % 2 else 3)
    assert set(config.numbers) == {config.count}
    return config


def _write_until_killed(directory: pathlib.Path, number: int) -> None:
    for count in range(10**9):
        size = 2_000 if count % 2 else 3
        metadata.write(directory, "config", Config(number, count, [count] * size))


def start_writer(directory: pathlib.Path, number: int) -> multiprocessing.Process:
    # A fork server has everything imported, so sixty writers start quickly.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fifteen.experiments.metadata", __name__])
    process = context.Process(target=_write_until_killed, args=(directory, number), daemon=True)
    process.start()
    return process


@pytest.mark.slow
def test_kill_leaves_the_old_file_or_the_new_one(tmp_path):
    chance = random.Random(0)
    metadata.write(tmp_path, "config", Config(-1, 0, [0] * 3))
    survived = 0
    for trial in range(60):
        process = start_writer(tmp_path, trial)
        # Kill it only after its first write, or only its start would be tested.
        deadline = time.monotonic() + 60
        while check(tmp_path).writer != trial:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        survived += check(tmp_path).writer == trial
        assert Directory(tmp_path).names() == ["config.yaml"]
    assert survived == 60
    _local.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.slow
def test_two_writers_and_a_reader_do_not_interfere(tmp_path):
    metadata.write(tmp_path, "config", Config(-1, 0, [0] * 3))
    writers = [start_writer(tmp_path, number) for number in (1, 2)]
    try:
        seen: set[int] = set()
        reads = 0
        # The time starts when both have written.
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if seen >= {1, 2} and end > time.monotonic() + 10:
                end = time.monotonic() + 10
            seen.add(check(tmp_path).writer)
            reads += 1
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
    assert reads > 50
    assert seen >= {1, 2}
