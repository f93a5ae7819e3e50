"""Options: how curves are drawn."""

import dataclasses


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
