"""Config classes of other libraries, and other mappings."""

import argparse
import collections
import dataclasses
import enum
import sys
import types
from collections.abc import Callable
from typing import Any, Literal, Optional, Protocol, runtime_checkable

import flax.core
import numpy as np
import optax
import pytest
import yaml
from strictly import dump, load, same, there_and_back

from fifteen.experiments import metadata
from fifteen.experiments._errors import ExperimentWarning, MetadataError


class Sorted(collections.OrderedDict[str, int]):
    pass


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Adam:
    rate: float = 0.1


@dataclasses.dataclass
class Sgd:
    rate: float = 0.1


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (collections.Counter("aab"), collections.Counter[str]),
        (collections.Counter("aab"), collections.Counter),
        (collections.defaultdict(list, {"a": [1]}), collections.defaultdict[str, list[int]]),
        (collections.defaultdict(int, a=1), collections.defaultdict[str, int]),
        (Sorted(b=1, a=2), Sorted),
        (flax.core.FrozenDict({"a": {"b": 1}}), flax.core.FrozenDict),
        ({"a": collections.Counter("a")}, dict[str, collections.Counter[str]]),
        (flax.core.FrozenDict({"a": 1}), flax.core.FrozenDict | None),
        (bytearray(b"\0\1"), bytearray),
        (bytearray(b"\0\1"), Any),
        ({"a": Adam(), "b": Sgd()}, collections.OrderedDict[str, Adam | Sgd]),
    ],
)
def test_mapping_is_read_as_its_declared_type(value, kind):
    if isinstance(value, dict) and type(value) is dict and "OrderedDict" in str(kind):
        value = collections.OrderedDict(value)
    result = there_and_back(value, kind)
    assert result == value
    assert type(result) is type(value)
    if isinstance(value, collections.defaultdict):
        assert result.default_factory is value.default_factory


@pytest.mark.parametrize(
    "value",
    [
        collections.Counter("aab"),
        collections.defaultdict(lambda: 0, a=1),
        Sorted(b=1, a=2),
        flax.core.FrozenDict({"a": {"b": (1, 2)}}),
        types.MappingProxyType({"a": 1}),
    ],
)
def test_undeclared_mapping_is_read_as_dict(value):
    for result in (there_and_back(value, Any), there_and_back({"x": value}, dict)["x"]):
        assert result == dict(value)
        assert type(result) is dict
    assert b"!" not in dump(value).replace(b"!tuple", b"")
    holder = dataclasses.make_dataclass("Holder", [("x", dict[str, Any])])
    assert there_and_back(holder(value), holder).x == dict(value)


def test_mapping_items_have_their_declared_types():
    holder = dataclasses.make_dataclass("Holder", [("x", dict[str, Adam | Sgd])])
    value = holder(flax.core.FrozenDict({"a": Sgd(0.5)}))
    assert there_and_back(value, holder).x == {"a": Sgd(0.5)}


def test_error_of_a_mapping_class_is_reported():
    class Small(dict[str, int]):
        def __init__(self, values: Any = ()):
            super().__init__(values)
            if len(self) > 1:
                raise ValueError("too large")

    with pytest.raises(MetadataError, match=r"x:1:1: Small does not take these values: ValueError"):
        load("{a: 1, b: 2}", Small)


def test_int_enum_members_fit_an_int_field():
    holder = dataclasses.make_dataclass("Holder", [("x", int), ("y", list[int]), ("z", int | None)])
    result = there_and_back(holder(Level.HIGH, [Level.LOW], Level.LOW), holder)
    assert result == holder(2, [1], 1)
    with pytest.raises(MetadataError, match="a Color, but int is declared"):
        dump(holder(Color.RED, [], None))


def test_config_dicts_round_trip():
    import ml_collections

    kind = ml_collections.ConfigDict
    value = kind({"lr": 0.1, "net": {"layers": (1, 2)}, "name": "a"})
    value.net.act = "relu"
    for result in (there_and_back(value, kind), there_and_back({"x": value}, dict[str, kind])["x"]):
        assert type(result) is kind
        assert result == value
    assert there_and_back(value, Any) == value.to_dict()
    assert metadata.flatten(value)["net.layers"] == (1, 2)
    assert metadata.diff(value, kind({"lr": 0.1})).removed.keys() == {
        "net.layers", "net.act", "name"
    }  # fmt: skip


def test_pydantic_models_round_trip():
    import pydantic

    class Inner(pydantic.BaseModel):
        width: int = pydantic.Field(default=3, ge=1)

    class Model(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(frozen=True)
        name: str
        inner: Inner | None = None
        optimizer: Adam | Sgd = Adam()
        layers: list[int] = pydantic.Field(default_factory=list)
        aliased: float = pydantic.Field(default=1.0, alias="other")

    value = Model(name="no", inner=Inner(width=4), optimizer=Sgd(), layers=[1], other=2.0)
    result = there_and_back(value, Model)
    assert result == value
    assert type(result.optimizer) is Sgd
    assert load("name: a\n", Model) == Model(name="a")
    with pytest.raises(MetadataError, match=r"x:2:3: inner: Inner does not take these values"):
        load("inner:\n  width: 0\nname: a\n", Model)
    with pytest.raises(MetadataError, match=r"Model needs 'name'"):
        load("{inner: null, optimizer: {rate: 1}, layers: [], aliased: 1}", Model)

    class Open(pydantic.BaseModel, extra="allow"):
        a: int = 1

    with pytest.raises(MetadataError, match="values that are not fields: 'b'"):
        dump(Open(a=1, b=2))
    assert metadata.flatten(value)["inner.width"] == 4


class Act(Protocol):
    def __call__(self, x: int) -> int: ...


@runtime_checkable
class Steppable(Protocol):
    def step(self) -> int: ...


@dataclasses.dataclass
class Stepper:
    n: int = 1

    def step(self) -> int:
        return self.n


def test_protocol_field_may_be_none():
    fields: Any = [
        ("act", Optional[Act], None),  # noqa: UP045
        ("tx", optax.GradientTransformation | None, None),
        ("steppable", Steppable | None, None),
    ]
    holder = dataclasses.make_dataclass("Holder", fields)
    assert there_and_back(holder(), holder) == holder()
    for value, message in (
        (holder(act=len), r"act: the builtin_function_or_method len: code is not written"),
        (holder(tx=optax.adam(0.1)), r"tx\.init: the function .*init_fn: code is not written"),
        (holder(steppable=Stepper()), r"steppable: a Stepper, but .* is declared"),
    ):
        with pytest.raises(MetadataError, match=message):
            dump(value)
    with pytest.raises(MetadataError, match=r"x:1:6: act: expected"):
        load("act: {n: 1}", holder)


OLD = "# tyro YAML.\n"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (argparse.Namespace(a=1, b=(2,)), argparse.Namespace, argparse.Namespace(a=1, b=(2,))),
        (argparse.Namespace(a=1), Any, argparse.Namespace(a=1)),
        (types.SimpleNamespace(a=1), types.SimpleNamespace, types.SimpleNamespace(a=1)),
        (collections.OrderedDict(b=1, a=2), dict[str, int], {"b": 1, "a": 2}),
        (collections.OrderedDict(b=1, a=2), dict, {"b": 1, "a": 2}),
        (collections.OrderedDict(b=Color.RED), dict[str, Color], {"b": Color.RED}),
        (collections.Counter("aab"), dict[str, int], {"a": 2, "b": 1}),
        (collections.Counter("aab"), collections.Counter[str], collections.Counter("aab")),
        (
            collections.defaultdict(list, a=[1]),
            collections.defaultdict[str, list[int]],
            collections.defaultdict(list, a=[1]),
        ),
        (collections.defaultdict(int), dict[str, int], {}),
        (collections.defaultdict(int, a=1), Any, {"a": 1}),
        (bytearray(b"abc"), bytearray, bytearray(b"abc")),
        (Color.RED, Literal[Color.RED], Color.RED),
        (Color.RED, Literal[Color.RED, "x"] | None, Color.RED),
        (np.float32(0.5), float, 0.5),
        ({"a": np.float32(0.5)}, dict[str, float], {"a": 0.5}),
    ],
)
@pytest.mark.parametrize("header", ["", OLD])
def test_old_values_are_read_as_their_declared_types(value, kind, expected, header):
    result = load(header + yaml.dump(value), kind)
    assert same(expected, result)
    assert type(result) is type(expected)


def test_integral_float_in_an_int_field_of_an_old_file_warns(tmp_path):
    holder = dataclasses.make_dataclass("Holder", [("steps", int), ("inner", list[int])])
    path = tmp_path / "x.yaml"
    path.write_text(f"{OLD}steps: 100000.0\ninner: [2.0]\n")
    with pytest.warns(ExperimentWarning) as caught:
        result = metadata.read(tmp_path, "x", holder)
    assert same(result, holder(100_000, [2]))
    assert str(caught[0].message).splitlines() == [
        f"{path}:2:8: steps: expected int, got float 100000.0, which is taken",
        f"{path}:3:9: inner[0]: expected int, got float 2.0, which is taken",
    ]
    path.write_text(f"{OLD}steps: 0.5\ninner: []\n")
    with pytest.raises(MetadataError, match=r"steps: expected int, got float 0\.5"):
        metadata.read(tmp_path, "x", holder)


def test_namespace_may_have_any_attribute():
    for kind in (argparse.Namespace, types.SimpleNamespace):
        value = kind(a=1)
        vars(value)["self"] = 2
        assert there_and_back(value, kind) == value


def test_warning_names_the_field(tmp_path):
    holder = dataclasses.make_dataclass("Holder", [("a", list[Adam]), ("b", Adam | None)])
    path = tmp_path / "x.yaml"
    path.write_text("a:\n- {rate: 1}\n- {rate: 1, rte: 2}\nb: {rate: 1, x: 1}\n")
    with pytest.warns(ExperimentWarning) as caught:
        metadata.read(tmp_path, "x", holder)
    lines = str(caught[0].message).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["a[1]", "b"]


def test_all_problems_of_a_mapping_are_reported():
    with pytest.raises(MetadataError) as caught:
        load("a: 1\na: 2\nb: x\nb: y\n<<: {c: 1}\n", dict[str, int])
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["x:2:1", "x:3:4", "x:4:1", "x:4:4", "x:5:1", "x:5:5"]  # fmt: skip


def test_union_with_any():
    for value in (1, 1.5, "a", None, [1], (1,), {"a": 1}, Adam()):
        for kind in (Adam | Any, float | Any, Any | int):
            if isinstance(value, Adam) and kind != Adam | Any:
                continue
            assert same(there_and_back({"x": value}, dict[str, kind])["x"], value)


def test_small_file_cannot_become_a_large_array():
    text = "[" + "a" * 100_000 + ", b" * 700 + "]"
    with pytest.raises(MetadataError, match="more than 1,048,576 bytes of text"):
        load(text, np.ndarray)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("w: '1'", dict[str, Literal[1, 2]], "expected one of 1, 2, got str '1'; remove the quotes"),
        ("n: 1:30", dict[str, int], "expected int, got 1:30, which YAML 1.1 reads as the number 90 in base 60"),
        ("o: !!python/object:cfg.Old {rate: 1}", dict[str, Adam | Sgd], "expected Adam or Sgd, got the class 'cfg.Old'.*write that in the tag: !dataclass:NAME"),
        ("o: !!python/object:cfg.Old {rate: 1}", dict[str, Adam], "!dataclass:NAME"),
        ("o: !!python/object:cfg.Old {rate: 1}", Any, "write !dataclass:NAME in its place"),
    ],
)  # fmt: skip
def test_error_says_what_to_do(text, kind, message):
    with pytest.raises(MetadataError, match=message):
        load(text, kind)


def test_file_read_without_a_type_is_plain_data(tmp_path):
    @dataclasses.dataclass
    class Config:
        optimizer: Adam | Sgd
        size: tuple[int, int] = (1, 2)

    metadata.write(tmp_path, "x", Config(Sgd()))
    assert metadata.read(tmp_path, "x") == {
        "!class": "Config",
        "optimizer": {"!class": "Sgd", "rate": 0.1},
        "size": [1, 2],
    }
    metadata.write(tmp_path, "x", [1, (2,)])
    assert metadata.read(tmp_path, "x") == [1, (2,)]
    assert metadata.read(tmp_path, "x", (int, list)) == [1, (2,)]
    with pytest.raises(MetadataError, match=r"expected int \| float"):
        metadata.read(tmp_path, "x", (int, float))


def test_diff_and_flatten_take_a_str_as_a_path(tmp_path):
    a, b = (metadata.write(tmp_path, name, {"x": name}) for name in "ab")
    assert metadata.diff(str(a), str(b)).changed == {"x": ("a", "b")}
    assert metadata.flatten(str(a)) == {"x": "a"}
    with pytest.raises(FileNotFoundError):
        metadata.diff("a.yaml", "b.yaml")


IMPORT = """
import importlib, pathlib, sys, types
import fifteen
package = types.ModuleType("fifteen.experiments")
package.__path__ = [str(pathlib.Path(fifteen.__path__[0]) / "experiments")]
sys.modules["fifteen.experiments"] = package
metadata = importlib.import_module("fifteen.experiments.metadata")
import numpy as np
path = metadata.write(pathlib.Path(sys.argv[1]), "x", {"a": np.arange(3), "b": np.float32})
assert metadata.read(path.parent, "x", dict)["b"] is np.float32
path.write_text("a: !jax_array {dtype: bfloat16, values: [1.5]}\\nb: !!python/name:jax.nn.relu ''\\n")
assert metadata.flatten(path)["b"] == "jax.nn.relu"
print("jax" in sys.modules)
"""


def test_plain_data_needs_no_jax(tmp_path):
    import subprocess

    command = [sys.executable, "-c", IMPORT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("!jax_array " + "9" * 5000, Any),
        ("9" * 100, np.ndarray),
        ("!!python/object/apply:numpy.dtype [017]", Any),
        ("!!python/object/apply:collections.OrderedDict [ab, cd]", dict),
        ("!!python/object/apply:collections.OrderedDict [ab, cd]", Any),
        ("!!python/object/apply:types.SimpleNamespace [[ab]]", types.SimpleNamespace),
    ],
)
def test_nonsense_is_refused_with_its_location(text, kind):
    with pytest.raises(MetadataError, match=r"^x:1:\d+: "):
        load(text, kind)


def test_callable_may_be_declared():
    holder = dataclasses.make_dataclass("Holder", [("f", Callable[[int], int] | None, None)])
    assert there_and_back(holder(), holder) == holder()
    with pytest.raises(MetadataError, match="code is not written"):
        dump(holder(len))


def test_class_key_may_be_an_ordinary_key():
    value = {"!class": np.arange(2), "b": 1}
    assert metadata.flatten(value)["b"] == 1
    assert same(there_and_back({"!class": "A", "x": 1}, dict), {"!class": "A", "x": 1})
