"""Attack: `fifteen compare` and `diff` find the only difference of two experiments, or none."""

import contextlib
import datetime
import decimal
import fractions
import io
import json
import pathlib

import numpy as np
from exact import exact
from metadata import record

from fifteen.cli import main
from fifteen.experiments import Experiment, MetadataError, TensorboardLogData, diff

ALIKE = [
    *(1, "1", True, b"1", pathlib.Path("1"), decimal.Decimal(1), decimal.Decimal("1.0"), [1], (1,)),
    *({1}, frozenset({1}), {1: 1}, {"1": 1}, range(1, 2), np.array([1]), np.array([1.0]), 1 + 0j),
    *(
        None,
        "None",
        "null",
        "",
        datetime.date(2020, 1, 1),
        "2020-01-01",
        [],
        (),
        {},
        np.dtype("f4"),
    ),
    *(np.array([1], "i4"), np.array([[1]]), fractions.Fraction(1), "!tuple [1]", ["1"], "(1,)"),
    *(
        "nan",
        float("nan"),
        float("inf"),
        "inf",
        10**400,
        0.9999999991,
        0.9999999992,
        "x",
        "x" * 999,
    ),
]
"""Different values that read alike."""

FILES = [
    ("a: !!set {a, b}", "a: !!set {b, a}", True),
    ("a: 0.001", "a: 1.0e-3", True),
    ("a: [1, x]", 'a:\n- 1\n- "x"', True),
    ("a: !!python/name:jax.nn.relu ''", "a: !!python/name:jax.nn.gelu ''", False),
    ("a: !!python/module:jax.nn ''", "a: !!python/module:jax.numpy ''", False),
    ("a: !!python/object:cfg.Adam {}", "a: !!python/object:cfg.Sgd {}", False),
    ("a: {b: 1}", "a: {b: 1, c: null}", False),
]


def pair(rng):
    """Return two values; of large ones, the last bit or letter differs."""
    table = np.linspace(1, 2, rng.choice([3, 1001, 4000]), dtype=rng.choice(["f8", "f4"]))
    other, text = table.copy(), "x" * rng.choice([1, 300, 5000])
    other[-1 - rng.randrange(3)] *= 1 + np.finfo(table.dtype).eps
    tags, (_, make) = {f"tag{number}" for number in range(20)}, record(rng)
    return rng.choice(
        [
            *((table, other), (table.tolist(), other.tolist()), (make(rng), make(rng))),
            *((text, text + "y"), (tags, tags - {"tag0"} | {"other"}), *[rng.sample(ALIKE, 2)] * 2),
        ]
    )


def compare(root, *options):
    """Return the output of `fifteen compare a b`."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert main(["compare", str(root / "a"), str(root / "b"), *options]) == 0
    return output.getvalue()


def attack(rng, root):
    one, two = experiments = [Experiment(root / name, verbose=False) for name in "ab"]
    kind = rng.choice(["values", "values", "files", "scalars"])
    values = pair(rng) if rng.random() < 0.7 else pair(rng)[:1] * 2
    differs = exact(values[0], True) != exact(values[1], True)
    if kind == "files":
        *values, is_equal = rng.choice(FILES)
        differs = not is_equal
        for experiment, content in zip(experiments, values, strict=True):
            experiment.data_dir.mkdir()
            (experiment.data_dir / "config.yaml").write_text(content + "\n")
    elif kind == "scalars":
        first = np.float32(rng.random())
        values = first, (np.nextafter(first, np.float32(9)) if differs else first)
        for experiment, value in zip(experiments, values, strict=True):
            experiment.log(TensorboardLogData({"loss": value}), 1)
            experiment.close()
    else:
        place = rng.choice([lambda it: {"a": {"b": it}}, lambda it: [0, [it]], lambda it: it])
        try:
            one.write_metadata("config", place(values[0]))
            two.write_metadata("config", place(values[1]))
        except MetadataError:
            return ["refused"]
    rows = json.loads(compare(root, "--format", "json"))
    is_told = any(row["kind"] == "metadata" or row["a"] != row["b"] for row in rows)
    assert is_told == differs, (differs, values, rows)
    if kind != "scalars":
        assert ("No difference" not in compare(root)) == differs, (differs, values)
        found = diff(one.data_dir / "config.yaml", two.data_dir / "config.yaml")
        assert bool(found) == differs, (differs, values, found)
    return [f"{kind} that differ" if differs else f"{kind} that are equal"]
