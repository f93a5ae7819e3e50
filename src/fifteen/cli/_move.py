"""`fifteen move`."""

import pathlib
from typing import Annotated

from tyro.conf import Positional, arg

from fifteen._text import printable

from ._selection import open_experiment


def move(
    source: Annotated[Positional[pathlib.Path], arg(metavar="SRC", help_behavior_hint="")],
    destination: Annotated[Positional[str], arg(metavar="DST", help_behavior_hint="")],
) -> None:
    """Move an experiment, also to another file system.

    Args:
        source: the experiment's directory.
        destination: its new path, or an existing directory to move it into. Parents are made.
    """
    from fifteen.experiments._walk import holds_experiment

    experiment = open_experiment(source)
    target = pathlib.Path(destination)
    is_folder = target.is_dir() and not holds_experiment(target)
    if destination.endswith("/") or is_folder:
        target /= experiment.data_dir.name
    experiment.move(target)
    print(printable(f"Moved {source} to {target}"))
