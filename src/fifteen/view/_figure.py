"""Curves for print, drawn by matplotlib: vectors that can be told apart in grey, fonts embedded."""

import itertools
import math
import pathlib
from typing import Any

from fifteen.experiments._extras import import_extra

from ._curves import Curve, diverged, downsample, limits
from ._options import Options

_POINTS = 2000
"""A printed line shows no more than that."""
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
_SETTINGS = {
    # Fonts as outlines that stay text: 3, the default, is refused by some publishers.
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    # The same bytes for the same curves.
    "svg.hashsalt": "fifteen",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    # A label may hold a dollar sign.
    "text.parse_math": False,
}
_DATES: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def save(panels: dict[str, dict[str, Curve]], options: Options, path: pathlib.Path) -> None:
    """Draw a panel for each tag, and save them as a PDF, SVG or PNG.

    Args:
        panels: the curves of each tag, by their labels.
        options: how to draw them.
        path: where to save; the suffix says in which format.
    """
    matplotlib = import_extra("matplotlib", "this plot", "plot")
    figures = import_extra("matplotlib.figure", "this plot", "plot")
    line = import_extra("matplotlib.lines", "this plot", "plot").Line2D
    columns = min(3, math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    with matplotlib.rc_context(_SETTINGS):
        figure = figures.Figure(figsize=(4 * columns, 2.8 * rows), layout="constrained")
        # The same look for a label in all panels.
        names = dict.fromkeys(itertools.chain(*panels.values()))
        looks = {name: _look(index) for index, name in enumerate(names)}
        for number, (tag, curves) in enumerate(panels.items(), start=1):
            _draw(figure.add_subplot(rows, columns, number), tag, curves, looks, options)
        bad = {name for curves in panels.values() for name in diverged(curves)}
        if len(looks) > 1 or bad:
            lines = [line([], [], **look) for look in looks.values()]
            texts = [f"{name} (diverged)" if name in bad else name for name in looks]
            place = "outside lower center"
            figure.legend(lines, texts, loc=place, ncols=columns, fontsize=8, frameon=False)
        kind = path.suffix.removeprefix(".").lower()
        figure.savefig(path, format=kind, dpi=300, metadata=_DATES.get(kind))


def _look(index: int) -> dict[str, Any]:
    # Neighbours differ in both, and a pair comes back after 42.
    return {"color": _COLORS[index % len(_COLORS)], "linestyle": _STYLES[index % len(_STYLES)]}


def _draw(
    axes: Any,
    tag: str,
    curves: dict[str, Curve],
    looks: dict[str, dict[str, Any]],
    options: Options,
) -> None:
    for label, curve in curves.items():
        drawn = downsample(curve, _POINTS)
        axes.plot(drawn.x, drawn.y, linewidth=1.2, **looks[label])
        if drawn.low is not None:
            color = looks[label]["color"]
            axes.fill_between(drawn.x, drawn.low, drawn.high, color=color, alpha=0.18, linewidth=0)
    axes.set_xlabel(options.x_label)
    axes.set_title(tag)
    axes.grid(alpha=0.25)
    if options.log_x:
        axes.set_xscale("log")
    if options.log_y:
        axes.set_yscale("log")
    shown = limits(curves, options.log_y)
    if shown:
        axes.set_ylim(shown)
