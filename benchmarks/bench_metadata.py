"""Metadata: ours, the peers and the raw limit, in one run.

    python benchmarks/bench_metadata.py

Peers that are not installed are left out (`pip install cattrs msgspec pydantic tyro`). All write
text and read it back; when writing, ours also checks that the text reads back equal. Times are
medians of interleaved rounds; ratios are to cattrs over PyYAML's C loader and dumper.
"""

import dataclasses
import gc
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import yaml

from fifteen.experiments.metadata import _files

ROUNDS = 31


def _part(number: int) -> type:
    fields: list[tuple[str, Any, Any]] = []
    for i in range(5):
        fields += [
            (f"width_{i}", int, dataclasses.field(default=64 * i + number)),
            (f"rate_{i}", float, dataclasses.field(default=1e-3 / (i + 1))),
            (f"name_{i}", str, dataclasses.field(default=f"layer number {i}")),
            (f"use_{i}", bool, dataclasses.field(default=i % 2 == 0)),
        ]
    return _made_here(f"Part{number}", fields)


def _made_here(name: str, fields: list[tuple[str, Any, Any]]) -> type:
    made = dataclasses.make_dataclass(name, fields)
    made.__module__ = __name__
    return made


PARTS = [_part(number) for number in range(10)]
Config = _made_here(
    "Config",
    [
        (f"part_{number}", part, dataclasses.field(default_factory=part))
        for number, part in enumerate(PARTS)
    ],
)
globals().update({part.__name__: part for part in PARTS})


def ours_write(value: Any) -> bytes:
    """Return a file's verified bytes, without the disk."""
    return _files.dumps(value, "config")


def ours_read(data: bytes, kind: Any) -> Any:
    """Return the value of a file's bytes."""
    return _files.loads(data, kind, "config")[0]


def peers() -> dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]]:
    """Return the write and read functions of each peer."""
    found: dict[str, Any] = {"ours": (ours_write, ours_read)}
    if importlib.util.find_spec("cattrs"):
        import cattrs

        converter = cattrs.Converter()
        found["cattrs + C loader"] = (
            lambda v: yaml.dump(converter.unstructure(v), Dumper=yaml.CSafeDumper, sort_keys=False),
            lambda d, t: converter.structure(yaml.load(d, Loader=yaml.CSafeLoader), t),
        )
    if importlib.util.find_spec("msgspec"):
        import msgspec

        found["msgspec.yaml"] = (
            msgspec.yaml.encode,
            lambda d, t: msgspec.yaml.decode(d, type=t),
        )
    if importlib.util.find_spec("pydantic"):
        import functools

        import pydantic

        adapter = functools.lru_cache(pydantic.TypeAdapter)
        found["pydantic + C loader"] = (
            lambda v: yaml.dump(
                adapter(type(v)).dump_python(v), Dumper=yaml.CSafeDumper, sort_keys=False
            ),
            lambda d, t: adapter(t).validate_python(yaml.load(d, Loader=yaml.CSafeLoader)),
        )
    if importlib.util.find_spec("tyro"):
        import warnings

        import tyro

        warnings.simplefilter("ignore")
        found["tyro.extras"] = (tyro.extras.to_yaml, lambda d, t: tyro.extras.from_yaml(t, d))
    return found


def medians(actions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each action in interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(rounds):
        for name, action in actions.items():
            gc.collect()
            start = time.perf_counter()
            action()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def table(title: str, times: dict[str, float], base: str) -> None:
    print(f"\n{title}")
    base = base if base in times else next(iter(times))
    for name, seconds in sorted(times.items(), key=lambda item: item[1]):
        print(f"  {name:24} {seconds * 1e3:10.2f} ms   {seconds / times[base]:6.2f} x {base}")


def main() -> None:
    config: Any = Config()
    ways = peers()
    texts = {name: write(config) for name, (write, _) in ways.items()}
    for name, (_, read) in ways.items():
        if read(texts[name], Config) != config:
            raise SystemExit(f"{name} does not read back what it wrote")

    def writer(write: Callable[[Any], Any]) -> Callable[[], Any]:
        return lambda: write(config)

    def reader(read: Callable[[Any, Any], Any], name: str) -> Callable[[], Any]:
        return lambda: read(texts[name], Config)

    base = "cattrs + C loader"
    times = medians({name: writer(write) for name, (write, _) in ways.items()}, ROUNDS)
    table("write a nested config of 200 fields", times, base)
    times = medians({name: reader(read, name) for name, (_, read) in ways.items()}, ROUNDS)
    table("read a nested config of 200 fields", times, base)

    numbers = {f"key_{i}": i for i in range(100_000)}
    text = _files.dumps(numbers, "numbers")
    kind = dict[str, int]
    actions: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours_read(text, kind),
        "yaml.CSafeLoader": lambda: yaml.load(text, Loader=yaml.CSafeLoader),
    }
    table("read dict[str, int] of 100,000", medians(actions, 7), "yaml.CSafeLoader")
    actions = {
        "ours": lambda: ours_write(numbers),
        "yaml.CSafeDumper": lambda: yaml.dump(numbers, Dumper=yaml.CSafeDumper),
    }
    table("write dict[str, int] of 100,000", medians(actions, 5), "yaml.CSafeDumper")


if __name__ == "__main__":
    main()
