"""The report: the page as one file that needs no server and no network."""

import itertools
import json
from collections.abc import Sequence

from fifteen._progress import track
from fifteen.experiments import Experiments
from fifteen.experiments._loading import listed, load_remote
from fifteen.experiments._names import matching

from ._board import table_of
from ._curves import Options
from ._encoding import SMOOTHING, Answer, Sampling, details_of, encode_curves
from ._follower import Scalars, read_scalars, reader_of
from ._page import document, packed
from ._runs import field_called, members_of

_MAX_POINTS = 1000
_MIN_POINTS = 40
_CURVE_POINTS = 400_000
"""How many points of curves a report holds; each curve gets its share."""
_DETAILS_BYTES = 4_000_000
_OVER = ("seed",)
"""The fields over which a report can draw means: they are calculated when it is written."""


def report(
    experiments: Experiments,
    title: str,
    options: Options | None = None,
    patterns: Sequence[str] = (),
) -> str:
    """Return a page that shows experiments as they are now, with all that it needs.

    With options it opens with the curves of all of them, for the tags that match the patterns.
    """
    runs = experiments.fields
    readers = [reader_of(run) for run in runs]
    with listed(runs):
        load_remote(runs)
        scalars = list(track(map(read_scalars, runs, readers), "Reading", len(runs)))
        table = table_of(experiments, title)
    for run, reader in zip(runs, readers, strict=True):
        if reader.problems:
            table["problems"][run.name] = [*run.problems, *reader.problems.values()]
    table["version"] = 1
    count = sum(map(len, scalars))
    points = max(_MIN_POINTS, min(_MAX_POINTS, _CURVE_POINTS // max(1, count)))
    over = field_called(experiments, options.over) if options and options.over else ""
    table["groups"] = {
        field: numbers
        for field, numbers in table["groups"].items()
        if field.rpartition(".")[2] in _OVER or field == over
    }
    sampling = Sampling(points, "step" if options is None else options.x)
    if sampling.x not in ("step", "time"):
        table["x"] = [sampling.x]  # All curves are calculated for this axis.
    if options is not None:
        table["state"] = _state(table, options, patterns) | {"over": over}
    answers = {
        "table": table,
        "curves": {
            run.name: encode_curves([one], list(one), sampling)
            for run, one in track(zip(runs, scalars, strict=True), "Drawing", len(runs))
        },
        "means": {
            field: _means(scalars, numbers, sampling) for field, numbers in table["groups"].items()
        },
        "details": {},
    }
    left = _DETAILS_BYTES
    with listed(runs):
        for run, reader in zip(runs, readers, strict=True):
            details = details_of(run, reader)
            left -= len(json.dumps(details))
            if left < 0:
                break
            answers["details"][run.name] = details
    return document(title, packed(answers))


def _state(table: Answer, options: Options, patterns: Sequence[str]) -> Answer:
    """Return what the page shows when it is opened, in the terms of its address."""
    level = min(range(len(SMOOTHING)), key=lambda index: abs(SMOOTHING[index] - options.smooth))
    tags = matching(patterns, table["tags"], "scalar") if patterns else ()
    if options.x not in ("step", "time"):
        matching([options.x], table["tags"], "scalar")
    return {
        "run": table["order"],
        "tag": [tag for tag in tags if tag != options.x] or table["informative"],
        "x": options.x,
        "smooth": level,
        "logx": "1" if options.log_x else "",
        "logy": "1" if options.log_y else "",
    }


def _means(scalars: list[Scalars], numbers: Sequence[int], sampling: Sampling) -> Answer:
    """Return the curves of each group of several runs by its number."""
    return {
        str(number): encode_curves(group, sorted({*itertools.chain(*group)}), sampling)
        for number, group in members_of(scalars, numbers).items()
        if len(group) > 1
    }
