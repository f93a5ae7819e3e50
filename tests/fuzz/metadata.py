"""Attack: metadata of random types round-trip, or are refused by name when written."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import re
import typing
import uuid

import numpy as np
from exact import exact

from fifteen.experiments import Experiment, MetadataError

WORDS = ["", "~", "no", "1e3", "0x1", "1:30", "2020-01-01", ".nan", "<<", "=", "...", "!x", "- a"]
LETTERS = "ab1-.:#' \"\n\t\\~é\u2028\u0085\ufeff\U0001f9ea\x07\0{}[]&*!|>%@`,?="
NUMBERS = [0.1, -0.0, 1.0, 5e-324, 1e308, float("inf"), float("-inf"), float("nan"), 1e16]
ZONES = [None, datetime.UTC, datetime.timezone(datetime.timedelta(minutes=-90))]
Color = enum.Enum("Color", "RED GREEN")
Level = enum.IntEnum("Level", "LOW HIGH")
Bits = enum.Flag("Bits", "A B C")

Adam = dataclasses.make_dataclass("Adam", [("rate", float)])
Nested = dataclasses.make_dataclass("Nested", [("more", typing.Any)], bases=(Adam,))


def text(rng):
    return rng.choice([rng.choice(WORDS), "".join(rng.choices(LETTERS, k=rng.randrange(9)))])


def moment(rng):
    return datetime.datetime(2020, 2, 29, 1, 2, 3, rng.choice([0, 500000]), rng.choice(ZONES))


def array(rng):
    dtype = rng.choice(["?", "i1", "u8", "f2", "f4", "f8", "c8", ">i4", "U3", "M8[s]"])
    return np.arange(6).astype(dtype).reshape(rng.choice([6, (2, 3)]))[: rng.randrange(4)]


KEYS = [
    (int, lambda rng: rng.choice([0, -1, 2**70])),
    (float, lambda rng: rng.choice(NUMBERS[:-2])),
    (bool, lambda rng: rng.random() < 0.5),
    (str, text),
    (datetime.date, lambda rng: datetime.date(rng.choice([1, 2020, 9999]), 1, 31)),
    (pathlib.Path, lambda rng: pathlib.Path(rng.choice(["a/b", "null", ".", "~", "/", "1", "no"]))),
    (Color, lambda rng: rng.choice(list(Color))),
    (Level, lambda rng: rng.choice(list(Level))),
    (Bits, lambda rng: Bits(rng.randrange(8))),
]
LEAVES = [
    *KEYS,
    (float, lambda rng: rng.choice(NUMBERS)),
    (bytes, lambda rng: rng.randbytes(rng.randrange(40))),
    (complex, lambda rng: complex(rng.choice(NUMBERS[:-1]), rng.random())),
    (type(None), lambda rng: None),
    (datetime.datetime, moment),
    (datetime.time, lambda rng: moment(rng).timetz()),
    (datetime.timedelta, lambda rng: datetime.timedelta(rng.randrange(-9, 9), 1, rng.randrange(2))),
    (decimal.Decimal, lambda rng: decimal.Decimal(rng.choice(["0.10", "-0", "Infinity", "1E+5"]))),
    (fractions.Fraction, lambda rng: fractions.Fraction(rng.randrange(9), 7)),
    (uuid.UUID, lambda rng: uuid.UUID(int=rng.getrandbits(128))),
    (range, lambda rng: range(rng.randrange(3), 9, 2)),
    (typing.Literal["a", 1, True, None], lambda rng: rng.choice(["a", 1, True, None])),
    (typing.Any, lambda rng: rng.choice(LEAVES)[1](rng)),
    (Adam, lambda rng: rng.choice([Adam(rng.random()), Nested(0.1, text(rng))])),
    (np.ndarray, array),
    (np.dtype, lambda rng: array(rng).dtype),
]
BAD = [len, object(), typing, (part for part in "ab"), np.zeros(2**18), np.array([object()])]
BAD += [np.zeros(2, [("a", "f4")]), memoryview(b"a"), re.compile("a").finditer("a")]


def typed(rng, depth=3):
    """Return a random type, and a function that creates values of it."""
    if not depth or rng.random() < 0.4:
        return rng.choice(LEAVES)
    (hint, make), (other, make_other) = typed(rng, depth - 1), typed(rng, depth - 1)
    key, make_key = rng.choice(KEYS)

    def some(kind, make=make):
        return lambda rng: kind([make(rng) for _ in range(rng.choice([0, 1, 2, 5]))])

    def both(rng):
        return make_key(rng), make(rng)

    return rng.choice(
        [
            *((list[hint], some(list)), (list, some(list)), (tuple[hint, ...], some(tuple))),
            *((set[key], some(set, make_key)), (frozenset[key], some(frozenset, make_key))),
            *(
                (dict[key, hint], some(dict, both)),
                (dict, some(dict, both)),
                (tuple[key, hint], both),
            ),
            (hint | None, lambda rng: rng.choice([make(rng), None])),
            (hint | other, lambda rng: rng.choice([make, make_other])(rng)),
            (collections.OrderedDict[key, hint], some(collections.OrderedDict, both)),
            record(rng, depth - 1),
        ]
    )


def record(rng, depth=3):
    """Return a random dataclass, and a function that creates objects of it."""
    fields = [(f"f{number}", *typed(rng, depth)) for number in range(rng.randrange(1, 4))]
    made = dataclasses.make_dataclass(f"Class{rng.getrandbits(40)}", [it[:2] for it in fields])
    return made, lambda rng: made(*(make(rng) for _, _, make in fields))


def attack(rng, directory):
    experiment = Experiment(directory, verbose=False)
    experiment.write_metadata("config", {"kept": 1})
    before = (directory / "config.yaml").read_bytes()
    kind, make = record(rng)
    value, bad = make(rng), ""
    if rng.random() < 0.4:
        bad, wrong = rng.choice(dataclasses.fields(kind)).name, rng.choice(BAD)
        setattr(value, bad, rng.choice([wrong, [wrong], {"key": wrong}, (1, wrong)]))
    try:
        experiment.write_metadata("config", value)
    except MetadataError as error:
        text = str(error)
    else:
        assert not bad, f"written: {value}"
        found = experiment.read_metadata("config", kind)
        assert exact(found, True) == exact(value, True), (found, value)
        return ["equal"]
    assert (directory / "config.yaml").read_bytes() == before
    assert re.search(rf"'config'.*\b({bad or 'f[0-9]'}|and \d+ more)\b", text, re.DOTALL), (
        text,
        bad,
    )
    return ["bad refused" if bad else "refused without a class"]
