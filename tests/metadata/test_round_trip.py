# ruff: noqa: E741, RUF005, RUF009, UP007, UP045  # programs spell types in all these ways, and so do these tests
from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import types
import typing
import uuid
from collections.abc import Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from strictly import same, there_and_back

from fifteen.experiments import metadata
from fifteen.experiments._errors import MetadataError

T = TypeVar("T")
B = TypeVar("B", bound="Optimizer")
UserId = NewType("UserId", int)


class Color(enum.Enum):
    RED = "red"
    GREEN = 2
    no = 3
    null = 4


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Kind(enum.StrEnum):
    A = "a"
    YES = "yes"


class Permission(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


class Mode(enum.IntFlag):
    X = 1
    Y = 2


@dataclasses.dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Adam(Optimizer):
    betas: tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass(frozen=True)
class Sgd(Optimizer):
    betas: tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass
class Pair(Generic[T]):
    first: T
    second: T


@dataclasses.dataclass
class Named(Pair[int], Generic[B]):
    name: str
    extra: B | None = None


@dataclasses.dataclass
class Tree:
    value: int
    children: list[typing.Self] = dataclasses.field(default_factory=list)
    parent: Tree | None = None


class Point(NamedTuple):
    x: int
    y: float = 0.5


class Movie(TypedDict, total=False):
    title: typing.Required[str]
    year: int


@attrs.define
class Attrs:
    width: int
    _hidden: str = "h"
    layers: list[int] = attrs.field(factory=list)
    area: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self):
        self.area += self.width


@attrs.frozen
class Converted:
    width: int = attrs.field(converter=int)
    double: int = attrs.Factory(lambda self: self.width * 2, takes_self=True)


@dataclasses.dataclass
class Hooks:
    seed: dataclasses.InitVar[int]
    width: int = 3
    area: int = dataclasses.field(init=False)
    tags: list[str] = dataclasses.field(default_factory=list, kw_only=True)
    version: typing.ClassVar[int] = 3

    def __post_init__(self, seed):
        self.area = self.width * seed


@dataclasses.dataclass
class Doubling:
    width: int = 1

    def __post_init__(self):
        self.width *= 2


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
    a: int = 1
    b: Final[int] = 2


@dataclasses.dataclass
class Everything:
    a: int = 1
    b: float | None = None
    c: Literal["adam", "sgd", 3] = "adam"
    d: Annotated[int, "steps"] = 4
    e: UserId = UserId(5)
    f: int | str = "6"
    g: Adam | Sgd = dataclasses.field(default_factory=Sgd)
    h: Optimizer = dataclasses.field(default_factory=Adam)
    i: dict[str, Any] = dataclasses.field(default_factory=lambda: {"t": (1, pathlib.Path("x"))})
    j: list = dataclasses.field(default_factory=lambda: [1, (2, 3), None])
    k: Color = Color.no
    l: Permission = Permission.READ | Permission.RUN
    m: Point = Point(1)
    n: Movie = dataclasses.field(default_factory=lambda: {"title": "x"})
    o: Pair[Color] = dataclasses.field(default_factory=lambda: Pair(Color.RED, Color.GREEN))
    p: pathlib.Path = pathlib.Path("~/runs/a b")
    q: Sequence[int] = (1, 2)
    r: Mapping[str, int] = dataclasses.field(default_factory=dict)
    s: set[str] = dataclasses.field(default_factory=lambda: {"no", "yes"})
    t: np.dtype = np.dtype("float32")
    u: Any = jnp.bfloat16
    v: int = None
    w: tuple[int, ...] = (1, 2, 3)
    x: float = 3


TRICKY = ["no", "on", "off", "yes", "y", "n", "Y", "N", "true", "False", "null", "Null", "~", "NULL", "1e-3", "1E5", "0o17", "017", "0x1F", "0b11", "12:30:00", "1:2", "1.10", "1.", ".5", "-.5", "+1", "1_000", "-", "--", "---", "...", "?", ":", ",", "[", "]", "{", "}", "#", "&", "*", "!", "|", ">", "'", '"', "%", "@", "`", "=", "<<", ".inf", "-.inf", ".nan", "NaN", "inf", "2001-01-01", "2001-1-1T1:1:1Z", "2001-12-14T21:59:43.10-05:00", "a:b", "a#b", "-a", "?a", ":a", "a:", "#a", "{a}", "[a]", "0", "00", "1e3", "e3", "_", "_1", "0.", ".e1", "1__0", "+.inf", "0x", "1,2", "!!int", "!tag", "&a", "*a", "|-", ">-", "@x", "%x", "a\\b"] + [
    "", " ", " a", "a ", "a b", "a  b", "a: b", "a #b", "\t", "a\tb", "\n", "a\n", "a\nb", "a\n\nb\n\n",
    "\na", " a\nb", "a\n b", "a \nb", "a\n \nb", "a\n\t", "a\r\nb", "\r", "\0", "\x07\x1b\x7f", "\x85", "\u2028\u2029",
    "\ufeff", "\ufffe", "é", "日本語", "😀", "a😀\nb", "\xa0", "\u200b", "'", "''", "a'b", 'a"b', "'\"", "\\", "\\n",
    "x" * 2000, "x y " * 500, "- a\n- b", "a: 1\nb: 2", "...\n---", "---", "# comment\n", "\ud7ff", "\ue000", "\U0010ffff",
    "a\n...\nb", "line\n" * 50, "\n\n", "a\n\n", "|\n", "def f():\n    return 1\n", "\tx\ny", "0x1\n", "a,b", "[1, 2]",
]  # fmt: skip

utc = datetime.timezone.utc  # noqa: UP017
CASES: list[tuple[Any, Any]] = [
    *[(text, str) for text in TRICKY],
    *[({text: text}, dict[str, str]) for text in TRICKY],
    *[([text, text], Any) for text in TRICKY],
    *[(text, str | float | int | bool | None | datetime.date) for text in TRICKY],
    *[(value, int) for value in (0, 1, -1, 10, 2**63, -(2**64), 10**40, 10**5000, -(10**4500))],
    *[(value, Any) for value in (0, -1, 2**70, 10**5000)],
    *[
        (value, kind)
        for value in (0.0, -0.0, 1.0, 0.1, 1e-300, 1e300, 5e-324, 1e16, 1e22, 123456789.125, 1e-5,
                      float("inf"), -float("inf"), float("nan"), 2.5e-7, 1.7976931348623157e308)
        for kind in (float, Any, float | int, float | str, Optional[float], Union[int, float, str, None])
    ],
    *[(v, k) for v in (0, 3, -7) for k in (int | float, int | str, Any, int | bool, Optional[int])],
    *[(v, k) for v in (True, False) for k in (bool, bool | int, Any, bool | str)],
    *[(v, k) for v in (1 + 2j, complex("nan+infj"), complex(-0.0, -0.0), 1e-5j) for k in (complex, Any, complex | str)],
    *[(v, k) for v in (b"", b"\0\xff", b"abc" * 100) for k in (bytes, Any, bytes | str)],
    (None, None), (None, Any), (None, Optional[int]),
    *[(pathlib.Path(t), k) for t in (".", "a", "/a/b", "no", "1.10", "a b", "~") for k in (pathlib.Path, Any, pathlib.Path | str, Optional[pathlib.Path])],
    *[(pathlib.PureWindowsPath("c:\\x"), k) for k in (pathlib.PureWindowsPath, pathlib.PurePath, Any)],
    (pathlib.PurePosixPath("a"), pathlib.PurePosixPath), (pathlib.PurePosixPath("a"), Any),
    *[(v, k) for v in (datetime.date(2026, 1, 31), datetime.date(1, 1, 1)) for k in (datetime.date, Any, datetime.date | str, datetime.date | datetime.datetime)],
    *[(v, k) for v in (datetime.datetime(2026, 1, 31), datetime.datetime(2026, 1, 31, 1, 2, 3, 4), datetime.datetime(2026, 1, 1, tzinfo=utc),
                       datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-5, minutes=-30))))
      for k in (datetime.datetime, Any, datetime.datetime | str, datetime.date | datetime.datetime)],
    *[(v, k) for v in (datetime.time(12, 30), datetime.time(1, 2, 3, 4, utc)) for k in (datetime.time, Any, datetime.time | str)],
    *[(v, k) for v in (datetime.timedelta(0), datetime.timedelta(-1, 5, 7), datetime.timedelta(3, 4), datetime.timedelta.max, datetime.timedelta.min)
      for k in (datetime.timedelta, Any, datetime.timedelta | str)],
    *[(v, k) for v in (range(3), range(10, 0, -3), range(0)) for k in (range, Any, range | list[int])],
    *[(v, k) for v in (decimal.Decimal("1.50"), decimal.Decimal("NaN"), decimal.Decimal("-0")) for k in (decimal.Decimal, Any)],
    (fractions.Fraction(1, 3), fractions.Fraction), (fractions.Fraction(-4), Any), (uuid.UUID(int=5), uuid.UUID), (uuid.UUID(int=5), Any),
    ([], list), ([], list[int]), ([1, 2], list[int]), ([[1], []], list[list[int]]), ([None, 1], list[int | None]),
    ((), tuple), ((), tuple[()]), ((1, "a"), tuple[int, str]), ((1, 2), tuple[int, ...]), (((1, 2), (3,)), tuple[tuple[int, ...], ...]),
    ((1, [2, (3, {4})]), Any), ((1, 2), list[int] | tuple[int, ...]), ([1, 2], list[int] | tuple[int, ...]),
    ((1, 2), tuple[int, int] | tuple[int, int, int]), ((1, 2, 3), tuple[int, int] | tuple[int, int, int]),
    ((1.0, 2.0, 3.0), tuple[float, float] | tuple[float, float, float]),
    ([1], list[int] | list[str]), (["1"], list[int] | list[str]), ([1.0], list[int] | list[float]), ([1], list[int] | list[float]),
    (("1",), tuple[int, ...] | tuple[str, ...]), ((1,), tuple[int, ...] | tuple[str, ...]),
    ((None,), tuple[None] | tuple[int, ...]), ((1,), tuple[None] | tuple[int, ...]),
    ((1, 2), tuple[None] | tuple[int, ...]), (("a", 1), tuple[int, ...] | tuple[str, int]),
    (set(), set), ({1, 2}, set[int]), ({1, 2}, Any), ({(1, 2)}, set[tuple[int, int]]), (frozenset({"a"}), frozenset[str]), (frozenset(), Any),
    ({1.5, float("inf")}, set[float]), ({frozenset({1})}, set[frozenset[int]]), ({Color.RED}, set[Color]),
    ({}, dict), ({"b": 1, "a": 2}, dict[str, int]), ({1: 2, -3: 4}, dict[int, int]), ({1.5: 1, float("inf"): 2}, dict[float, int]),
    ({True: 1, False: 2}, dict[bool, int]), ({None: 1}, dict[None, int]), ({None: 1, "null": 2, "~": 3, 1: 4, "1": 5}, dict[Any, int]),
    ({(1, 2): "a", (3, 4): "b"}, dict[tuple[int, int], str]), ({(1, (2, "x")): 1}, Any), ({Color.RED: 1, Color.no: 2}, dict[Color, int]),
    ({Level.LOW: 1}, dict[Level, int]), ({b"x": 1}, dict[bytes, int]), ({pathlib.Path("a"): 1}, dict[pathlib.Path, int]),
    ({datetime.date(2026, 1, 1): 1}, dict[datetime.date, int]), ({"x" * 1500: {"y" * 2000: [1]}}, dict[str, dict[str, list[int]]]),
    ({frozenset({1, 2}): 1}, dict[frozenset[int], int]), ({1: 2}, dict[int, str] | dict[int, int]),
    ({"a": {"b": {"c": [1, {"d": (1,)}]}}}, dict), ({"a": [], "b": {}, "c": (), "d": set()}, Any),
    (collections.OrderedDict(b=1, a=2), collections.OrderedDict[str, int]), (collections.OrderedDict(b=1), Any),
    (collections.deque([1, 2]), collections.deque[int]), (collections.deque([(1,)]), Any),
    (argparse.Namespace(lr=0.1, dims=(1, 2)), argparse.Namespace), (types.SimpleNamespace(a=[1]), types.SimpleNamespace),
    *[(m, k) for m in Color for k in (Color, Color | str, Color | None, Color | Level)],
    (Level.HIGH, Level), (Level.HIGH, Level | int), (Kind.YES, Kind), (Kind.YES, Kind | str), (Kind.A, Literal[Kind.A]),
    *[(p, k) for p in (Permission(0), Permission.READ, Permission.READ | Permission.WRITE, Permission(7)) for k in (Permission, Permission | None)],
    (Mode(0), Mode), (Mode(3), Mode), (Mode(8), Mode), (Mode.X | 16, Mode),
    ("adam", Literal["adam", "sgd"]), (3, Literal["3", 3]), ("3", Literal["3", 3]), (True, Literal[1, True]), (1, Literal[1, True]),
    (None, Literal[None, "x"]), (b"x", Literal[b"x"]), (Color.RED, Literal[Color.RED, "RED"]),
    (UserId(3), UserId), (3, Annotated[int, "x"]),
    (Optimizer(), Optimizer), (Adam(), Optimizer), (Adam(), Adam | Sgd), (Sgd(0.5), Adam | Sgd), (Sgd(), Union[Adam, Sgd, None]),
    ([Adam(), Sgd(), Optimizer()], list[Optimizer]), ({"a": Sgd()}, dict[str, Adam | Sgd]), ({"a": Sgd()}, dict[str, Adam] | dict[str, Sgd]),
    ([Sgd()], list[Adam] | list[Sgd]), ((Adam(), Sgd()), tuple[Optimizer, ...]),
    (Pair(1, 2), Pair[int]), (Pair("1", "2"), Pair[str]), (Pair((1, 2), (3,)), Pair[tuple[int, ...]]), (Pair(Adam(), Sgd()), Pair[Optimizer]),
    (Pair(Color.RED, Color.no), Pair[Color]), (Pair(Pair(1, 2), Pair(3, 4)), Pair[Pair[int]]), (Pair(1, 2), Pair), (Pair((1,), pathlib.Path("a")), Pair),
    (Pair(1, 2), Pair[int] | Pair[str]), (Pair("1", "2"), Pair[int] | Pair[str]), (Pair(None, 1.5), Pair[Optional[float]]),
    (Named(1, 2, "x", Adam()), Named[Adam]), (Named(1, 2, "x", Sgd()), Named), (Named(1, 2, "no"), Named[Sgd]),
    (Tree(1, [Tree(2, [Tree(3)]), Tree(4)], Tree(5)), Tree),
    (Point(1), Point), (Point(1, 2.5), Point | None), ([Point(1)], list[Point]), (Point(1), tuple[int, float] | Point),
    ({"title": "x"}, Movie), ({"year": 3, "title": "x"}, Movie), ({"title": "x"}, Movie | None),
    (Attrs(3), Attrs), (Attrs(3, "x", [1]), Attrs), (Converted(3, 7), Converted),
    (Hooks(3), Hooks), (Hooks(3, 4, tags=["x"]), Hooks), (Doubling(3), Doubling), (Slots(3, 4), Slots),
    (Everything(), Everything), (Everything(g=Adam(), h=Sgd(), q=[1], r=collections.OrderedDict(a=1), f=6), Everything),
    (np.dtype("float32"), np.dtype), (np.dtype(">i4"), np.dtype), (jnp.bfloat16, Any), (jnp.float32, Any), (np.float32, Any), (np.dtype("<U5"), np.dtype),
    (jnp.bfloat16, np.dtype), (jnp.dtype("bfloat16"), np.dtype), (jnp.float8_e4m3fn, Any), (np.bool_, Any), (jnp.bool_, Any), (jnp.int4, Any),
    *[(a, k) for a in (np.arange(6).reshape(2, 3), np.zeros((0, 3), np.float32), np.float32([0.1, np.nan, -0.0]), np.array([True]), np.array(["a", "no"]),
                       np.array([1 + 2j]), np.zeros((20_000,), np.int8), np.array([2**63], np.uint64), np.array([1], ">i4"), np.arange(3, dtype=np.float16))
      for k in (np.ndarray, Any, np.ndarray | None)],
    *[(a, k) for a in (jnp.arange(3), jnp.ones((2, 2), jnp.bfloat16), jnp.zeros((0,)), jnp.arange(3, dtype=jnp.int4), jnp.ones(3, jnp.float8_e4m3fn), jax.random.PRNGKey(0))
      for k in (jax.Array, Any, jax.Array | None)],
    (np.float32(1.5), np.float32), (np.int8(3), np.int8), (np.float32(0.1), np.floating),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind"), CASES, ids=map(str, range(len(CASES))))
def test_value_round_trips(value, kind):
    result = there_and_back(value, kind)
    assert same(value, result)
    assert type(result) is type(value) or isinstance(value, np.generic)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (np.float32(0.1), float, float(np.float32(0.1))),
        (np.int64(3), int, 3),
        (np.bool_(True), bool, True),
        (jnp.float32(1.5), float, 1.5),
        (jnp.bfloat16(1.5), float, 1.5),
        (jnp.int32(3), int, 3),
        (jnp.int32(3), Any, 3),
        (np.complex64(1j), complex, 1j),
        (np.str_("a"), str, "a"),
        ({"loss": jnp.float32(2)}, dict[str, float], {"loss": 2.0}),
        (np.float64(2), Optional[float], 2.0),
        (jnp.int32(3), float, 3.0),
        (Optimizer(np.float32(0.5)), Optimizer, Optimizer(0.5)),
        (Optimizer(1), Optimizer, Optimizer(1.0)),
    ],
)
def test_array_scalars_become_plain_numbers(tmp_path, value, kind, expected):
    path = metadata.write(tmp_path, "x", value)
    result = metadata.read(tmp_path, "x", kind)
    assert result == expected
    assert type(result) is type(expected)
    assert "!" not in path.read_text().replace("!dataclass:Optimizer", "").replace("!complex", "")


def test_zone_named_utc_is_utc():
    # `datetime.now().astimezone()` names it on a machine whose zone is UTC.
    named = datetime.timezone(datetime.timedelta(0), "UTC")
    value = datetime.datetime(2026, 1, 31, 1, 2, tzinfo=named)
    assert same(value.replace(tzinfo=utc), there_and_back(value, Any))


def test_values_of_undeclared_types_round_trip(tmp_path):
    # Python does not enforce annotations, so files must not either.
    for value in (
        None,
        "text",
        "3",
        2.5,
        True,
        [1],
        (1, 2),
        {"a": 1},
        {1},
        b"x",
        pathlib.Path("a"),
        "a\nb",
    ):
        metadata.write(tmp_path, "x", Slots(value, 2))
        result = metadata.read(tmp_path, "x", Slots)
        assert same(result, Slots(value, 2)), value


def make_local():
    @dataclasses.dataclass
    class Hidden:
        width: int = 3

    @dataclasses.dataclass
    class Shown:
        hidden: Hidden = dataclasses.field(default_factory=Hidden)

    return Shown


def test_local_class_in_a_string_annotation_is_refused(tmp_path):
    Hidden = int  # noqa: F841  # what must not be found either
    with pytest.raises(MetadataError, match=r"'Hidden' is not defined.* top of the module"):
        metadata.write(tmp_path, "x", make_local()())


def make_flat(name="Flat"):
    return dataclasses.make_dataclass(name, [("width", int, 3)], bases=(Optimizer,), frozen=True)


def test_class_redefined_as_in_a_notebook(tmp_path):
    first, second = make_flat(), make_flat()
    metadata.write(tmp_path, "x", first())
    assert type(metadata.read(tmp_path, "x", second)) is second
    path = metadata.write(tmp_path, "x", [second()])
    assert "!dataclass:Flat\n" in path.read_text()
    assert type(metadata.read(tmp_path, "x", list[Optimizer])[0]) is second


def test_main_class_is_found_in_the_module_that_imports_it(tmp_path):
    path = metadata.write(tmp_path, "x", [Adam()])
    path.write_text(path.read_text().replace(":Adam", ":__main__.Adam"))
    assert metadata.read(tmp_path, "x", list[Optimizer]) == [Adam()]


def test_unresolvable_annotation_is_named(tmp_path):
    @dataclasses.dataclass
    class Broken:
        value: NoSuchThing  # noqa: F821

    with pytest.raises(MetadataError, match=r"Broken\.value: its annotation 'NoSuchThing'"):
        metadata.write(tmp_path, "x", Broken(1))


def test_declared_types_are_written_as_plain_yaml(tmp_path):
    value = Pair(Optimizer(), Optimizer(0.5))

    @dataclasses.dataclass
    class Config:
        pair: Pair[Optimizer]
        color: Color = Color.RED
        betas: tuple[float, float] = (0.9, 0.999)
        path: pathlib.Path = pathlib.Path("runs/a")
        day: datetime.date = datetime.date(2026, 1, 31)
        names: set[str] = dataclasses.field(default_factory=lambda: {"no"})
        data: bytes = b"\0"
        text: str = "1e-3"
        small: float = 1e-05

    path = metadata.write(tmp_path, "x", Config(value))
    assert yaml.safe_load(path.read_text()) == {
        "pair": {"first": {"learning_rate": 0.001}, "second": {"learning_rate": 0.5}},
        "color": "RED",
        "betas": [0.9, 0.999],
        "path": "runs/a",
        "day": datetime.date(2026, 1, 31),
        "names": ["no"],
        "data": b"\0",
        "text": "1e-3",
        "small": 1e-05,
    }


def test_file_is_readable(tmp_path):
    path = metadata.write(tmp_path, "x", Everything())
    assert path.read_text().startswith(
        "# fifteen.experiments metadata !dataclass:Everything\n"
        "a: 1\nb: null\nc: adam\nd: 4\ne: 5\nf: '6'\ng: !dataclass:Sgd\n  learning_rate: 0.001\n"
    )
    assert path.read_text().endswith("w: [1, 2, 3]\nx: 3\n...\n")


def test_two_classes_with_one_name_in_an_object_are_refused(tmp_path):
    other = dataclasses.make_dataclass("Optimizer", [("learning_rate", float)])
    other.__module__ = "somewhere.else_"
    with pytest.raises(MetadataError, match="b: another class is named Optimizer too"):
        metadata.write(tmp_path, "x", {"a": Optimizer(), "b": other(0.5)})


def test_two_classes_with_one_name_in_a_union_are_distinguished(tmp_path):
    other = dataclasses.make_dataclass("Optimizer", [("learning_rate", float)])
    other.__module__ = "somewhere.else_"
    holder = dataclasses.make_dataclass("Holder", [("one", Optimizer | other)])
    for value in (holder(Optimizer(0.5)), holder(other(0.5))):
        metadata.write(tmp_path, "x", value)
        assert same(metadata.read(tmp_path, "x", holder), value)
    metadata.write(tmp_path, "y", other(0.5))
    with pytest.raises(MetadataError, match=r"2 classes are named 'Optimizer'; say which, as "):
        metadata.read(tmp_path, "y", Optimizer | other)


def test_later_class_with_the_same_name_is_ambiguous(tmp_path):
    base = dataclasses.make_dataclass("Base", [("x", int)])
    base.__module__ = __name__
    holder = dataclasses.make_dataclass("Holder", [("one", base)])
    first = dataclasses.make_dataclass("Twin", [], bases=(base,))
    first.__module__ = "first"
    path = metadata.write(tmp_path, "x", holder(first(1)))
    second = dataclasses.make_dataclass("Twin", [], bases=(base,))
    second.__module__ = "second"
    with pytest.raises(MetadataError, match=r"2: one: 2 classes|one: 2 classes are named 'Twin'"):
        metadata.read(tmp_path, "x", holder)
    path.write_text(path.read_text().replace("!dataclass:Twin", "!dataclass:second.Twin"))
    assert type(metadata.read(tmp_path, "x", holder).one) is second


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (list[dict[Color, None]] | list, [Level.LOW]),
        (list | tuple[float, dict], (0.1, {Color.RED: 1})),
        (dict | dict[float, int], {Color.RED: 1}),
    ],
)
def test_value_outside_a_union_is_not_written(tmp_path, annotation, value):
    config = dataclasses.make_dataclass("Config", [("a", annotation)])
    with pytest.raises(MetadataError, match="not written"):
        metadata.write(tmp_path, "config", config(value))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("value", [(0.0,), ([],), (1, 2), ((),), [(1.5,)]])
def test_any_in_a_union_takes_tuples_of_other_items(tmp_path, value):
    kind = Color | tuple[int, ...] | Any
    metadata.write(tmp_path, "x", value)
    assert metadata.read(tmp_path, "x", kind) == value
