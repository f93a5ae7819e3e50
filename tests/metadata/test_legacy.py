"""Values of Python, NumPy and JAX from today's `yaml.dump` are read unchanged."""

import collections
import datetime
import decimal
import enum
import fractions
import pathlib
import subprocess
import sys
import uuid
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from strictly import dump, load, same

from fifteen.experiments._errors import MetadataError


class Color(enum.Enum):
    RED = 1


class Permission(enum.Flag):
    READ = 1


class Point(NamedTuple):
    x: int
    y: int


zone = datetime.timezone(datetime.timedelta(hours=2))
PY = "!!python/"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *[
            (value, Any)
            for value in (
                1, -1.5, float("inf"), True, None, "no", "1e-3", 1e-5, 10**30, b"x", 1 + 2j, (1, (2,)), {1, 2}, frozenset({"a"}),
                range(1, 9, 3), {(1, 2): 3}, datetime.date(2026, 1, 31), datetime.datetime(2026, 1, 31, 1, 2, 3, 4),
                datetime.datetime(2026, 1, 31, tzinfo=zone), datetime.time(1, 2, 3, 4), datetime.time(1, tzinfo=zone),
                datetime.timedelta(1, 2, 3), zone, datetime.UTC, decimal.Decimal("1.50"), fractions.Fraction(1, 3), uuid.UUID(int=7),
                collections.OrderedDict(b=1, a=2), collections.deque([1, 2]), collections.Counter("aab"), slice(1, 2),
                pathlib.Path("a/b"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("c:\\x"), [pathlib.Path("/a")] * 2,
                np.float32(0.1), np.int64(3), np.bool_(True), np.str_("a"), np.complex64(1j), np.dtype("float32"), np.dtype(">i4"), np.float32,
                np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(["a", "bc"]), np.zeros((0, 2)), np.array(1.5),
                jnp.arange(3), jnp.float32(2), jnp.ones(2, jnp.bfloat16), jnp.bfloat16, jnp.dtype("bfloat16"), jnp.bfloat16(1.5),
            )
        ],
        (Color.RED, Color), (Point(1, 2), Point), ([Point(1, 2)], list[Point]), (np.float32(0.5), float), (jnp.int32(3), int), (np.bool_(False), bool),
        (np.complex64(1j), complex), (jnp.float32(0.5), float | None), (np.arange(3, dtype=np.int8), jnp.ndarray), (jnp.arange(3), np.ndarray), ((1, 2), list[int]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("style", [False, None, True])
def test_values_from_yaml_dump_are_read(value, kind, style):
    text = yaml.dump(value, default_flow_style=style)
    expected = yaml.unsafe_load(text)
    result = load(text, kind)
    if isinstance(expected, np.ndarray) != isinstance(result, np.ndarray):
        assert np.array_equal(np.asarray(expected), np.asarray(result))
    else:
        assert same(expected, result)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{PY}object/apply:pathlib._local.PosixPath [a, b]", pathlib.Path("a/b")),
        (f"{PY}object/apply:pathlib.WindowsPath [a]", pathlib.Path("a")),
        (f"{PY}object/apply:datetime.date [!!binary B+oBHw==]", datetime.date(2026, 1, 31)),
        (f"{PY}object/apply:datetime.datetime [!!binary B+oBHwECAwAABA==]", datetime.datetime(2026, 1, 31, 1, 2, 3, 4)),
        (f"{PY}bytes eA==", b"x"), (f"{PY}str no", "no"), (f"{PY}unicode no", "no"), (f"{PY}long 3", 3), (f"{PY}int 3", 3), (f"{PY}float 1.5", 1.5),
        (f"{PY}none ''", None), (f"{PY}bool yes", True), (f"{PY}list [1]", [1]), (f"{PY}dict {{a: 1}}", {"a": 1}),
        ("!!timestamp 2026-01-31", datetime.date(2026, 1, 31)),
        ("!!set {a, b}", {"a", "b"}), ("!!int 3", 3), ("!!float 3", 3.0), ("!!str 3", "3"), ("!!null ''", None), ("!!bool no", False),
        (f"{PY}object/apply:builtins.bytearray [abc, latin-1]", bytearray(b"abc")),
    ],
)  # fmt: skip
def test_other_pyyaml_tags_are_read(text, expected):
    if "none" in text or "null" in text:
        text = text.replace(" ''", " ~")
    assert same(load(text), expected)


DTYPE = f"{PY}object/apply:numpy.dtype {{args: [f4, false, true], state: !!python/tuple [3, <]}}"


@pytest.mark.parametrize(
    "text",
    [
        "object/apply:pathlib.PosixPath [1]", "object/apply:datetime.date [!!binary AA==]", "object/apply:datetime.datetime [!!binary AA==]",
        "object/apply:datetime.time [!!binary AA==]", "object/apply:datetime.date ['2026-01-31']", "object/apply:datetime.timedelta [x]",
        "object/apply:datetime.timezone [3]", "object/apply:fractions.Fraction [x]", "object/apply:fractions.Fraction ['1e9']",
        "object/apply:builtins.range [x]", "object/apply:builtins.frozenset [3]", "object/apply:decimal.Decimal [x]", "object:uuid.UUID {x: 1}",
        "object:uuid.UUID {int: -1}", "complex x", "object/apply:datetime.date []", "object/apply:numpy.dtype [[f4]]", "object/apply:numpy.dtype {x: 1}",
        "object/apply:numpy.dtype {args: [M8, false, true], state: !!python/tuple [4, <]}", "object/apply:numpy.dtype [!!python/name:os.system '']",
        f"object/apply:numpy.core.multiarray.scalar [{DTYPE}]", f"object/apply:numpy.core.multiarray.scalar [{DTYPE}, 3]",
        f"object/apply:numpy.core.multiarray.scalar [f4, {DTYPE}]", "object/apply:numpy.core.multiarray._reconstruct {args: []}",
        f"object/apply:numpy.core.multiarray._reconstruct {{state: [1, [9], {DTYPE}, false, !!binary AAAAAA==]}}",
        "object/apply:numpy.core.multiarray.other [1]", "object:nowhere.Thing {a: 1}", "module:os ''", "name:os.system ''", "unknown 3",
    ],
)  # fmt: skip
def test_damaged_and_unknown_tags_are_refused(text):
    with pytest.raises(MetadataError, match=r"^x:1:\d+: "):
        load(PY + text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!omap [a: 1]", "unknown tag !!omap"),
        ("!!pairs [a: 1]", "unknown tag !!pairs"),
        ("!!timestamp x", "expected a date or a time"),
        ("!!timestamp '2026-99-99'", "expected a date or a time"),
    ],
)
def test_tags_pyyaml_never_writes_are_refused(text, message):
    with pytest.raises(MetadataError, match=message):
        load(text)


def test_wide_array_is_not_truncated():
    text = yaml.dump(np.arange(3.0))
    with pytest.raises(MetadataError, match="which JAX would cut to float32"):
        load(dump({"a": np.arange(3.0)}).decode().replace("!array", "!jax_array"))
    with pytest.raises(MetadataError, match=r"expected jax\.Array"):
        load(text, jnp.ndarray)


WITHOUT_LIBYAML = """
import sys
sys.modules["yaml.cyaml"] = None
from fifteen.experiments._errors import MetadataError
from fifteen.experiments.metadata import _files
value = {"a": [1, (2, "no")], "b": "x\\ny\\n", "c": {"d": None}}
assert _files.loads(_files.dumps(value, "x"), dict, "x")[0] == value
for text in ("a: [1", "a: \\x07", "[" * 101 + "]" * 101, "&a [*a]", "1\\n---\\n2\\n"):
    try:
        _files.loads(text.encode(), dict, "x")
    except MetadataError as error:
        print(error)
"""


def test_errors_are_the_same_without_libyaml():
    command = [sys.executable, "-c", WITHOUT_LIBYAML]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    messages = [
        "x:1:6: not valid YAML",
        "x: not valid YAML: unacceptable character",
        "x: more than 100 levels",
        "x:1:1: a value that contains itself",
        "x:2:1: not valid YAML: but found another document",
    ]
    assert len(lines) == len(messages)
    for line, message in zip(lines, messages, strict=True):
        assert line.startswith(message)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("{dtype: float32}", np.ndarray), ("{dtype: nonsense, values: [1]}", np.ndarray), ("{dtype: float32, values: [x]}", np.ndarray),
        ("{dtype: float32, values: [1], more: 1}", np.ndarray), ("!array {values: [1]}", Any), ("!dtype nonsense", Any), ("!dtype np.nonsense", Any),
        ("nonsense", np.dtype), ("[1]", np.dtype), ("x", np.float32), ("300", np.int8), ("[1]", pathlib.Path), ("[x]", range), ("[0, 1, 0]", range),
        ("!range [x]", Any), ("x", complex), ("!complex x", Any), ("'25:00:00'", datetime.time), ("1 day", datetime.timedelta), ("9999999999 days, 0:00:00", datetime.timedelta),
        ("2026-13-01", datetime.date), ("2026-01-01 25:00:00", datetime.datetime), ("x", decimal.Decimal), ("x", fractions.Fraction), ("x", uuid.UUID),
        ("!!binary '*'", bytes), ("x", bytes), ("3", list), ("3", dict), ("3", Point), ("!enum:Colour RED", Color), ("!dataclass:Nothing {}", Point),
        ("? [1]\n: 2", dict[Any, Any]), ("- [1]", set[Any]), ("x", collections.OrderedDict), ("0x", int), ("9" * 5000, int), ("3", type(len)), ("-1", Permission), ("READ|", Permission),
    ],
)  # fmt: skip
def test_wrong_type_is_refused_with_its_location(text, kind):
    with pytest.raises(MetadataError, match=r"^x:1:\d+: "):
        load(text, kind)
