"""Unsupported values are refused by name, and the old file is kept."""

import dataclasses
import datetime
import enum
import io
import pathlib
import sys
import threading
import zoneinfo
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import ruamel.yaml
import yaml
from strictly import dump

from fifteen.experiments import metadata
from fifteen.experiments._errors import MetadataError, UnsafePathError


class Color(enum.Enum):
    RED = 1


class Name(str):
    pass


@dataclasses.dataclass
class Inner:
    value: Any = None


@dataclasses.dataclass
class Config:
    inner: Inner = dataclasses.field(default_factory=Inner)
    table: dict[str, Any] = dataclasses.field(default_factory=dict)
    count: int = 0


class Opaque:
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Config(Inner(len)), "metadata 'x': inner.value: the builtin_function_or_method len: code is not written; write its name, and look the name up"),
        (Config(Inner(jax.nn.relu)), "relu: code is not written"),
        (Config(Inner(lambda: 0)), "metadata 'x': inner.value: a lambda: code is not written; write its name, and look the name up"),
        (Config(Inner(io.StringIO())), "metadata 'x': inner.value: an open file; write its path"),
        (Config(Inner(sys.stderr)), "inner.value: an open file; write its path"),
        (Config(table={"a": [1, {"b c": Opaque()}]}), "metadata 'x': table.a[1]['b c']: a test_writing.Opaque is not written; make it a dataclass"),
        (Config(Inner(jax.random.key(0))), "metadata 'x': inner.value: a PRNG key; use save_checkpoint"),
        (Config(Inner(np.zeros(2**18 + 1, np.float32))), "metadata 'x': inner.value: an array of 1,048,580 bytes, more than the 1,048,576 that metadata takes; use save_checkpoint"),
        (Config(Inner(jnp.zeros(2**18 + 1))), "use save_checkpoint"),
        (Config(Inner("a\ud800b")), "metadata 'x': inner.value: a str with the lone surrogate '\\ud800' at index 1"),
        (Config(table={"\udfff": 1}), "a str with the lone surrogate '\\udfff' at index 0"),
        (Config(Inner("x\n\ud800")), "a str with the lone surrogate '\\ud800' at index 2"),
        (Config(Inner(Color.RED)), "metadata 'x': inner.value: a Color, but no type is declared; declare the field as Color, so that a reader knows its class"),
        (Config(Inner(Inner())), "inner.value: a Inner, but no type is declared"),
        (Config(count=Color.RED), "metadata 'x': count: a Color, but int is declared; declare the field as Color, so that a reader knows its class"),
        (Config(Inner(Name("a"))), "inner.value: a Name, which would come back as a plain str; convert it to one"),
        (Config(Inner(np.array([object()]))), "inner.value: an array of dtype object"),
        (Config(Inner(np.ma.array([1]))), "inner.value: a MaskedArray; use numpy.asarray(it)"),
        (Config(Inner(datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")))), "in the zone Europe/Paris: only fixed offsets are written exactly"),
        (Config(Inner(datetime.datetime(2026, 10, 25, 2, fold=1))), "inner.value: a time with fold=1"),
        (Config(Inner(np.datetime64("2026"))), "inner.value: a datetime64, which no plain number equals; use numpy.asarray(it)"),
        (Config(Inner(threading.Lock())), "inner.value: a _thread.lock is not written"),
        (Opaque(), "metadata 'x': Opaque: a test_writing.Opaque is not written"),
        ((i for i in ()), "metadata 'x': generator: a builtins.generator is not written"),
        (Config, "metadata 'x': type: the type Config: code is not written"),
        (np.array(["2026-01-01"], "M8[D]"), None),
    ],
)  # fmt: skip
def test_value_that_would_not_round_trip_is_refused(tmp_path, value, message):
    path = metadata.write(tmp_path, "x", Config(count=1))
    before = path.read_bytes()
    if message is None:
        metadata.write(tmp_path, "x", value)
        assert metadata.read(tmp_path, "x", np.ndarray) == value
        return
    with pytest.raises(MetadataError) as caught:
        metadata.write(tmp_path, "x", value)
    assert message.replace("test_writing.", "") in str(caught.value).replace(f"{__name__}.", "")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.yaml"]


def test_all_unwritable_values_are_named_at_once(tmp_path):
    with pytest.raises(MetadataError) as caught:
        metadata.write(tmp_path, "x", Config(Inner(len), {"f": print, "g": 1}, Color.RED))
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["inner.value", "table.f", "count"]


def test_object_that_changes_when_rebuilt_is_refused(tmp_path):
    @dataclasses.dataclass(init=False)
    class Stubborn:
        value: int = 0

        def __new__(cls):
            return object.__new__(cls)

        def __getattribute__(self, name):
            if name == "value":
                counter.append(1)
                return len(counter)
            return object.__getattribute__(self, name)

    counter: list[int] = []
    with pytest.raises(
        MetadataError, match=r"value: would not come back equal, so it is not written"
    ):
        metadata.write(tmp_path, "x", Stubborn())


def test_value_that_contains_itself_is_refused(tmp_path):
    value: list[Any] = []
    value.append(value)
    with pytest.raises(MetadataError, match="it contains itself, or is nested too deep"):
        metadata.write(tmp_path, "x", value)
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    with pytest.raises(MetadataError, match="more than 100 levels"):
        metadata.write(tmp_path, "x", deep)


@pytest.mark.slow
def test_value_too_large_to_be_read_is_not_written(tmp_path):
    with pytest.raises(MetadataError, match="more than 300,000 values; use save_checkpoint"):
        metadata.write(tmp_path, "x", list(range(300_001)))
    with pytest.raises(MetadataError, match="use save_checkpoint"):
        metadata.write(tmp_path, "x", "x" * 40_000_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "/etc/x", "../x", "a/../../x", "a//b", ".", "..", "x.yaml", "a\0b", "/"]
)
def test_invalid_name_is_refused(tmp_path, name):
    for act in (
        lambda: metadata.write(tmp_path, name, 1),
        lambda: metadata.read(tmp_path, name, int),
    ):
        with pytest.raises(UnsafePathError, match=r"^name "):
            act()
    assert list(tmp_path.iterdir()) == []


def test_link_out_of_the_directory_is_refused(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "folder").symlink_to(outside)
    (outside / "x.yaml").write_text("1\n")
    (inside / "x.yaml").symlink_to(outside / "x.yaml")
    for name in ("folder/x", "x"):
        with pytest.raises(UnsafePathError, match="symbolic link leads out"):
            metadata.write(inside, name, 2)
        with pytest.raises(UnsafePathError, match="symbolic link leads out"):
            metadata.read(inside, name, int)
    assert (outside / "x.yaml").read_text() == "1\n"


def test_names_lists_the_files_on_disk(tmp_path):
    assert metadata.names(tmp_path / "none") == []
    for name in ("config", "eval/step_100", "eval/step_20", "a.b"):
        path = metadata.write(tmp_path, name, 1)
        assert path == metadata.path_of(tmp_path, name) == tmp_path / f"{name}.yaml"
    (tmp_path / ".x.yaml").write_text("1")
    (tmp_path / "notes.txt").write_text("1")
    assert metadata.names(tmp_path) == ["a.b", "config", "eval/step_100", "eval/step_20"]


def test_pipe_or_directory_is_not_read(tmp_path):
    import os

    os.mkfifo(tmp_path / "x.yaml")
    (tmp_path / "y.yaml").mkdir()
    for name in ("x", "y"):
        with pytest.raises(MetadataError, match="not a regular file"):
            metadata.read(tmp_path, name, int)


TEXTS = ["no", "on", "off", "yes", "y", "n", "true", "null", "~", "1e-3", "1E5", "1.e5", "0o17", "017", "0x1F", "0b11", "12:30:00", "1:2", "190:20:30", "1.10", ".5", "+1", "1_000", "-", "=", "<<", ".inf", "-.INF", ".nan", "NaN", "2001-01-01", "2001-12-14t21:59:43.10-05:00", "685_230.15", "6.8523015e+5", "0", "-0", "1.", "0.1", "e3", "Yes", "NO", "Null", "inf", "nan", "1e1000", "0x", "0b", "0_", "1__0", "+.inf"]  # fmt: skip


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_strings_stay_strings_in_other_readers(version):
    value = {
        "texts": TEXTS,
        "keys": dict.fromkeys(TEXTS, 1),
        "flow": [TEXTS[:3]],
        "long": ["a\nb: 1\n", " x ", "#", "'", ""],
    }
    text = dump(value).decode()
    assert yaml.safe_load(text) == value
    for kind in ("safe", "rt"):
        reader = ruamel.yaml.YAML(typ=kind, pure=True)
        reader.version = version
        assert reader.load(text) == value


def test_numbers_stay_numbers_in_other_readers():
    value = [
        1,
        -5,
        0.5,
        1e-5,
        1e22,
        1.0,
        -0.0,
        float("inf"),
        10**30,
        True,
        False,
        None,
        datetime.date(2026, 1, 31),
    ]
    text = dump(value).decode()
    for result in (yaml.safe_load(text), ruamel.yaml.YAML(typ="safe", pure=True).load(text)):
        assert [repr(x) for x in result] == [repr(x) for x in value]


def test_directory_is_created(tmp_path: pathlib.Path):
    assert metadata.write(tmp_path / "a" / "b", "c/d", 1).read_text().endswith("\n1\n...\n")


@pytest.mark.parametrize("value", [Inner(object()), [object()]])
def test_plain_object_is_refused_by_name(tmp_path, value):
    with pytest.raises(MetadataError, match=r"plain object\(\) is not written"):
        metadata.write(tmp_path, "c", value)


@pytest.mark.parametrize("dtype", ["S2", "U2"])
def test_arrays_of_short_texts_round_trip(tmp_path, dtype):
    array = np.array(["ab", "c"], dtype)
    metadata.write(tmp_path, "c", {"a": array})
    found = metadata.read(tmp_path, "c", dict)["a"]
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()
