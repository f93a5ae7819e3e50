"""Runs: what distinguishes experiments, and which of them differ only in one field."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from fifteen.experiments import Experiments, ExpressionError
from fifteen.experiments._fields import Fields
from fifteen.experiments._missing import ABSENT, UNREADABLE
from fifteen.experiments._names import ending_in, known_names
from fifteen.experiments._tables import columns_of
from fifteen.experiments._values import to_plain

from ._columns import show_value
from ._curves import Curve, Options, curve_of, mean_of, smoothed
from ._follower import Scalars

_MAX_LABEL_FIELDS = 3

T = TypeVar("T")


def grouping(fields: Sequence[str], over: str) -> list[str]:
    """Return the fields in which the runs of a group are alike: the others of the same metadata.

    Other metadata, such as results, may differ.
    """
    own = over.partition(".")[0]
    return [key for key in fields if key != over and key.partition(".")[0] == own]


def labels(runs: Experiments, keys: Sequence[str]) -> list[str]:
    """Return what distinguishes each run: the fields that differ if they are few, or its name."""
    if 0 < len(keys) <= _MAX_LABEL_FIELDS:
        texts = [_label(run, keys) for run in runs.fields]
        if len(set(texts)) == len(texts):
            return texts
    return [run.name for run in runs.fields]


def groups(runs: Experiments, keys: Sequence[str]) -> list[int]:
    """Return the number of each run's group: those that are alike in some fields."""
    known: dict[tuple[str, ...], int] = {}
    names = {key.partition(".")[0] for key in keys}
    found: list[int] = []
    for run in runs.fields:
        values = run.metadata()
        # What cannot be read may be anything.
        alone = [run.name] if names & run.unreadable else []
        key = (*alone, *(repr(to_plain(values.get(key))) for key in keys))
        found.append(known.setdefault(key, len(known)))
    return found


def members_of(items: Iterable[T], numbers: Iterable[int]) -> dict[int, list[T]]:
    """Return the items of each group by its number."""
    members: dict[int, list[T]] = {}
    for item, number in zip(items, numbers, strict=True):
        members.setdefault(number, []).append(item)
    return members


def grouped(runs: Experiments, over: str | None) -> dict[str, list[int]]:
    """Return the runs of each line to draw by its label: one, or those alike but for a field."""
    differing = runs.differing_fields()
    if over is None:
        return {label: [number] for number, label in enumerate(labels(runs, differing))}
    keys = grouping(differing, field_called(runs, over))
    members = members_of(range(len(runs)), groups(runs, keys))
    firsts = Experiments([runs[numbers[0]] for numbers in members.values()])
    return {
        f"{label} (n={len(numbers)})" if len(numbers) > 1 else label: numbers
        for label, numbers in zip(labels(firsts, keys), members.values(), strict=True)
    }


def diverged_of_means(runs: Experiments, lines: dict[str, list[int]], over: str) -> list[str]:
    """Say of each mean over a field which of its runs have diverged."""
    field = field_called(runs, over)
    return [
        f"{label}: {run.name} ({_label(run, [field])}) diverged at {run.diverged_at}"
        for label, numbers in lines.items()
        for run in (runs.fields[number] for number in numbers)
        if len(numbers) > 1 and run.diverged_at is not None
    ]


def field_called(runs: Experiments, name: str) -> str:
    """Return the field of the metadata that is, or ends in, a name; raise if it is not one."""
    known = columns_of([run.metadata() for run in runs.fields])
    field = ending_in(name, known, ".")
    if field is None:
        names = known_names(list(known), name)
        raise ExpressionError(f"no experiment has a field called {name!r}; {names}")
    return field


def draw_line(scalars: Sequence[Scalars], tag: str, options: Options) -> Curve | None:
    """Return the curve of a run, or the mean of several; None if none has it."""
    drawn = [curve_of(one, tag, options.x) for one in scalars]
    members = [curve for curve in drawn if curve is not None]
    if not members:
        return None
    return smoothed(members[0] if len(members) == 1 else mean_of(members), options.smooth)


def _label(run: Fields, keys: Sequence[str]) -> str:
    values = run.metadata()
    missing = UNREADABLE if run.unreadable else ABSENT
    return ", ".join(
        f"{key.rpartition('.')[2]}={show_value(values.get(key, missing))}" for key in keys
    )
