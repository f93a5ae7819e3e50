"""`fifteen plot`."""

import sys
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from fifteen._progress import track
from fifteen._text import printable
from fifteen.experiments import Experiments
from fifteen.experiments._loading import listed
from fifteen.experiments._names import enumerate_names, matching
from fifteen.view._curves import Curve, Options
from fifteen.view._figure import save
from fifteen.view._follower import read_scalars
from fifteen.view._report import report
from fifteen.view._runs import diverged_of_means, draw_line, grouped
from fifteen.view._terminal import draw

from ._arguments import Flag, OptionalPath, OptionalText, check_output
from ._errors import CommandError, print_message, print_problems
from ._selection import Chosen, Selection

_MAX_PLOTS = 4
_HEIGHT = 20


def plot(
    selection: Chosen = Selection(),
    smooth: float = 0,
    log_x: Flag = False,
    log_y: Flag = False,
    x: Annotated[str, arg(metavar="step|time|TAG")] = "step",
    over: Annotated[OptionalText, arg(metavar="FIELD", help_behavior_hint="")] = None,
    output: Annotated[OptionalPath, arg(metavar="FILE", help_behavior_hint="")] = None,
) -> int:
    """Draw the curves of experiments in the terminal, or to a file.

    After the directories come tags of scalars, in which `*` matches any text: `fifteen plot runs
    train/loss`. Without any, all are drawn.

    Args:
        smooth: the weight of an exponential moving average, at least 0 and below 1.
        log_x: make the x axis logarithmic.
        log_y: make the y axis logarithmic.
        x: what the x axis is: steps, seconds since the start, or another scalar.
        over: draw the mean and the standard deviation over this field, such as `seed`.
        output: a .pdf, .svg, .png or .html to write instead.
    """
    if not 0 <= smooth < 1:
        raise CommandError(f"--smooth: expected at least 0 and below 1, found {smooth:g}")
    if output is not None:
        check_output(output, ".pdf", ".svg", ".png", ".html")
    options = Options(x, smooth, over, log_x, log_y)
    selection, patterns = selection.split()
    runs = selection.find_some()
    if output is None:
        _print(_panels(runs, patterns, options), options)
    elif output.suffix.lower() == ".html":
        title = ", ".join(patterns) or str(selection)
        output.write_text(report(runs, title, options, patterns), "utf-8")
    else:
        save(_panels(runs, patterns, options), options, output)
    if output is not None:
        print(printable(f"Wrote {output}"))
    return int(print_problems(runs.fields))


def _panels(
    runs: Experiments, patterns: list[str], options: Options
) -> dict[str, dict[str, Curve]]:
    """Return the curves of each tag by the labels of the runs."""
    with listed(runs.fields):
        scalars = [read_scalars(run) for run in track(runs.fields, "Reading")]
    known = sorted({tag for one in scalars for tag in one})
    if not known:
        raise CommandError("no experiment there has scalars; nothing to draw")
    tags = matching(patterns, known, "scalar")
    if options.x not in ("step", "time"):
        matching([options.x], known, "scalar")
    lines = grouped(runs, options.over)
    for text in diverged_of_means(runs, lines, options.over) if options.over else ():
        print_message("note", text)
    panels: dict[str, dict[str, Curve]] = {}
    for tag in tags:
        for label, numbers in lines.items():
            curve = draw_line([scalars[number] for number in numbers], tag, options)
            if curve is not None and tag != options.x:
                panels.setdefault(tag, {})[label] = curve
    return panels


def _print(panels: dict[str, dict[str, Curve]], options: Options) -> None:
    size = Console().size
    colors = sys.stdout.isatty()
    height = min(_HEIGHT, size.height - 2) if colors else _HEIGHT
    for tag, found in list(panels.items())[:_MAX_PLOTS]:
        shown = {printable(label): curve for label, curve in found.items()}
        print(draw(shown, printable(tag), options, (size.width, max(height, 8)), colors))
    if len(panels) > _MAX_PLOTS:
        left = enumerate_names([printable(tag) for tag in list(panels)[_MAX_PLOTS:]])
        print_message("note", f"not drawn: {left}; name the tags to draw")
