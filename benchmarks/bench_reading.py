"""Reading curves: ours, the peers and the raw limit, in one run.

    python benchmarks/bench_reading.py [--steps 50000]

Twenty tags, with one event per step and with one event per value (as tensorboardX and PyTorch
write them). The peers are TensorBoard's `EventAccumulator` with every point kept, and tbparse
(`pip install tbparse`), which returns a data frame of all points. The raw limit only reads the
file's bytes. Times are medians of first reads, by the clock and of the CPU, which is less sensitive
to other load. Ratios are to ours in CPU time. The last lines are repeated reads: of an unchanged
file, and after 100 more steps.
"""

import argparse
import importlib.util
import logging
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from fifteen.experiments.events._tfrecord import frame
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.storage import Directory

ROUNDS_OF_OURS = 7
ROUNDS_OF_PEERS = 1
TAGS = [
    f"{part}/metric_{'x' * (number % 4)}{number}" for number, part in enumerate(10 * ["a", "b"])
]
NAME = "events.out.tfevents.1700000000.host"


def encode(steps: range, values: np.ndarray, is_one_a_step: bool) -> bytes:
    """Return the records of these steps."""
    parts: list[bytes] = []
    for step in steps:
        row = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in zip(TAGS, values[step], strict=True)
        ]
        for group in [row] if is_one_a_step else [[value] for value in row]:
            event = Event(wall_time=1.7e9 + 0.01 * step, step=step, summary=Summary(value=group))
            parts.append(frame(event.SerializeToString()))
    return b"".join(parts)


def ours(directory: pathlib.Path) -> int:
    """Read everything for the first time; return the number of points."""
    return sum(map(len, EventReader(Directory(directory)).scalars().values()))


def accumulator(directory: pathlib.Path) -> int:
    found = EventAccumulator(str(directory), {"scalars": 0})
    found.Reload()
    return sum(len(found.Scalars(tag)) for tag in found.Tags()["scalars"])


def raw(directory: pathlib.Path) -> int:
    return len((directory / NAME).read_bytes())


def peers() -> dict[str, Callable[[pathlib.Path], int]]:
    """Return the read function of each peer."""
    found: dict[str, Callable[[pathlib.Path], int]] = {"EventAccumulator": accumulator}
    if importlib.util.find_spec("tbparse"):
        import warnings

        import tbparse

        warnings.simplefilter("ignore")
        found["tbparse"] = lambda directory: len(tbparse.SummaryReader(str(directory)).scalars)
    return found


class Times:
    """Wall and CPU seconds per round of one reader."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def measure(self, read: Callable[[pathlib.Path], int], directory: pathlib.Path) -> int:
        wall, cpu = time.perf_counter(), time.process_time()
        points = read(directory)
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return points

    def show(self, name: str, base: "Times") -> None:
        wall, cpu = statistics.median(self.wall), statistics.median(self.cpu)
        ratio = cpu / statistics.median(base.cpu)
        print(f"  {name:18} {wall:9.4f} s {cpu:9.4f} s of CPU {ratio:9.4f} x ours")


def compare(directory: pathlib.Path, expected: int) -> Times:
    """Print the times of all readers; return ours."""
    base, limit = Times(), Times()
    for _ in range(ROUNDS_OF_OURS):
        check(base.measure(ours, directory), expected)
        limit.measure(raw, directory)
    base.show("ours", base)
    limit.show("raw bytes", base)
    for name, read in peers().items():
        times = Times()
        for _ in range(ROUNDS_OF_PEERS):
            points = times.measure(read, directory)
        times.show(name, base)
        if points != expected:
            print(f"  {name} has {points} of {expected} points")
    return base


def compare_growing(directory: pathlib.Path, more: bytes, expected: int, base: Times) -> None:
    """Print the times of repeated reads, without and with new points."""
    reader = EventReader(Directory(directory))
    reader.scalars()

    def read(directory: pathlib.Path) -> int:
        return sum(map(len, reader.scalars().values()))

    again, new = Times(), Times()
    for _ in range(ROUNDS_OF_OURS):
        again.measure(read, directory)
    again.show("again, no change", base)
    with open(directory / NAME, "ab") as file:
        file.write(more)
    check(new.measure(read, directory), expected)
    new.show("again, 100 more", base)


def check(points: int, expected: int) -> None:
    """Stop unless all points were read."""
    if points != expected:
        raise SystemExit(f"ours read {points} of {expected} points")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50_000)
    steps = parser.parse_args().steps
    logging.disable(logging.WARNING)
    values = np.random.default_rng(0).normal(size=(steps + 100, len(TAGS)))
    head = frame(Event(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString())
    for is_one_a_step in (True, False):
        with tempfile.TemporaryDirectory() as name:
            directory = pathlib.Path(name)
            data = encode(range(steps), values, is_one_a_step)
            (directory / NAME).write_bytes(head + data)
            what = "step" if is_one_a_step else "value"
            print(f"\n{steps * len(TAGS):,} points, one event a {what}, {len(data) / 1e6:.0f} MB")
            base = compare(directory, steps * len(TAGS))
            more = encode(range(steps, steps + 100), values, is_one_a_step)
            compare_growing(directory, more, (steps + 100) * len(TAGS), base)


if __name__ == "__main__":
    main()
