"""What to draw, and the import of libraries that draw."""

import dataclasses
import importlib
from typing import Any

from fifteen.experiments import MissingExtraError


@dataclasses.dataclass(frozen=True)
class Options:
    """How curves are drawn.

    Attributes:
        x: `step`, `time`, or the tag of another scalar.
        smooth: the weight of an exponential moving average.
        over: the field over which to take the mean, as `seed`.
        log_x: a logarithmic x axis.
        log_y: a logarithmic y axis.
    """

    x: str = "step"
    smooth: float = 0
    over: str | None = None
    log_x: bool = False
    log_y: bool = False

    @property
    def x_label(self) -> str:
        """The label of the x axis."""
        return "seconds" if self.x == "time" else self.x


def import_extra(module: str, extra: str) -> Any:
    """Import a library that only an extra installs.

    Raises:
        MissingExtraError: it is not installed; names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs {module.partition('.')[0]}, which is not installed; install it with "
            f"pip install 'fifteen[{extra}]'"
        ) from error
