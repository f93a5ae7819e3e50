"""Types beside the common ones: abstract bases, values off their types, and what tells them."""

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

from fifteen.experiments._errors import MetadataError
from fifteen.experiments.metadata import _compose, _files
from fifteen.experiments.metadata._same import same


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


def there_and_back(value: Any, kind: Any) -> Any:
    return _files.decode(_compose.compose(_files.dump(value, "x"), "x"), kind, "x")[0]


def read(text: str, kind: Any) -> Any:
    return _files.decode(_compose.compose(text.encode(), "x"), kind, "x")[0]


def test_a_field_declared_as_an_abstract_base():
    assert there_and_back(Config(Linear(0.5)), Config) == Config(Linear(0.5))
    assert there_and_back([Linear(), Constant()], list[Schedule]) == [Linear(), Constant()]
    assert there_and_back(Linear(), Schedule) == Linear()
    with pytest.raises(
        MetadataError, match=r"x:1:11: schedule: expected Schedule; say which with a tag"
    ):
        read("schedule: {start: 1}", Config)
    with pytest.raises(MetadataError, match=r"got the class 'Linea'; did you mean 'Linear'\?"):
        read("schedule: !dataclass:Linea {}", Config)


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
def test_a_value_off_its_type_comes_back(kind):
    made = dataclasses.make_dataclass("Holder", [("value", kind)])
    for value in VALUES:
        result = there_and_back(made(value), made).value
        assert same(value, result) or np.array_equal(np.asarray(value), np.asarray(result)), value


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_tag_of_another_type_is_refused(kind):
    with pytest.raises(MetadataError, match=r"^x:1:\d+: "):
        read("!dataclass:Nothing {a: 1}", kind)


@jax.jit
def write_inside_jit(x):
    with pytest.raises(MetadataError, match="a value inside jit, which has no number yet"):
        _files.dump({"loss": x}, "x")
    return x


def test_arrays_without_values_are_refused():
    write_inside_jit(1.0)
    gone = jnp.ones(3)
    gone.delete()
    with pytest.raises(MetadataError, match="an array that has been deleted or donated"):
        _files.dump({"w": gone}, "x")


def test_a_class_that_lost_a_field_is_refused():
    config = Config()
    del config.schedule
    with pytest.raises(MetadataError, match=r"a field has no value: .*schedule"):
        _files.dump(config, "x")
