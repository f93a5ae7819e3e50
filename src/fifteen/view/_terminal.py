"""Curves in a terminal, drawn by plotext."""

import math
from typing import Any

import numpy as np

from fifteen.experiments._errors import import_extra

from ._curves import Curve, Floats, Options, diverged, downsample, limits

_COLORS = (12, 10, 9, 14, 13, 11, 4, 2, 1, 6, 5, 3)
_SYMBOLS = "⣿*o+x#@%&=$~"
"""What distinguishes curves without colors; the first one stands for dots of Braille."""
_MAX_LEGEND = 24


def draw(
    curves: dict[str, Curve], title: str, options: Options, size: tuple[int, int], colors: bool
) -> str:
    """Return a plot of curves by their labels, with a legend below it."""
    plotext = import_extra("plotext", "this plot", "plot")
    figure = plotext.figure
    figure.clear()
    figure.theme("simple" if colors else "colorless")
    plotext.terminal.limit(False, False)
    figure.plot_size(*size)
    figure.title(title)
    figure.label(options.x_label, "x")
    shown = limits(curves, options.log_y)
    if shown is None:
        return f"{title}: nothing to draw\n"
    figure.ruler("y").lim(*shown)
    x = np.concatenate([curve.x for curve in curves.values()])
    spans = ("x", options.log_x, x.min(), x.max()), ("y", options.log_y, *shown)
    for axis, is_log, low, high in spans:
        if is_log:
            figure.ruler(axis).scale("log")
        elif 1e-300 < high - low < np.inf:
            ticks = _ticks(low, high)
            figure.ruler(axis).ticks(ticks, [f"{tick:.10g}" for tick in ticks])
    for index, curve in enumerate(curves.values()):
        drawn = downsample(curve, 4 * size[0])
        if options.log_x:
            keep = drawn.x > 0
            drawn = drawn.with_parts(lambda part, keep=keep: part[keep], x=drawn.x[keep])
        symbol = _symbol(index, colors)
        marker = plotext.marker("braille" if symbol == _SYMBOLS[0] else symbol)
        if colors:
            marker.fill(_COLORS[index % len(_COLORS)])
        for y in (drawn.low, drawn.high, drawn.y):
            if y is not None:
                _draw_line(figure, marker, (drawn.x, y), shown, is_line=y is drawn.y)
    plot = figure.build().string(colorless=not colors)
    legend = _legend(curves, colors) if len(curves) > 1 or diverged(curves) else []
    return "\n".join([*map(str.rstrip, plot.rstrip("\n").split("\n")), *legend, ""])


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two limits, at most seven."""
    unit = 10.0 ** math.floor(math.log10((high - low) / 6))
    step = next(unit * n for n in (1, 2, 5, 10) if high - low <= 6 * unit * n)
    return (np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step).tolist()


def _draw_line(
    figure: Any,
    marker: Any,
    points: tuple[Floats, Floats],
    shown: tuple[float, float],
    is_line: bool,
) -> None:
    """Draw what lies within limits, and lines to the edge; plotext aborts on any other number."""
    x, y = points
    inside = (y >= shown[0]) & (y <= shown[1])
    beside = np.append(inside[1:], False) | np.append(False, inside[:-1])
    kept = np.flatnonzero(inside | (np.isfinite(y) & beside & is_line))
    if not len(kept):
        return
    signal = figure.signal(x[kept].tolist(), y[kept].clip(*shown).tolist(), marker=marker)
    if is_line:
        signal.lines()
        for gap in (np.flatnonzero(np.diff(kept) > 1) + 1).tolist():
            signal.line(gap, False)
    figure.draw(signal)


def _legend(curves: dict[str, Curve], colors: bool) -> list[str]:
    bad = diverged(curves)
    lines: list[str] = []
    for index, (label, curve) in enumerate(curves.items()):
        if index == _MAX_LEGEND:
            lines.append(f"  and {len(curves) - index} more")
            break
        note = f"  diverged: {bad[label]}" if label in bad else ""
        symbol = _symbol(index, colors)
        if colors:
            symbol = f"\033[38;5;{_COLORS[index % len(_COLORS)]}m{symbol}\033[0m"
        known = curve.y[np.isfinite(curve.y)]
        last = f"  {known[-1]:.6g}" if len(known) else ""
        lines.append(f"  {symbol} {label}{last}{note}")
    return lines


def _symbol(index: int, colors: bool) -> str:
    return _SYMBOLS[0 if colors else index % len(_SYMBOLS)]
