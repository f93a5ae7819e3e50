"""Run: an experiment as it is shown: its name, its config, its curves, and what tells it apart."""

import contextlib
import functools
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fifteen.experiments import Experiment, FifteenError, ScalarSeries, flatten

from ._curves import Curve, curve_of, mean_of
from ._options import Options

_NOT_COMPARED = {"provenance", "notes"}
_MAX_LABEL_FIELDS = 3


class Run:
    """Read an experiment's metadata and curves when they are first asked for."""

    def __init__(self, experiment: Experiment, name: str) -> None:
        self.experiment = experiment
        self.name = name

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The values of the metadata by dotted names, but for provenance and notes."""
        found: dict[str, Any] = {}
        for name in self.experiment.metadata_names():
            if name not in _NOT_COMPARED:
                # One that cannot be read must not hide all the others.
                with contextlib.suppress(FifteenError, OSError):
                    values = flatten(self.experiment.data_dir / f"{name}.yaml")
                    found |= {f"{name}.{key}" if key else name: v for key, v in values.items()}
        return found

    @functools.cached_property
    def scalars(self) -> dict[str, ScalarSeries]:
        """The curves by their tags."""
        return self.experiment.read_scalars()


def runs_of(experiments: Iterable[Experiment]) -> list[Run]:
    """Return runs named by their paths below the directory that holds them all."""
    paths = {experiment.data_dir: experiment for experiment in experiments}
    top = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return [Run(paths[path], os.path.relpath(path, top)) for path in paths]


def differing(runs: Sequence[Run]) -> list[str]:
    """Return the names of the fields that are not the same in all runs."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    return [key for key in keys if len({_key_of(run.config.get(key)) for run in runs}) > 1]


def labels(runs: Sequence[Run], ignored: str | None = None) -> list[str]:
    """Return what tells each run apart: the few fields that differ, or else its name."""
    keys = [key for key in differing(runs) if not is_field(key, ignored)]
    texts = [_label(run, keys) for run in runs]
    if 0 < len(keys) <= _MAX_LABEL_FIELDS and len(set(texts)) == len(runs):
        return texts
    return [run.name for run in runs]


def groups(runs: Sequence[Run], field: str) -> list[list[Run]]:
    """Return the runs that are alike but for a field."""
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        rest = {key: _key_of(v) for key, v in run.config.items() if not is_field(key, field)}
        found.setdefault(tuple(sorted(rest.items())), []).append(run)
    return list(found.values())


def group_labels(found: Sequence[Sequence[Run]], field: str) -> list[str]:
    """Return what tells groups of runs apart, and how many runs there are in each."""
    texts = labels([group[0] for group in found], ignored=field)
    return [
        f"{text} (n={len(group)})" if len(group) > 1 else text
        for text, group in zip(texts, found, strict=True)
    ]


def is_field(key: str, field: str | None) -> bool:
    """Tell whether a dotted name is, or ends in, a field's name."""
    return field is not None and (key == field or key.endswith(f".{field}"))


def curves(runs: Sequence[Run], tag: str, options: Options) -> dict[str, Curve]:
    """Return the curves of a tag by the labels of the runs, or of the groups of runs."""
    if options.over is None:
        parts, texts = [[run] for run in runs], labels(runs)
    else:
        parts = groups(runs, options.over)
        texts = group_labels(parts, options.over)
    found: dict[str, Curve] = {}
    for text, part in zip(texts, parts, strict=True):
        members = [
            c for run in part if (c := curve_of(run.scalars, tag, options.x, options.smooth))
        ]
        if members:
            found[text] = members[0] if len(members) == 1 else mean_of(members)
    return found


def _label(run: Run, keys: Sequence[str]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={_short(run.config.get(key))}" for key in keys)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _key_of(value: Any) -> str:
    # `repr` of an array leaves out the middle.
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)
