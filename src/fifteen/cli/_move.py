"""`fifteen move`."""

import pathlib
from typing import Annotated

from tyro.conf import Positional, arg


def move(
    source: Annotated[Positional[pathlib.Path], arg(metavar="SRC", help_behavior_hint="")],
    destination: Annotated[Positional[pathlib.Path], arg(metavar="DST", help_behavior_hint="")],
) -> None:
    """Move an experiment, also to another file system.

    Args:
        source: the experiment's directory.
        destination: where it goes: absent or an empty directory. Its parents are made.
    """
    from fifteen.experiments import Experiment

    Experiment(source, verbose=False).assert_exists().move(destination)
    print(f"Moved {source} to {destination}")
