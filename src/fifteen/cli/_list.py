"""`fifteen list`."""

import dataclasses
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from fifteen.experiments._missing import ABSENT, Missing
from fifteen.experiments._status import show_duration

from ._arguments import Chosen, Flag, Names
from ._errors import CommandError, tell
from ._selection import Selection
from ._table import Column, Format, iso_time, print_table, show_bytes
from ._text import printable

if TYPE_CHECKING:
    from fifteen.experiments import Experiments

_MAX_FIELDS = 5
_MAX_SCALARS = 3

_FIRST, _LAST = ("name", "status", "step", "progress"), ("checkpoints", "size")


def _show_part(part: float) -> str:
    return f"{part:.0%}"


# What is least telling is left out first of a terminal that is too narrow.
_COLUMNS = {
    column.name: column
    for column in (
        Column("name", is_number=False),
        Column("status", is_number=False, dispensable=3),
        Column("step"),
        Column("progress", _show_part, dispensable=4),
        Column("checkpoints", dispensable=5),
        Column("elapsed", show_duration),
        Column("size", show_bytes, dispensable=6),
        Column("age", show_duration, dispensable=7),
    )
}

_SMALL_IS_GOOD = re.compile(
    r"loss|err|mse|mae|nll|perplexity|ppl|fid|(^|[^a-z])min([^a-z]|$)", re.I
)
_LARGE_IS_GOOD = re.compile(
    r"acc|reward|return|score|f1|auc|bleu|psnr|ssim|iou|precision|recall|(^|[^a-z])max([^a-z]|$)",
    re.IGNORECASE,
)


def list_experiments(
    selection: Chosen = Selection(),  # noqa: B008  # It is frozen.
    columns: Annotated[Names, arg(metavar="NAME ...")] = (),
    all: Flag = False,
    total: Annotated[float | None, arg(metavar="STEPS", help_behavior_hint="")] = None,
    format: Format = "table",
) -> int:
    """List experiments: status, the fields that differ, values of scalars.

    Args:
        selection: which experiments.
        columns: fields (`config.opt.lr`, `lr`), scalars (`loss`, `loss:min`) and expressions
            (`max(accuracy)`) to show instead of the most telling ones.
        all: show all fields that differ, and all scalars.
        total: how many steps there are to be, if no field such as `steps` tells.
        format: a table for people, or exact values for other programs.
    """
    if "name" in columns:
        raise CommandError("'name' is a column already; write more of the name: config.name")
    found = selection.find()
    for field in found.fields:
        field.total = total
    if not found and format == "table":
        print(f"fifteen: {printable(selection.advice())}", file=sys.stderr)
        return 0
    asked = [name for name in (*columns, selection.sort) if name and name != "name"]
    telling = [] if columns else _most_telling(found, all)
    is_for_people = format in ("table", "md")
    names = [*_FIRST, *asked, *telling, *_LAST, "age" if is_for_people else "changed"]
    values = {name: _values(found, name) for name in names}
    if "progress" not in asked and all_absent(values["progress"]) and is_for_people:
        del values["progress"]
    shown = [_column(name, values[name], name in asked) for name in values]
    print_table(shown, [list(row) for row in zip(*values.values(), strict=True)], format)
    for problem in dict.fromkeys(problem for field in found.fields for problem in field.problems):
        tell("error", problem)
    return int(any(field.problems for field in found.fields))


def _values(found: "Experiments", name: str) -> list[Any]:
    values = [str(f.status) for f in found.fields] if name == "status" else found.values(name)
    if name == "changed":
        return [iso_time(value) if isinstance(value, float) else value for value in values]
    return [", ".join(map(str, v)) for v in values] if name == "tags" else values


def _column(name: str, values: list[Any], is_asked: bool) -> Column:
    is_number = all(isinstance(value, Missing | int | float) for value in values)
    column = _COLUMNS.get(name) or Column(
        name, is_number=is_number, best=_best(name), dispensable=2
    )
    return dataclasses.replace(column, dispensable=0) if is_asked else column


def all_absent(values: list[Any]) -> bool:
    """Tell whether no experiment has a value."""
    return all(value is ABSENT for value in values)


def _most_telling(found: "Experiments", is_all: bool) -> list[str]:
    """Return the fields that differ, and the scalars that most experiments have."""
    fields = found.differing_fields()
    tags = Counter(tag for field in found.fields for tag in field.tail)
    for tag in list(tags):
        # The name `loss` also finds `train/loss`, so one column is enough for both.
        longer = [other for other in tags if other.endswith(f"/{tag}")]
        for other in longer if len(longer) == 1 else [tag] * bool(longer):
            tags[tag] += tags[other]
            del tags[other]
    # What is known to be good or bad comes first, then what most experiments have.
    ordered = sorted(tags, key=lambda tag: (not _best(tag), -tags[tag], tag))
    if is_all:
        return [*fields, *ordered]
    left = len(fields) - _MAX_FIELDS
    if left > 0:
        tell("note", f"{left} more fields differ; --all shows them, and --columns chooses")
    return [*fields[:_MAX_FIELDS], *ordered[:_MAX_SCALARS]]


def _best(name: str) -> Literal["min", "max"] | None:
    """Tell which numbers of a scalar are good, by what it is called."""
    if _SMALL_IS_GOOD.search(name):
        return "min"
    return "max" if _LARGE_IS_GOOD.search(name) else None
