"""Columns: what tables of experiments show, and how values are written for people."""

import dataclasses
import datetime
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from fifteen._text import printable
from fifteen.experiments._missing import ABSENT, Missing
from fifteen.experiments._status import show_duration
from fifteen.experiments._values import to_plain

if TYPE_CHECKING:
    from fifteen.experiments import Experiments
    from fifteen.experiments._fields import Fields

_MAX_FIELDS = 5
MAX_SCALARS = 3
"""How many scalars are shown if none is asked for."""

# What is short counts only at the end of a word: `fid` is no part of `confidence`.
_SMALL_IS_GOOD = re.compile(
    r"loss|error|perplexity|(err|mse|mae|nll|ppl|fid|(?<![a-z])min)(?![a-z])", re.IGNORECASE
)
_LARGE_IS_GOOD = re.compile(
    r"accuracy|reward|return|score|precision|recall"
    r"|(acc|f1|auc|auroc|bleu|psnr|ssim|iou|(?<![a-z])max)(?![a-z])",
    re.IGNORECASE,
)
_STATISTIC = re.compile(r"\w+\((.*)\)|(.*):\w+")

LEAST_INFORMATIVE = 4
"""A column that is this dispensable, or more, is shown only if all less dispensable ones are."""

_BLOCKS = "▁▂▃▄▅▆▇█"

_MAX_ITEMS = 16
"""How many items of a list or an array are shown."""
_MAX_TEXT = 200


def show_value(value: Any) -> str:
    """Write a value for people: in one line, numbers to six digits and long lists shortened."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is ABSENT:
        return "-"
    value = to_plain(value)
    if isinstance(value, list | tuple) and len(value) > _MAX_ITEMS:
        first = ", ".join(str(item) for item in value[:3])
        return printable(f"[{first}, … {len(value):,} values]")
    return printable(str(value))


def show_briefly(value: Any) -> str:
    """Write a value as `show_value` does, but no long text."""
    text = show_value(value)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}… {len(text):,} characters"


def show_bytes(value: Any) -> str:
    size = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def iso_time(seconds: float) -> str:
    """Return a moment, in seconds since the epoch, in ISO 8601 with the zone."""
    try:
        moment = datetime.datetime.fromtimestamp(seconds).astimezone()
    except (OverflowError, ValueError, OSError):  # A damaged file may hold any number.
        return str(seconds)
    return moment.isoformat(timespec="seconds")


def show_pace(fields: "Fields") -> list[str]:
    """Write how far and how fast an experiment has gone, as far as that is known."""
    parts: list[tuple[float | None, Callable[[float], str]]] = [
        (fields.progress, "{:.0%} of the steps".format),
        (fields.elapsed, lambda seconds: f"{show_duration(seconds)} of logging"),
        (fields.speed, lambda speed: _show_speed(speed, " steps/s")),
    ]
    return [show(value) for value, show in parts if value is not None]


def _show_speed(steps_per_second: float, unit: str = "/s") -> str:
    """Write a number of steps per second, without an exponent if there are many."""
    return f"{steps_per_second:.{'0f' if steps_per_second >= 1000 else '3g'}}{unit}"


def sparkline(values: npt.NDArray[np.float64]) -> str:
    """Draw numbers as eight blocks, each the mean of a part; what is not finite is a gap."""
    # Sums and differences of numbers up to 1 are finite.
    values = values / (np.abs(values[np.isfinite(values)]).max(initial=0) or 1)
    parts = np.array_split(values, min(len(_BLOCKS), len(values)) or 1)
    finite = [part[np.isfinite(part)] for part in parts]
    means = [float(part.mean()) if len(part) else None for part in finite]
    known = [mean for mean in means if mean is not None]
    low, high = min(known, default=0), max(known, default=0)
    # Means of equal numbers differ by how they are rounded.
    scale = (len(_BLOCKS) - 1) / (high - low) if high - low > 1e-9 else 0
    drawn = [" " if mean is None else _BLOCKS[round((mean - low) * scale)] for mean in means]
    return "".join(drawn).rjust(len(_BLOCKS))


@dataclasses.dataclass(frozen=True)
class Column:
    """Describe a column: its name is its heading, and its key in JSON."""

    name: str
    show: Callable[[Any], str] = show_value
    is_number: bool = True  # Aligned to the right.
    best: Literal["min", "max"] | None = None  # Which of its numbers is marked with `*`.
    dispensable: float = 0  # The largest is left out first of a terminal that is too narrow.


_COLUMNS = {
    column.name: column
    for column in (
        Column("name", is_number=False),
        Column("status", is_number=False, dispensable=1),
        Column("step"),
        Column("progress", "{:.0%}".format, dispensable=LEAST_INFORMATIVE),
        Column("checkpoints", dispensable=5),
        Column("elapsed", show_duration),
        Column("speed", _show_speed),
        Column("size", show_bytes, dispensable=6),
        Column("age", show_duration, dispensable=7),
    )
}

_FIRST, _LAST = ("name", "status", "step", "progress"), ("checkpoints", "size")


def tabulate(
    found: "Experiments",
    names: Iterable[str],
    ranks: Mapping[str, float],
    optional: Collection[str],
) -> tuple[list[Column], list[list[Any]]]:
    """Return a column for each name, and a row of values for each experiment.

    `ranks` says how dispensable columns are, if not as usual, and `optional` which ones are left
    out if nothing is in them.
    """
    columns: list[Column] = []
    values: list[list[Any]] = []
    for name in dict.fromkeys(names):
        own = values_of(found, name)
        if name not in optional or any(value is not ABSENT for value in own):
            columns.append(_column_of(name, own, ranks))
            values.append(own)
    return columns, list(map(list, zip(*values, strict=True)))


def overview(
    found: "Experiments",
    asked: Sequence[str],
    informative: Mapping[str, float],
    is_for_people: bool = True,
) -> tuple[list[Column], list[list[Any]]]:
    """Return the table of experiments with what somebody has asked for, and what is informative.

    People see no progress where there is none, and ages instead of times.
    """
    names = [*_FIRST, *asked, *informative, *_LAST, "age" if is_for_people else "changed"]
    optional = {"progress"} - set(asked) if is_for_people else ()
    return tabulate(found, names, {**informative, **dict.fromkeys(asked, 0)}, optional)


def best_of(name: str) -> Literal["min", "max"] | None:
    """Return which numbers of a scalar are good, by what it is called.

    The smallest accuracy is still an accuracy.
    """
    statistic = _STATISTIC.fullmatch(name)
    for text in filter(None, (statistic and (statistic[1] or statistic[2]), name)):
        if _SMALL_IS_GOOD.search(text):
            return "min"
        if _LARGE_IS_GOOD.search(text):
            return "max"
    return None


def informative_scalars(found: "Experiments") -> list[str]:
    """Return the tags of all scalars, the most informative ones first."""
    tags = Counter(tag for field in found.fields for tag in field.last)
    for tag in list(tags):
        # The name `loss` also finds `train/loss`, so one column is enough for both.
        longer = [other for other in tags if other.endswith(f"/{tag}")]
        if len(longer) == 1:
            tags[tag] += tags.pop(longer[0])
        elif longer:  # It would be ambiguous.
            del tags[tag]
    return by_information(tags)


def by_information(tags: Mapping[str, int]) -> list[str]:
    """Sort tags of scalars, of which it is known how many experiments have each.

    What is known to be good or bad comes first, then what most experiments have.
    """
    return sorted(tags, key=lambda tag: (not best_of(tag), -tags[tag], tag))


def most_informative(found: "Experiments") -> tuple[dict[str, float], int]:
    """Return the most informative fields and scalars, and how many differing fields are left out.

    Each is as dispensable as the number beside it says: the first ones of either kind the least.
    """
    fields, tags = found.differing_fields(), informative_scalars(found)
    kinds = fields[:_MAX_FIELDS], tags[:MAX_SCALARS]
    ranks = {name: 2 + rank / 10 for names in kinds for rank, name in enumerate(names)}
    return ranks, max(0, len(fields) - _MAX_FIELDS)


def values_of(found: "Experiments", name: str) -> list[Any]:
    """Return a value of each experiment, as a table has it."""
    values = found.values(name)
    change: Callable[[Fields, Any], Any] | None = {
        "status": lambda field, _: str(field.status),
        "changed": lambda _, seconds: iso_time(seconds),
        "tags": lambda _, tags: ", ".join(map(str, tags)),
    }.get(name)
    if change is None:
        return values
    return [
        value if isinstance(value, Missing) else change(field, value)
        for field, value in zip(found.fields, values, strict=True)
    ]


def _column_of(name: str, values: list[Any], ranks: Mapping[str, float]) -> Column:
    is_number = all(issubclass(kind, Missing | int | float) for kind in set(map(type, values)))
    column = _COLUMNS.get(name) or Column(name, show_briefly, is_number, best=best_of(name))
    return dataclasses.replace(column, dispensable=ranks.get(name, column.dispensable))


def show_rows(columns: list[Column], rows: list[list[Any]]) -> list[list[str]]:
    """Write a table for people; the best of a column is marked."""
    shown: list[list[str]] = []
    for column, values in zip(columns, zip(*rows, strict=True), strict=bool(rows)):
        texts = [show_value(v) if isinstance(v, Missing) else column.show(v) for v in values]
        numbers = [v for v in values if isinstance(v, int | float)] if column.best else []
        # An int may be too large for `math.isfinite`.
        numbers = [number for number in numbers if -math.inf < number < math.inf]
        if len(set(numbers)) > 1:
            best = min(numbers) if column.best == "min" else max(numbers)
            marks = ("*" if value == best else " " for value in values)
            texts = list(map(operator.add, texts, marks))
        shown.append(texts)
    return list(map(list, zip(*shown, strict=True)))
