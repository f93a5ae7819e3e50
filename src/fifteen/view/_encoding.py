"""What the page gets of a run: its curves, histograms, texts and images."""

import base64
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fifteen.experiments._fields import Fields
from fifteen.experiments.events.reading import EventReader

from ._curves import Curve, Floats, Options, extremes, limits, seconds_of, smoothed
from ._follower import Scalars
from ._runs import draw_line

Answer = dict[str, Any]

SMOOTHING = (0, 0.6, 0.9, 0.99)
_MAX_HISTOGRAMS = 60
_MAX_ITEMS = 200
_MAX_TEXT = 20_000
_IMAGES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
"""How the files begin that a browser shows."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """About how many points of a curve are sent."""

    points: int
    x: str = "step"  # As in `Options`.
    window: tuple[float, float] | None = None  # A part of the x axis that gets as many again.


def encode_curves(scalars: Sequence[Scalars], tags: Sequence[str], sampling: Sampling) -> Answer:
    """Return the curves of a run, or the means of a group, smoothed in each way, by tag."""
    answer: Answer = {}
    is_scalar = sampling.x not in ("step", "time")
    for tag in tags:
        raw = draw_line(scalars, tag, Options(sampling.x if is_scalar else "step"))
        if raw is None:
            continue
        x = {sampling.x if is_scalar else "step": raw.x}
        if not is_scalar:
            # A mean is at the mean of the times at which its runs came to a step.
            times = [
                np.interp(raw.x, one[tag].step, seconds_of(one, tag))
                for one in scalars
                if tag in one
            ]
            x["time"] = np.mean(times, axis=0)
        levels = [smoothed(raw, weight) for weight in SMOOTHING]
        # All ways of smoothing at the same places, so that they need the x axis only once.
        kept = _kept(raw, x[sampling.x], sampling)
        answer[tag] = {
            "x": {name: encode(values[kept], "<f8") for name, values in x.items()},
            "y": [encode(level.y[kept], "<f4") for level in levels],
            "limits": limits({"": raw}),
            "diverged": raw.diverged_at,
        }
        for name in ("low", "high") if raw.low is not None else ():
            answer[tag][name] = [encode(getattr(level, name)[kept], "<f4") for level in levels]
    return answer


def _kept(raw: Curve, x: Floats, sampling: Sampling) -> npt.NDArray[np.bool_]:
    kept = extremes(raw.y, sampling.points)
    if sampling.window is not None:
        start, end = sampling.window
        inside = np.flatnonzero((x >= start) & (x <= end))
        kept[inside[extremes(raw.y[inside], sampling.points)]] = True
    return kept


def details_of(run: Fields, reader: EventReader) -> Answer:
    """Return what the page shows of a single run."""
    histograms: Answer = {}
    for tag, series in reader.histograms().items():
        count = len(series)
        chosen = np.unique(np.linspace(0, count - 1, min(count, _MAX_HISTOGRAMS)).round())
        histograms[tag] = [
            {
                "step": int(series.step[number]),
                "edges": encode(series.edges[number], "<f8"),
                "counts": encode(series.counts[number], "<f4"),
            }
            for number in chosen.astype(int).tolist()
        ]
    texts = [
        (tag.removesuffix("/text_summary"), text.step, text.text[:_MAX_TEXT])
        for tag, series in reader.texts().items()
        for text in series
    ]
    images = [
        (tag, image.step, address)
        for tag, series in reader.images().items()
        for image in series
        if (address := _address(image.data))
    ]
    return {
        "path": str(run.path),
        "histograms": histograms,
        "texts": texts[-_MAX_ITEMS:],
        "images": images[-_MAX_ITEMS:],
    }


def encode(values: npt.NDArray[Any], dtype: str) -> str:
    """Return the bytes of an array in base64."""
    return base64.b64encode(values.astype(dtype).tobytes()).decode("ascii")


def _address(content: bytes) -> str:
    """Return an image as an address; an empty one if it is of a kind that is not shown."""
    for start, kind in _IMAGES.items():
        if content.startswith(start):
            return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return ""
