import dataclasses
import enum
import pathlib
from typing import Any, NamedTuple

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


def test_a_config_is_flat():
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


def test_a_config_that_holds_itself_is_refused():
    value: dict[str, Any] = {}
    value["self"] = {"again": value}
    with pytest.raises(MetadataError, match=r"self\.again: the config holds itself"):
        metadata.flatten(value)


def test_two_configs_differ_in_what_was_added_removed_and_changed():
    difference = metadata.diff(Config(), Config(optimizer=Sgd(0.1), table={"a": {1: 2, 3: 4}}))
    assert difference.added == {"table.a.3": 4}
    assert difference.removed == {"optimizer.betas": (0.9, 0.999), "table.RED": []}
    assert difference.changed == {"optimizer.rate": (1e-3, 0.1)}
    assert difference
    assert str(difference) == (
        "+ table.a.3: 4\n- optimizer.betas: (0.9, 0.999)\n- table.RED: []\n"
        "~ optimizer.rate: 0.001 -> 0.1"
    )


def test_equal_configs_do_not_differ():
    assert not metadata.diff(Config(), Config())
    assert not metadata.diff({"a": float("nan")}, {"a": float("nan")})
    assert metadata.diff({"a": 1}, {"a": True}).changed == {"a": (1, True)}
    assert metadata.diff({"a": [1]}, {"a": [2]}).changed == {"a": ([1], [2])}


def test_two_files_are_compared_without_their_types(tmp_path):
    first = metadata.write(tmp_path, "a", Config())
    second = metadata.write(tmp_path, "b", Config(optimizer=Sgd(), path=pathlib.Path("b")))
    difference = metadata.diff(first, second)
    assert difference.removed == {"optimizer.betas": [0.9, 0.999]}
    assert difference.changed == {"path": ("a", "b")}
    assert not metadata.diff(first, Config())
    assert not metadata.diff(Config(), first)


def test_old_files_are_compared_too(tmp_path):
    old = tmp_path / "old.yaml"
    old.write_text(
        "# dcargs YAML.\n!dataclass:Config\noptimizer: !dataclass:Adam {rate: 0.1}\n"
        "color: !enum:Color 'RED'\nmodel: !!python/object:nowhere.Model {width: 3}\n"
    )
    new = metadata.write(tmp_path, "new", {"optimizer": {"rate": 0.1}, "color": "RED"})
    assert metadata.diff(old, new) == metadata.Difference({}, {"model.width": 3}, {})


def test_a_file_that_is_none_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        metadata.diff(tmp_path / "none.yaml", {})
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(MetadataError, match=r"bad\.yaml:2:1: not valid YAML"):
        metadata.diff(tmp_path / "bad.yaml", {})


def test_keys_that_end_alike_are_told_apart():
    keys = [pathlib.PurePosixPath("a/x"), pathlib.PurePosixPath("b/x")]
    assert metadata.flatten({keys[0]: 1, keys[1]: 2}) == {"a/x": 1, "b/x": 2}


@pytest.mark.parametrize("config", [{"a.b": 1, "a": {"b": 2}}, {1: 1, "1": 2}])
def test_two_values_of_one_name_are_refused(config):
    with pytest.raises(MetadataError, match="two values of the config have this name"):
        metadata.flatten(config)


def test_an_int_is_no_change_of_the_float_that_equals_it():
    assert not metadata.diff({"x": 1}, {"x": 1.0})
    assert not metadata.diff({"x": 1.0}, {"x": 1})
    assert metadata.diff({"x": True}, {"x": 1})
