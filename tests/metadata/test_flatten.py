import copy
import dataclasses
import enum
import os
import pathlib
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from fifteen.experiments import metadata
from fifteen.experiments._errors import MetadataError


class Color(enum.Enum):
    RED = 1


class Size(NamedTuple):
    width: int = 3
    height: int = 4


@dataclasses.dataclass
class Adam:
    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass
class Sgd:
    rate: float = 1e-3


@dataclasses.dataclass
class Config:
    optimizer: Adam | Sgd = dataclasses.field(default_factory=Adam)
    size: Size = dataclasses.field(default_factory=Size)
    color: Color = Color.RED
    table: dict[str | Color, Any] = dataclasses.field(
        default_factory=lambda: {"a": {1: 2}, Color.RED: []}
    )
    empty: dict[str, int] = dataclasses.field(default_factory=dict)
    path: pathlib.Path = pathlib.Path("a")


def test_config_is_flattened():
    assert metadata.flatten(Config()) == {
        "optimizer.rate": 1e-3,
        "optimizer.betas": (0.9, 0.999),
        "size.width": 3,
        "size.height": 4,
        "color": Color.RED,
        "table.a.1": 2,
        "table.RED": [],
        "empty": {},
        "path": pathlib.Path("a"),
    }
    assert next(iter(metadata.flatten(Config()))) == "optimizer.rate"
    assert metadata.flatten({}) == {}
    assert metadata.flatten(3) == {"": 3}


def test_config_that_contains_itself_is_refused():
    value: dict[str, Any] = {}
    value["self"] = {"again": value}
    with pytest.raises(MetadataError, match=r"self\.again: the config contains itself"):
        metadata.flatten(value)


def test_diff_lists_additions_removals_and_changes():
    difference = metadata.diff(Config(), Config(optimizer=Sgd(0.1), table={"a": {1: 2, 3: 4}}))
    assert difference.added == {"table.a.3": 4}
    assert difference.removed == {"optimizer.betas": (0.9, 0.999), "table.RED": []}
    assert difference.changed == {"optimizer": ("Adam", "Sgd"), "optimizer.rate": (1e-3, 0.1)}
    assert difference
    assert str(difference) == (
        "+ table.a.3: 4\n- optimizer.betas: (0.9, 0.999)\n- table.RED: []\n"
        "~ optimizer: 'Adam' -> 'Sgd'\n~ optimizer.rate: 0.001 -> 0.1"
    )


def test_equal_configs_have_no_difference():
    assert not metadata.diff(Config(), Config())
    assert not metadata.diff({"a": float("nan")}, {"a": float("nan")})
    assert metadata.diff({"a": 1}, {"a": True}).changed == {"a": (1, True)}
    assert metadata.diff({"a": [1]}, {"a": [2]}).changed == {"a": ([1], [2])}


def test_files_are_compared_without_their_types(tmp_path):
    first = metadata.write(tmp_path, "a", Config())
    second = metadata.write(tmp_path, "b", Config(optimizer=Sgd(), path=pathlib.Path("b")))
    difference = metadata.diff(first, second)
    assert difference.removed == {"optimizer.betas": [0.9, 0.999]}
    assert difference.changed == {"optimizer": ("Adam", "Sgd"), "path": ("a", "b")}
    assert not metadata.diff(first, Config())
    assert not metadata.diff(Config(), first)


def test_old_files_are_compared_too(tmp_path):
    old = tmp_path / "old.yaml"
    old.write_text(
        "# dcargs YAML.\n!dataclass:Config\noptimizer: !dataclass:Adam {rate: 0.1}\n"
        "color: !enum:Color 'RED'\nmodel: !!python/object:nowhere.Model {width: 3}\n"
    )
    new = metadata.write(tmp_path, "new", {"optimizer": {"rate": 0.1}, "color": "RED"})
    removed = {"model": "nowhere.Model", "model.width": 3}
    assert metadata.diff(old, new) == metadata.Difference({}, removed, {})


def test_missing_and_invalid_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        metadata.diff(tmp_path / "none.yaml", {})
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(MetadataError, match=r"bad\.yaml:2:1: not valid YAML"):
        metadata.diff(tmp_path / "bad.yaml", {})
    with pytest.raises(TypeError, match="config: expected a path or a str that names one"):
        metadata.flatten("")


def test_keys_with_a_common_ending_are_distinct():
    keys = [pathlib.PurePosixPath("a/x"), pathlib.PurePosixPath("b/x")]
    assert metadata.flatten({keys[0]: 1, keys[1]: 2}) == {"a/x": 1, "b/x": 2}


@pytest.mark.parametrize("config", [{"a.b": 1, "a": {"b": 2}}, {1: 1, "1": 2}])
def test_two_values_with_one_name_are_refused(config):
    with pytest.raises(MetadataError, match="two values of the config have this name"):
        metadata.flatten(config)


def test_equal_int_and_float_are_no_difference():
    assert not metadata.diff({"x": 1}, {"x": 1.0})
    assert not metadata.diff({"x": 1.0}, {"x": 1})
    assert metadata.diff({"x": True}, {"x": 1})


def test_arrays_are_compared_by_every_value(tmp_path):
    a, b = np.arange(1001.0), np.arange(1001.0)
    b[500] += 1e-9
    assert metadata.diff({"a": a}, {"a": b}).changed.keys() == {"a"}
    assert "1 of 1,001 values differ" in str(metadata.diff({"a": a}, {"a": b}))
    assert not metadata.diff({"a": a}, {"a": a.copy()})
    first, second = metadata.write(tmp_path, "a", {"a": a}), metadata.write(tmp_path, "b", {"a": b})
    assert metadata.diff(first, second).changed.keys() == {"a"}
    assert metadata.diff({"x": 0.9999999991}, {"x": 0.9999999992})


def test_numbers_and_sets_are_compared_by_value(tmp_path):
    names = {f"name {i}" for i in range(100)}
    other = {f"name {i}" for i in reversed(range(100))}
    assert not metadata.diff({"a": [1, 2.0], "s": names}, {"a": [1.0, 2], "s": other})
    assert metadata.diff({"a": [1]}, {"a": [True]})
    assert not metadata.diff({"a": [{"x": 1, "y": 2}]}, {"a": [{"y": 2, "x": 1}]})
    assert not metadata.diff({"k": np.float32(0.5)}, {"k": 0.5})
    key = jax.random.key(0)
    assert not metadata.diff({"k": key}, {"k": key})


SET_OF_TEXTS = """
import dataclasses, pathlib, sys
from fifteen.experiments import metadata

@dataclasses.dataclass
class Config:
    names: set[str]
    anything: object

names = {f"name {i}" for i in range(50)}
path = metadata.write(pathlib.Path(sys.argv[1]), "x", Config(names, {1: frozenset(names)}))
print(path.read_text())
"""


def test_set_is_written_in_the_same_order_in_each_process(tmp_path):
    texts = {
        subprocess.run(
            [sys.executable, "-c", SET_OF_TEXTS, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("a", "b", "values"),
    [
        ("!!python/name:jax.nn.relu ''", "!!python/name:jax.nn.gelu ''", ("jax.nn.relu", "jax.nn.gelu")),
        ("!!python/module:math ''", "!!python/module:cmath ''", ("math", "cmath")),
        ("!!python/object:a.Adam {}", "!!python/object:a.Sgd {}", ("a.Adam", "a.Sgd")),
        ("!dataclass:Adam {}", "!dataclass:Sgd {}", ("Adam", "Sgd")),
        ("!!python/object/apply:f [1]", "!!python/object/apply:g [1]", ("f", "g")),
        ("!ours 1", "!theirs 1", ("!ours 1", "!theirs 1")),
    ],
)  # fmt: skip
def test_code_in_a_file_is_compared_by_name(tmp_path, a, b, values):
    for name, text in (("a", a), ("b", b)):
        (tmp_path / f"{name}.yaml").write_text(f"act: {text}\nrest: 1\nlist: [{text}]\n")
    difference = metadata.diff(tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert difference.changed["act"] == values
    assert difference.changed.keys() == {"act", "list"}
    assert metadata.flatten(tmp_path / "a.yaml")["act"] == values[0]


def test_function_of_a_partial_is_compared(tmp_path):
    text = (
        "f: !!python/object/apply:functools.partial\n"
        "  args: [!!python/name:jax.nn.NAME '']\n"
        "  state: !!python/tuple [!!python/name:jax.nn.NAME '', !!python/tuple [], {}, null]\n"
    )
    for name in ("relu", "gelu"):
        (tmp_path / f"{name}.yaml").write_text(text.replace("NAME", name))
    difference = metadata.diff(tmp_path / "relu.yaml", tmp_path / "gelu.yaml")
    assert difference.changed["f.args"] == (["jax.nn.relu"], ["jax.nn.gelu"])
    assert metadata.flatten(tmp_path / "relu.yaml")["f"] == "functools.partial"


def test_class_counts_only_if_both_sides_name_it(tmp_path):
    plain, tagged, other = (tmp_path / f"{n}.yaml" for n in ("plain", "tagged", "other"))
    plain.write_text("o: {rate: 1}\n")
    tagged.write_text("!dataclass:Config\no: !dataclass:Adam {rate: 1.0}\n")
    other.write_text("!!python/object:cfg.Config\no: !!python/object:cfg.Adam {rate: 1.0}\n")
    assert not metadata.diff(plain, tagged)
    assert not metadata.diff(tagged, plain)
    assert not metadata.diff(tagged, other)
    assert metadata.flatten(tagged) == {"o": "Adam", "o.rate": 1.0}
    assert metadata.diff({}, tagged).added == {"o": "Adam", "o.rate": 1.0}


def test_plain_data_is_flattened_like_its_file(tmp_path):
    path = metadata.write(tmp_path, "x", Config(optimizer=Sgd()))
    plain = metadata.read(tmp_path, "x")
    assert metadata.flatten(plain) == metadata.flatten(path)
    assert metadata.flatten(path)["optimizer"] == "Sgd"
    assert not metadata.diff(plain, path)


@pytest.mark.parametrize(
    ("a", "b", "added", "removed"),
    [
        ({1: 2}, {"1": 2}, {"'1'": 2}, {"1": 2}),
        ({None: 2}, {"None": 2}, {"'None'": 2}, {"None": 2}),
        ({"a": {True: 2}}, {"a": {"True": 2}}, {"'a'.'True'": 2}, {"'a'.True": 2}),
        ({"a.b": 2}, {"a": {"b": 2}}, {"'a'.'b'": 2}, {"'a.b'": 2}),
    ],
)
def test_different_keys_with_one_name_are_a_difference(tmp_path, a, b, added, removed):
    for name, config in (("a", a), ("b", b)):
        metadata.write(tmp_path, name, config)
    files = tmp_path / "a.yaml", tmp_path / "b.yaml"
    for sides in ((a, b), files):
        assert metadata.diff(*sides) == metadata.Difference(added, removed, {})


def test_equal_keys_of_any_kind_are_no_difference():
    config = {float("nan"): 1, (1, 2): 2, "a.b": 3, 4: {None: 5, "4": 6}}
    assert not metadata.diff(config, copy.deepcopy(config))


def test_true_and_1_are_different_keys_inside_a_list():
    assert metadata.diff({"v": [{True: 1}]}, {"v": [{1: 1}]})
    assert not metadata.diff({"v": [{1: 1}]}, {"v": [{1.0: 1}]})
