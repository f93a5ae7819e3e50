"""Curves for print, drawn by matplotlib: vectors, readable in grey, with embedded fonts."""

import html
import io
import itertools
import math
import pathlib
import re
from typing import TYPE_CHECKING, Any

from fifteen._text import printable
from fifteen.experiments._errors import import_extra

from ._curves import Curve, Options, curve_of, diverged, downsample, limits

if TYPE_CHECKING:
    from fifteen.experiments import ScalarSeries

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
}
_INK = "#010203"
_INK_OF = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
_INLINE = dict.fromkeys((*_INK_OF, "grid.color"), _INK) | {"svg.fonttype": "none"}
_INLINE_POINTS = 400
_DATES: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def save(panels: dict[str, dict[str, Curve]], options: Options, path: pathlib.Path) -> None:
    """Draw a panel for each tag, of curves by their labels; save them in the suffix's format."""
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
            legend = figure.legend(
                lines, texts, loc=place, ncols=columns, fontsize=8, frameon=False
            )
            for text in legend.get_texts():
                text.set_parse_math(False)
        kind = path.suffix.removeprefix(".").lower()
        figure.savefig(path, format=kind, dpi=300, metadata=_DATES.get(kind))


def framed(caption: str, series: "ScalarSeries") -> str:
    """Return a curve below its caption as HTML; what cannot be drawn is only described."""
    try:
        drawn = _inline(series) if len(series) else ""
    except Exception as error:  # A notebook shows the rest, whatever happens here.
        drawn = html.escape(f"{error}")
    return (
        '<figure style="display:inline-block;margin:0;vertical-align:top;max-width:100%">'
        f"<figcaption>{html.escape(printable(caption))}</figcaption>{drawn}</figure>"
    )


def _inline(series: "ScalarSeries") -> str:
    """Return a small SVG whose axes have the color of the text around it."""
    curve = curve_of({"": series}, "")
    if curve is None:
        return ""
    matplotlib = import_extra("matplotlib", "drawing a curve", "plot")
    figures = import_extra("matplotlib.figure", "drawing a curve", "plot")
    file = io.StringIO()
    with matplotlib.rc_context(_SETTINGS | _INLINE):
        figure = figures.Figure(figsize=(3.1, 1.9), layout="constrained")
        drawn = downsample(curve, _INLINE_POINTS)
        _draw(figure.add_subplot(), "", {"": drawn}, {"": _look(0)}, Options())
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    # The style in it would be that of every line in the page.
    text = re.sub(r"<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return text.replace(_INK, "currentColor")


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
        # A line between no other points would be invisible.
        marker = "." if len(drawn.x) == 1 else None
        axes.plot(drawn.x, drawn.y, linewidth=1.2, marker=marker, **looks[label])
        if drawn.low is not None:
            color = looks[label]["color"]
            axes.fill_between(drawn.x, drawn.low, drawn.high, color=color, alpha=0.18, linewidth=0)
    # A name may hold a dollar sign; the numbers of a logarithmic axis are formulas.
    axes.set_xlabel(options.x_label, parse_math=False)
    axes.set_title(tag, parse_math=False)
    axes.grid(alpha=0.25)
    if options.log_x:
        axes.set_xscale("log")
    if options.log_y:
        axes.set_yscale("log")
    shown = limits(curves, options.log_y)
    if shown:
        axes.set_ylim(shown)
