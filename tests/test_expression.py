"""The expression language of `where` and `--where`."""

import contextlib
import datetime
import math
import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fifteen.experiments import ExpressionError
from fifteen.experiments._expression import MAX_LENGTH, Expression, statistic_of
from fifteen.experiments._missing import ABSENT, UNREADABLE

VALUES = {
    "config.lr": 0.05,
    "config.layers": [64, 32],
    "config.name": "adam",
    "config.none": None,
    "lambda": 3,
    "is_on": True,
    "train/loss": [3.0, 1.0, 2.0],
    "nan": [math.nan],
    "a": 8,
    "b": 2,
    "odd name!": 7,
    "damaged": UNREADABLE,
    "tags": ["paper", "best"],
    "huge": 10**400,
    "größe": 1,
    "shape": (28, 28),
    "set": {"b", "a"},
    "array": np.arange(3.0),
    "path": pathlib.PurePosixPath("/data/x"),
    "day": datetime.date(2026, 1, 31),
}


def lookup(name, wanted):
    value = VALUES.get(name, ABSENT)
    if name in ("train/loss", "nan") and wanted == "value":
        return value[-1]
    return value if wanted == "value" else statistic_of(value, wanted)


def evaluate(text):
    return Expression(text).evaluate(lookup)


@pytest.mark.parametrize(
    "text",
    [
        "config.lr < 0.1 and min(train/loss) < 1.5",
        "train/loss == 2 and last(train/loss) == 2 and first(train/loss) == 3",
        "max(train/loss) == 3 and mean(train/loss) == 2 and len(train/loss) == 3",
        "0.01 < config.lr <= 0.05",
        "config.name in ('adam', 'sgd') and config.name not in ['lamb']",
        "'paper' in tags and not ('draft' in tags)",
        "config.layers[0] == 64 and config.layers[-1] == 32",
        "max(config.layers) == 64 and len(config.layers) == 2",
        "max(a, b, 9) == 9 and abs(b - a) == 6",
        "lambda == 3",
        "config.none == None and config.none != 0",
        "is_on and not (a < b) or False",
        "`odd name!` == 7 and größe == 1",
        "matches(config.name, 'ad*')",
        "exists(a) and not exists(c)",
        "  a*b == 16 and a ** b == 64 and -a < +b and a % 3 == 2  ",
        "1e-3 < config.lr < 1.5e+3 and a > .5",
        "a\n>\tb",
        "shape == (28, 28) and shape == [28, 28] and 28 in shape and shape[-1] == 28",
        "set == ['a', 'b'] and 'a' in set and array == [0, 1, 2] and array[2] == 2",
        "path == '/data/x' and matches(path, '/data*') and '2026-01-01' < day < '2026-02'",
        " and ".join(["a"] * 300),
        "<".join(map(str, range(400))),
    ],
)
def test_true_expressions(text):
    assert evaluate(text) is True


@pytest.mark.parametrize(
    ("text", "value"),
    [("a / b", 4), ("a/2", 4), ("16/a", 2), ("a/ b", 4), ("a /b", 4), ("train/loss/2", 1)],
)
def test_slash_between_names_belongs_to_the_name(text, value):
    assert evaluate(text) == value


def test_names():
    expression = Expression("min(train/loss) < a and a/b in (1, `odd name!`) or matches(x.y, 'z')")
    assert expression.names == ("train/loss", "a", "a/b", "odd name!", "x.y")


@pytest.mark.parametrize("operation", ["<", "<=", ">", ">=", "==", "!=", "in", "not in"])
@pytest.mark.parametrize("name", ["absent", "damaged", "min(absent)", "absent + 1", "1 / (b - 2)"])
def test_comparison_with_a_missing_value_is_false(name, operation):
    assert evaluate(f"{name} {operation} a") is False
    assert evaluate(f"a {operation} {name}") is False


@pytest.mark.parametrize(
    "text",
    ["config.name < 1", "config.layers < 'x'", "a in b", "nan < 1", "nan > 1", "config.none < 1"],
)
def test_comparison_of_different_types_is_false(text):
    assert evaluate(text) is False


@pytest.mark.parametrize(
    "text",
    [
        *("config.name + 1", "'a' * 1000000000", "1 / 0", "huge / 3.0", "huge ** 2", "1e300 ** 9"),
        *("config.layers[2]", "config.name[0]", "(0 - 8) ** 0.5", "-config.name", "abs(tags)"),
        *("mean(tags)", "max(a, absent)", "huge * 1.5", "5 % 0", "mean(huge, 0.5)", "2 ** huge"),
        *("*".join(["huge"] * 11), "-huge*" + "*".join(["huge"] * 11)),
    ],
)
def test_undefined_result_is_missing(text):
    assert evaluate(text) is ABSENT
    assert Expression(text).is_true(lookup) is False


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("config.lr < < 0.1", 12),
        ("config.lr = 0.1", 10),
        ("a & b", 0),
        ("a is b", 0),
        ("~a", 0),
        ("lr < 1 and a.b.c(1)", 11),
        ("__import__('os').system('true')", 0),
        ("x.__class__.__bases__[0]()", 0),
        ("a if b else c", 2),
        ("lambda: 1", 6),
        ("[x for x in y]", 3),
        ("{1: 2}", 0),
        ("1j", 0),
        ("b'x'", 1),
        ("f'{a}'", 1),
        ("a[b]", 0),
        ("a[1:2]", 0),
        ("min()", 0),
        ("max(a, key=b)", 10),
        ("exists(1)", 0),
        ("matches(a)", 0),
        ("abs(a, b)", 0),
        ("a; b", 1),
        ("a and", 5),
        ("größe < 'é' and (1j)", 17),
    ],
)
def test_error_points_at_the_mistake(text, column):
    with pytest.raises(ExpressionError) as caught:
        Expression(text)
    problem, line, caret = str(caught.value).split("\n")
    assert problem
    assert line == f"  {text}"
    assert caret.index("^") - 2 == column, str(caught.value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("lr = 1", "write == to compare"),
        ("lr > 1 && loss < 1", "write `and`"),
        ("lr > 1 || loss < 1", "write `or`"),
        ("!lr", "write `not`"),
    ],
)
def test_error_says_what_to_write(text, remedy):
    with pytest.raises(ExpressionError, match=f"^{remedy}\n"):
        Expression(text)
    assert Expression("name != 'a && b || !c'").names == ("name",)


def test_caret_accounts_for_wide_letters():
    with pytest.raises(ExpressionError, match=r"\n  日本 < < 1\n         \^$"):
        Expression("日本 < < 1")


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", "'unclosed", "`a", "x\0y", "\udcff < 1", "'\udcff' < 1", "...", "a:b"),
        *("(" * 300 + "1" + ")" * 300, "not " * 400 + "a", "-" * 1500 + "1", "a" * (MAX_LENGTH + 1)),
        *("a\\", "# comment", "import os", "a := 1", "*a", "await a", "yield a"),
    ],
)  # fmt: skip
def test_hostile_texts_are_refused(text):
    with pytest.raises(ExpressionError):
        Expression(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(ExpressionError):
        Expression(text).evaluate(lookup)


_ATOMS = st.sampled_from(
    [*(name for name in VALUES if " " not in name), "1", "-0.5", "'x'", "None"]
)
_EXPRESSIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["<", "==", "in", "and", "or", "+", "/", "**", "%"]), inner)
        .map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"),
        inner.map(lambda text: f"not {text}"),
        st.tuples(st.sampled_from(["min", "len", "abs", "mean"]), inner)
        .map(lambda parts: f"{parts[0]}({parts[1]})"),
    ),
    max_leaves=8,
)  # fmt: skip


@given(_EXPRESSIONS)
def test_evaluation_never_raises(text):
    try:
        expression = Expression(text)
    except ExpressionError:
        return
    assert expression.is_true(lookup) in (True, False)


def test_expressions_run_no_code():
    assert "this" not in sys.modules
    for text in ("__import__('this')", "exec('import this')", "eval('__import__(\"this\")')"):
        with pytest.raises(ExpressionError):
            Expression(text)
    assert "this" not in sys.modules
