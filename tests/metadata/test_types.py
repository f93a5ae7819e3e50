"""Rare types: abstract bases, values of undeclared types, and ambiguous values."""

import abc
import collections
import dataclasses
import enum
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from strictly import dump, load, same, there_and_back

from fifteen.experiments import metadata
from fifteen.experiments._errors import MetadataError, UnsafePathError


class Schedule(abc.ABC):
    @abc.abstractmethod
    def rate(self) -> float: ...


@dataclasses.dataclass
class Constant(Schedule):
    value: float = 1.0

    def rate(self) -> float:
        return self.value


@dataclasses.dataclass
class Linear(Schedule):
    start: float = 1.0

    def rate(self) -> float:
        return self.start


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Config:
    schedule: Schedule = dataclasses.field(default_factory=Constant)


def test_field_declared_as_an_abstract_base():
    assert there_and_back(Config(Linear(0.5)), Config) == Config(Linear(0.5))
    assert there_and_back([Linear(), Constant()], list[Schedule]) == [Linear(), Constant()]
    assert there_and_back(Linear(), Schedule) == Linear()
    with pytest.raises(
        MetadataError, match=r"x:1:11: schedule: expected Schedule; say which with a tag"
    ):
        load("schedule: {start: 1}", Config)
    with pytest.raises(MetadataError, match=r"got the class 'Linea'; did you mean 'Linear'\?"):
        load("schedule: !dataclass:Linea {}", Config)


KINDS: list[Any] = [
    None, bool, int, float, str, bytes, complex, pathlib.Path, range, list[int], tuple[int, int], tuple[int, ...], set[int],
    dict[str, int], collections.OrderedDict[str, int], types.SimpleNamespace, Literal["a", 1], Color, np.ndarray, jax.Array,
    np.dtype, int | list[int], Sequence[int], Mapping[str, int], np.float32,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, 3, 2.5, "text", "3", b"x", 1j, pathlib.Path("a"), range(3), [1], (1,), (1, 2), {1}, {"a": 1}, "a\nb",
    collections.OrderedDict(a=1), types.SimpleNamespace(a=1), np.arange(2), jnp.arange(2), np.dtype("int8"),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_value_of_another_type_round_trips(kind):
    made = dataclasses.make_dataclass("Holder", [("value", kind)])
    for value in VALUES:
        result = there_and_back(made(value), made).value
        assert same(value, result) or np.array_equal(np.asarray(value), np.asarray(result)), value


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_tag_of_another_type_is_refused(kind):
    with pytest.raises(MetadataError, match=r"^x:1:\d+: "):
        load("!dataclass:Nothing {a: 1}", kind)


@jax.jit
def write_inside_jit(x):
    with pytest.raises(MetadataError, match="a value inside jit, which has no number yet"):
        dump({"loss": x})
    return x


def test_traced_and_deleted_arrays_are_refused():
    write_inside_jit(1.0)
    gone = jnp.ones(3)
    gone.delete()
    with pytest.raises(MetadataError, match="an array that has been deleted or donated"):
        dump({"w": gone})


def test_object_without_one_of_its_fields_is_refused():
    config = Config()
    del config.schedule
    with pytest.raises(MetadataError, match=r"a field has no value: .*schedule"):
        dump(config)


@dataclasses.dataclass
class Node:
    x: int = 1
    child: "Node | Leaf | None" = None


@dataclasses.dataclass
class Leaf:
    x: int = 1
    child: "Node | Leaf | None" = None
    y: int = 0


def test_nested_unions_do_not_take_exponential_time(tmp_path):
    value: Node | Leaf | None = None
    for level in range(60):
        value = (Node, Leaf)[level % 2](level, value)
    path = metadata.write(tmp_path, "x", value)
    assert metadata.read(tmp_path, "x", Node | Leaf) == value
    lines = [line.replace(" !dataclass:Node", "").replace(" !dataclass:Leaf", "")
             for line in path.read_text().splitlines()[1:]]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(MetadataError, match=r"alike|none"):
        metadata.read(tmp_path, "x", Node | Leaf | int)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Literal["latest"] | pathlib.Path, "latest"),
        (Literal["latest"] | pathlib.Path, pathlib.Path("latest")),
        (Literal["RED"] | Color, "RED"),
        (Literal["RED"] | Color, Color.RED),
        (Literal[Color.RED] | str, "RED"),
        (Literal[Color.RED] | str, Color.RED),
    ],
)
def test_literal_is_distinguished_from_similar_values(tmp_path, kind, value):
    holder = dataclasses.make_dataclass("Holder", [("x", kind)])
    metadata.write(tmp_path, "x", holder(value))
    result = metadata.read(tmp_path, "x", holder).x
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "!array {dtype: S2000000000, values: [a, b]}",
        "!array {dtype: U400000000, values: [a]}",
        "!array {dtype: S1000000, values: [a, b]}",
        "!array {dtype: '(20000,20000)f4', values: [1]}",
        "!array {dtype: V100000000, shape: [1], values: [1]}",
        "!fraction 1/0",
        "!dtype np.testing",
        "!!python/object/apply:datetime.timedelta {kwds: {days: 5}}",
    ],
)
def test_tags_with_impossible_contents_are_refused(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(MetadataError, match=r"x\.yaml:1:1: "):
        metadata.read(tmp_path, "x", Any)


@pytest.mark.parametrize(
    "value",
    [
        *(np.timedelta64(5, "s"), np.timedelta64(5, "ns"), np.clongdouble(1) / 3),
        np.clongdouble(complex(0, np.nan)) + np.longdouble(1) / 3,
    ],
)
def test_scalars_without_an_equal_plain_number_are_refused(tmp_path, value):
    with pytest.raises(MetadataError, match=r"a: a (timedelta64|clongdouble)"):
        metadata.write(tmp_path, "x", {"a": value})


@pytest.mark.parametrize("kind", [np.complex64, np.complex128, np.clongdouble])
@pytest.mark.parametrize(
    "value", [complex(np.nan, 2), complex(-0.5, np.nan), complex(np.nan, np.nan)]
)
def test_complex_number_with_a_nan_part(tmp_path, kind, value):
    metadata.write(tmp_path, "x", {"a": kind(value), "b": np.array([value], kind)})
    result = metadata.read(tmp_path, "x")
    np.testing.assert_array_equal([result["a"].real, result["a"].imag], [value.real, value.imag])
    np.testing.assert_array_equal(
        result["b"].view(result["b"].real.dtype), [value.real, value.imag]
    )
    assert result["b"].dtype == kind


def test_sign_of_zero_counts_and_sign_of_nan_does_not(tmp_path):
    value = np.array([-np.nan, 0.0, -0.0, 1.0])
    metadata.write(tmp_path, "x", value)
    result = metadata.read(tmp_path, "x", np.ndarray)
    np.testing.assert_array_equal(result, value)
    assert list(np.signbit(result[1:])) == [False, True, False]


def test_numpy_str_in_a_str_field_needs_no_tag(tmp_path):
    holder = dataclasses.make_dataclass("Holder", [("x", str)])
    path = metadata.write(tmp_path, "x", holder(np.str_("a")))
    assert "x: a\n" in path.read_text()


@pytest.mark.parametrize("name", [5, None, pathlib.Path("a")])
def test_name_other_than_a_str_is_refused(tmp_path, name):
    with pytest.raises(UnsafePathError, match="expected a str"):
        metadata.write(tmp_path, name, 1)


@pytest.mark.parametrize("line", ["{}: 1\n", "- {}\n"])
def test_colliding_keys_are_refused(tmp_path, line):
    # Multiples of this prime have the hash 0 for every hash seed.
    keys = (index * (2**61 - 1) for index in range(40_000))
    (tmp_path / "x.yaml").write_text("".join(line.format(key) for key in keys))
    with pytest.raises(MetadataError, match="more than 100 keys with the same hash"):
        metadata.read(tmp_path, "x", set[int] if line[0] == "-" else dict[int, int])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["builtins.set", "collections.OrderedDict"])
def test_colliding_keys_in_an_old_file_are_refused(tmp_path, name):
    item = "- - - {}\n    - 1\n" if "Ordered" in name else "- - {}\n"
    first, rest = item, item.replace("- - ", "  - ", 1)
    lines = [(rest if i else first).format(i * (2**61 - 1)) for i in range(30_000)]
    (tmp_path / "x.yaml").write_text(f"!!python/object/apply:{name}\n" + "".join(lines))
    with pytest.raises(MetadataError, match="more than 100 keys with the same hash"):
        metadata.read(tmp_path, "x", Any)


def test_number_too_large_for_a_float_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_text("1e400\n")
    with pytest.raises(MetadataError, match="expected float, got 1e400, too large"):
        metadata.read(tmp_path, "x", float)
