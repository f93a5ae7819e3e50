"""Telling: which scalars tell most about experiments, and which of their values are good."""

import re
from collections import Counter
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ._experiments import Experiments

MAX_SCALARS = 3
"""How many scalars are shown if none is asked for."""

# What is short counts only at the end of a word: `fid` is no part of `confidence`.
_SMALL_IS_GOOD = re.compile(
    r"loss|error|perplexity|(err|mse|mae|nll|ppl|fid|(?<![a-z])min)(?![a-z])", re.IGNORECASE
)
_LARGE_IS_GOOD = re.compile(
    r"accuracy|reward|return|score|precision|recall"
    r"|(acc|f1|auc|auroc|bleu|psnr|ssim|iou|(?<![a-z])max)(?![a-z])",
    re.IGNORECASE,
)
_STATISTIC = re.compile(r"\w+\((.*)\)|(.*):\w+")


def best_of(name: str) -> Literal["min", "max"] | None:
    """Tell which numbers of a scalar are good, by what it is called.

    The smallest accuracy is still an accuracy.
    """
    statistic = _STATISTIC.fullmatch(name)
    for text in filter(None, (statistic and (statistic[1] or statistic[2]), name)):
        if _SMALL_IS_GOOD.search(text):
            return "min"
        if _LARGE_IS_GOOD.search(text):
            return "max"
    return None


def telling_scalars(found: "Experiments") -> list[str]:
    """Return the tags of all scalars, the most telling ones first."""
    tags = Counter(tag for field in found.fields for tag in field.tail)
    for tag in list(tags):
        # The name `loss` also finds `train/loss`, so one column is enough for both.
        longer = [other for other in tags if other.endswith(f"/{tag}")]
        for other in longer if len(longer) == 1 else [tag] * bool(longer):
            tags[tag] += tags[other]
            del tags[other]
    # What is known to be good or bad comes first, then what most experiments have.
    return sorted(tags, key=lambda tag: (not best_of(tag), -tags[tag], tag))
