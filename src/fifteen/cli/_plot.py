"""`fifteen plot`."""

import glob
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ._arguments import Flag
from ._errors import CommandError, tell
from ._selection import matching
from ._text import printable

if TYPE_CHECKING:
    from fifteen.experiments import Experiment
    from fifteen.view._curves import Curve
    from fifteen.view._options import Options

Given = Annotated[
    Positional[tuple[str, ...]], arg(metavar="DIR|ROOT|GLOB|TAG ...", help_behavior_hint="")
]

_MAX_PLOTS = 4
_HEIGHT = 20
_FIGURES = (".pdf", ".svg", ".png")


def plot(
    what: Given,
    smooth: float = 0,
    log_x: Flag = False,
    log_y: Flag = False,
    x: Annotated[str, arg(metavar="step|time|TAG")] = "step",
    over: Annotated[str | None, arg(metavar="FIELD", help_behavior_hint="")] = None,
    output: Annotated[pathlib.Path | None, arg(metavar="FILE", help_behavior_hint="")] = None,
) -> None:
    """Draw the curves of experiments in the terminal, or to a file.

    Args:
        what: experiments, directories of them or globs; then tags of scalars, in which `*` stands
            for anything.
        smooth: the weight of an exponential moving average, at least 0 and below 1.
        log_x: make the x axis logarithmic.
        log_y: make the y axis logarithmic.
        x: what the x axis is: steps, seconds since the start, or another scalar.
        over: draw the mean and the standard deviation over this field, such as `seed`.
        output: a .pdf, .svg or .png to write instead.
    """
    from fifteen.view._options import Options

    if not 0 <= smooth < 1:
        raise CommandError(f"--smooth: expected at least 0 and below 1, found {smooth:g}")
    if output is not None and output.suffix.lower() not in _FIGURES:
        raise CommandError(f"--output: expected {', '.join(_FIGURES)}, found {output.name!r}")
    options = Options(x, smooth, over, log_x, log_y)
    panels = _panels(what, options)
    if output is None:
        _print(panels, options)
    else:
        from fifteen.view._figure import save

        save(panels, options, output)
        print(printable(f"Wrote {output}"))


def _panels(what: Sequence[str], options: "Options") -> "dict[str, dict[str, Curve]]":
    """Return the curves of each tag by the labels of the runs."""
    from fifteen.experiments._experiments import enumerate_names
    from fifteen.view._runs import curves, is_field, runs_of

    experiments, patterns = find_given(what)
    runs = runs_of(experiments)
    known = sorted({tag for run in runs for tag in run.scalars})
    if not known:
        raise CommandError("no experiment there has scalars; nothing to draw")
    tags = matching(patterns, known, "scalar") if patterns else known
    if options.x not in ("step", "time"):
        matching([options.x], known, "scalar")
    fields = dict.fromkeys(key for run in runs for key in run.config)
    if options.over and not any(is_field(key, options.over) for key in fields):
        raise CommandError(
            f"--over: no field is called {options.over!r}; "
            f"there is: {enumerate_names(list(fields))}"
        )
    panels = {tag: curves(runs, tag, options) for tag in tags if tag != options.x}
    return {tag: found for tag, found in panels.items() if found}


def find_given(arguments: Sequence[str]) -> "tuple[list[Experiment], list[str]]":
    """Return the experiments below directories and globs, and the arguments that are neither.

    Raises:
        CommandError: there are none.
    """
    from fifteen.experiments import find_experiments

    found: dict[pathlib.Path, Experiment] = {}
    rest: list[str] = []
    for argument in arguments:
        paths = [argument] if pathlib.Path(argument).is_dir() else sorted(glob.glob(argument))
        paths = [path for path in paths if pathlib.Path(path).is_dir()]
        if not paths:
            rest.append(argument)
        for path in paths:
            found |= {experiment.data_dir: experiment for experiment in find_experiments(path)}
    if not found:
        raise CommandError(
            f"no experiments in {' '.join(arguments)}; pass their directory, or one above it"
        )
    return list(found.values()), rest


def _print(panels: "dict[str, dict[str, Curve]]", options: "Options") -> None:
    from rich.console import Console

    from fifteen.experiments._experiments import enumerate_names
    from fifteen.view._terminal import draw

    size = Console().size
    colors = sys.stdout.isatty()
    height = min(_HEIGHT, size.height - 2) if colors else _HEIGHT
    for tag, found in list(panels.items())[:_MAX_PLOTS]:
        shown = {printable(label): curve for label, curve in found.items()}
        print(draw(shown, printable(tag), options, (size.width, max(height, 8)), colors))
    if len(panels) > _MAX_PLOTS:
        left = enumerate_names([printable(tag) for tag in list(panels)[_MAX_PLOTS:]])
        tell("note", f"not drawn: {left}; name the tags to draw")
