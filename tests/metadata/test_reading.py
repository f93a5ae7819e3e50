"""Files that are edited by hand, truncated, of another program version, or wrong."""
# ruff: noqa: UP045  # programs spell types in all these ways, and so do these tests

import dataclasses
import enum
import pathlib
import signal
import warnings
from typing import Any, ClassVar, Literal, Optional

import optax
import pytest

from fifteen.experiments import metadata
from fifteen.experiments._errors import ExperimentWarning, MetadataError, MetadataNotFoundError


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclasses.dataclass
class Layer:
    width: int
    bias: bool = True


@dataclasses.dataclass
class Config:
    lr: float = 1e-3
    country: str = "no"
    version: str = "1.10"
    steps: int = 10
    color: Color = Color.RED
    name: Literal["adam", "sgd"] = "adam"
    layers: list[Layer] = dataclasses.field(default_factory=list)
    betas: tuple[float, float] = (0.9, 0.999)
    path: pathlib.Path | None = None


def read(tmp_path: pathlib.Path, text: str, kind: Any) -> Any:
    (tmp_path / "config.yaml").write_text(text)
    return metadata.read(tmp_path, "config", kind)


def errors(tmp_path: pathlib.Path, text: str, kind: Any) -> str:
    with pytest.raises(MetadataError) as caught:
        read(tmp_path, text, kind)
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("1e-3", float, 0.001), ("1", float, 1.0), (".5", float, 0.5), ("-.inf", float, float("-inf")), ("inf", float, float("inf")),
        ("1_000", int, 1000), ("0x1F", int, 31), ("0o17", int, 15), ("-5", int, -5), ("+5", int, 5),
        ("no", str, "no"), ("1.10", str, "1.10"), ("2026-01-31", str, "2026-01-31"), ("1e-3", str, "1e-3"), ("true", str, "true"), ("12:30", str, "12:30"),
        ("yes", bool, True), ("off", bool, False), ("True", bool, True),
        ("null", Optional[int], None), ("~", Optional[str], None), ("no", Optional[str], "no"), ("1.10", Optional[str], "1.10"), ("'null'", Optional[str], "null"),
        ("3", int | str, 3), ("'3'", int | str, "3"), ("3", float | str, 3.0), ("a", float | str, "a"), ("3", int | float, 3), ("3.0", int | float, 3.0),
        ("[1, 2]", tuple[int, ...], (1, 2)), ("- 1\n- 2", tuple[float, float], (1.0, 2.0)), ("[1, 1.5]", list[float], [1.0, 1.5]), ("[a, no]", set[str], {"a", "no"}),
        ("1: a\n2: 3", dict[int, str], {1: "a", 2: "3"}), ("no: 1\n1.10: 2", dict[str, int], {"no": 1, "1.10": 2}),
        ("runs/a", pathlib.Path, pathlib.Path("runs/a")), ("RED", Color, Color.RED), ("sgd", Literal["adam", "sgd"], "sgd"), ("3", Literal[3, "x"], 3),
        ("lr: 1\ncountry: no\nversion: 1.10\nlayers:\n- width: 3\n- {width: 4, bias: no}\n", Config, Config(1.0, "no", "1.10", layers=[Layer(3), Layer(4, False)])),
        ("a: &x {width: 3}\nb: *x\n", dict[str, Layer], {"a": Layer(3), "b": Layer(3)}), ("width: 3", Layer | None, Layer(3)),
        ("1e-3", Any, "1e-3"), ("no", Any, False), ("1.5", Any, 1.5), ("{}", Any, {}), ("- a\n- 0o17\n- 017\n- 1:30", Any, ["a", "0o17", 15, 90]),
        ("# fifteen.experiments metadata\n1e-3\n...\n", Any, 0.001), ("\ufeff3", int, 3), ("3\r\n", int, 3),
    ],
)  # fmt: skip
def test_declared_type_decides(tmp_path, text, kind, expected):
    result = read(tmp_path, text, kind)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ('"3"', int, "config.yaml:1:1: expected int, got str '3'"),
        ("3.0", int, "config.yaml:1:1: expected int, got float 3.0"),
        ("true", int, "config.yaml:1:1: expected int, got bool true"),
        ("", int, "config.yaml: the file is empty or truncated"),
        ("~", int, "config.yaml:1:1: expected int, got null"),
        ("017", int, "config.yaml:1:1: expected int, got 017, which is octal to some readers of YAML and decimal to others; leave out the leading zero, or write 0o"),
        ("wide", float, "config.yaml:1:1: expected float, got str 'wide'"),
        ("'1.5'", float, "config.yaml:1:1: expected float, got str '1.5'"),
        ("9007199254740993", float, "config.yaml:1:1: expected float, got the integer 9007199254740993, which no float equals"),
        ("null", str, "config.yaml:1:1: expected str, got null; quote it if the text is meant"),
        ("[1]", str, "config.yaml:1:1: expected str, got a sequence of 1 value"),
        ("1", bool, "config.yaml:1:1: expected bool, got int 1; write true or false"),
        ("RDE", Color, "config.yaml:1:1: expected Color, one of RED, GREEN, got str 'RDE'; did you mean 'RED'?"),
        ("red", Color, "config.yaml:1:1: expected Color, one of RED, GREEN, got str 'red'; that is the value of 'RED', write its name"),
        ("adm", Literal["adam", "sgd"], "config.yaml:1:1: expected one of 'adam', 'sgd', got str 'adm'; did you mean 'adam'?"),
        ("[1, 2, 3]", tuple[int, int], "config.yaml:1:1: expected tuple[int, int], 2 values, got a sequence of 3 values"),
        ("[1, 2]", tuple[int], "config.yaml:1:1: expected tuple[int], 1 value, got a sequence of 2 values"),
        ("a: 1", list[int], "config.yaml:1:1: expected list[int], got a mapping with 1 key"),
        ("[a, a]", set[str], "config.yaml:1:1: a value appears twice in the set"),
        ("a: 1\na: 2", dict[str, int], "config.yaml:2:1: the key 'a' appears twice, first in line 1"),
        ("<<: {a: 1}", dict[str, Any], "config.yaml:1:1: merge keys (<<) are not read; write the keys out, or quote '<<' if it is a name"),
        ("lr: 1\nlr: 2", Config, "config.yaml:2:1: the field 'lr' appears twice"),
        ("layers:\n- width: 1\n- width: wide", Config, "config.yaml:3:10: layers[1].width: expected int, got str 'wide'"),
        ("layers:\n- {}", Config, "config.yaml:2:3: layers[0]: Layer needs 'width', which has no default and is missing"),
        ("a b: {x: [1, y]}", dict[str, dict[str, list[int]]], "config.yaml:1:14: ['a b'].x[1]: expected int, got str 'y'"),
        ("!!python/object/apply:os.system [ls]", Any, "config.yaml:1:1: the tag !!python/object/apply:os.system asks for code, which is never run"),
        ("!tupel [1]", Any, "config.yaml:1:1: unknown tag !tupel; did you mean '!tuple'?"),
        ("!dataclass:Layer {width: 1}", Any, "config.yaml:1:1: the class 'Layer' is not declared here; read the file with a type that names it"),
        ("a: [1", Any, "config.yaml:2:1: not valid YAML: did not find expected ',' or ']'"),
        ("1\n---\n2", int, "config.yaml:2:1: not valid YAML: but found another document"),
        ("[1, !tuple [2]]", list[int], ""),
        ("x", object | None, ""),
    ],
)  # fmt: skip
def test_error_says_where_and_what(tmp_path, text, kind, message):
    if not message:
        read(tmp_path, text, kind)
    else:
        assert errors(tmp_path, text, kind) == message


def test_all_errors_are_reported_at_once(tmp_path):
    text = "lr: fast\nsteps: '3'\ncolor: BLUE\nbetas: [1]\n"
    assert errors(tmp_path, text, Config).splitlines() == [
        "config.yaml:1:5: lr: expected float, got str 'fast'",
        "config.yaml:2:8: steps: expected int, got str '3'",
        "config.yaml:3:8: color: expected Color, one of RED, GREEN, got str 'BLUE'",
        "config.yaml:4:8: betas: expected tuple[float, float], 2 values, got a sequence of 1 value",
    ]


def test_ten_errors_are_listed_and_the_rest_counted(tmp_path):
    lines = errors(tmp_path, "- x\n" * 500, list[int]).splitlines()
    assert len(lines) == 11
    assert lines[9] == "config.yaml:10:3: [9]: expected int, got str 'x'"
    assert lines[10] == "and 490 more, 500 problems in all"


def test_union_error_explains_each_alternative(tmp_path):
    @dataclasses.dataclass
    class Other:
        height: int

    message = errors(tmp_path, "width: x", Layer | Other)
    assert (
        message.splitlines()[0] == "config.yaml:1:1: expected Layer | Other, and it is none of them"
    )
    assert "config.yaml:1:8: width: as Layer: expected int, got str 'x'" in message.splitlines()
    assert "config.yaml:1:1: as Other: Other has no field 'width'" in message


def test_value_that_fits_two_classes_is_refused(tmp_path):
    @dataclasses.dataclass
    class Other:
        width: int

    assert errors(tmp_path, "width: 3", Layer | Other) == (
        "config.yaml:1:1: fits Layer and Other equally well; say which with a tag, such as !dataclass:Layer"
    )
    assert read(tmp_path, "!dataclass:Other {width: 3}", Layer | Other) == Other(3)


def test_truncated_file_is_refused(tmp_path):
    value = Config(layers=[Layer(3)], path=pathlib.Path("a"))
    for written, kind in (
        (value, Config),
        (3, int),
        ("a\nb\n", str),
        ([1, (2, "...")], Any),
        ("x\n...\ny\n", str),
    ):
        data = metadata.write(tmp_path, "x", written).read_bytes()
        assert metadata.read(tmp_path, "x", kind) == written
        for length in range(len(data)):
            (tmp_path / "x.yaml").write_bytes(data[:length])
            with pytest.raises(
                MetadataError, match=r"truncated|does not end with|not UTF-8|not valid YAML"
            ):
                metadata.read(tmp_path, "x", kind)


def test_missing_field_takes_its_default(tmp_path):
    assert read(tmp_path, "lr: 0.5\n", Config) == Config(0.5)


def test_unknown_key_is_a_warning(tmp_path):
    text = "width: 3\nbias: true\ncolour: red\n"
    with pytest.warns(
        ExperimentWarning, match="config.yaml:3:1: Layer has no field 'colour', which is ignored"
    ):
        assert read(tmp_path, text, Layer) == Layer(3)


def test_unknown_key_with_a_missing_field_is_an_error(tmp_path):
    assert errors(tmp_path, "width: 3\nbais: false\n", Layer) == (
        "config.yaml:2:1: Layer has no field 'bais', and 'bias' is missing; did you mean 'bias'? "
        '(if it was renamed, declare field(metadata={"aliases": (...)}); if it is gone, delete the line)'
    )


def test_renamed_field_is_found_by_its_alias(tmp_path):
    @dataclasses.dataclass
    class Renamed:
        learning_rate: float = dataclasses.field(default=1.0, metadata={"aliases": ("lr", "rate")})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path, "lr: 0.5\n", Renamed) == Renamed(0.5)
        assert read(tmp_path, "rate: 0.5\n", Renamed) == Renamed(0.5)
        assert read(tmp_path, "learning_rate: 0.5\n", Renamed) == Renamed(0.5)
    assert "the field 'learning_rate' appears twice" in errors(
        tmp_path, "lr: 1\nrate: 2\n", Renamed
    )
    metadata.write(tmp_path, "config", Renamed(0.25))
    assert (tmp_path / "config.yaml").read_text().splitlines()[1] == "learning_rate: 0.25"


def test_error_of_a_class_is_reported_with_its_location(tmp_path):
    @dataclasses.dataclass
    class Positive:
        value: int

        def __post_init__(self):
            if self.value < 0:
                raise ValueError("must be positive")

    assert errors(tmp_path, "a:\n  value: -1\n", dict[str, Positive]) == (
        "config.yaml:2:3: a: Positive does not take these values: ValueError: must be positive"
    )


def test_missing_file_error_lists_existing_files(tmp_path):
    with pytest.raises(MetadataNotFoundError, match="no metadata 'config'; known: none"):
        metadata.read(tmp_path / "nowhere", "config", int)
    metadata.write(tmp_path, "eval/step_100", 3)
    with pytest.raises(FileNotFoundError, match="no metadata 'config'; known: eval/step_100"):
        metadata.read(tmp_path, "config", int)


def test_what_is_not_a_type_is_refused(tmp_path):
    assert errors(tmp_path, "3", "int") == ("'int' is the name of a type; pass the type itself")
    for kind, name in ((Config(), "Config"), ((int, Config()), "Config"), ([int], "list")):
        message = errors(tmp_path, "3", kind)
        assert message.endswith(f" is an object, not a type; pass a type, such as {name}")


AUTO = float | Literal["auto"]


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("1e-3", float | None, 1e-3),
        ("1e-3", int | float, 1e-3),
        ("[1e-3, null]", list[float | None], [1e-3, None]),
        ("1e-3", optax.ScalarOrSchedule, 1e-3),
        ("1e-3", float | str, 1e-3),
        ("'1e-3'", float | str, "1e-3"),
        ("0o17", int | None, 15),
        ("inf", float | None, float("inf")),
        ("1e-3", AUTO, 1e-3),
        ("inf", AUTO, float("inf")),
        ("auto", AUTO, "auto"),
        ("inf", float | str, "inf"),
    ],
)
@pytest.mark.parametrize("header", ["", "# fifteen.experiments metadata\n"])
def test_number_in_a_union_is_read_as_if_alone(tmp_path, text, kind, expected, header):
    result = read(tmp_path, f"{header}{text}\n...\n", kind)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize("writer", ["dcargs", "tyro"])
def test_str_that_pyyaml_left_unquoted_stays_a_str(tmp_path, writer):
    assert read(tmp_path, f"# {writer} YAML.\n1e-3\n", float | str) == "1e-3"
    assert read(tmp_path, f"# {writer} YAML.\n1e-3\n", float | None) == 1e-3


def test_union_error_names_the_union(tmp_path):
    assert errors(tmp_path, "aut", AUTO) == (
        "config.yaml:1:1: expected float | Literal['auto'], got str 'aut'; did you mean 'auto'?"
    )


@pytest.mark.parametrize("text", ["null", "~", ""])
def test_null_is_refused_as_path_or_date(tmp_path, text):
    for kind in (pathlib.Path, pathlib.PurePath, pathlib.PureWindowsPath, complex):
        message = errors(tmp_path, f"a: {text}", dict[str, kind])
        assert "got null" in message
    assert read(tmp_path, f"a: {text}", dict[str, pathlib.Path | None]) == {"a": None}


class Stop(Exception):
    pass


@dataclasses.dataclass
class Interrupted:
    value: int
    signals: ClassVar[int] = 0

    def __post_init__(self):
        if Interrupted.signals:
            Interrupted.signals -= 1
            signal.raise_signal(signal.SIGUSR1)


def test_signal_handler_exception_in_a_constructor_propagates(tmp_path):
    def stop(number, frame):
        raise Stop

    metadata.write(tmp_path, "config", Interrupted(1))
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        Interrupted.signals = 1
        with pytest.raises(Stop):
            metadata.read(tmp_path, "config", Interrupted)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("kind", [int, float, float | None])
def test_possibly_octal_number_is_refused(tmp_path, kind):
    (tmp_path / "x.yaml").write_text("010\n")
    with pytest.raises(MetadataError, match="leave out the leading zero"):
        metadata.read(tmp_path, "x", kind)
