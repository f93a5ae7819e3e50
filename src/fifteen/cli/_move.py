"""`fifteen move`."""

from typing import Annotated

from tyro.conf import Positional, arg

from fifteen._text import printable

from ._selection import checked, open_experiment


def move(
    source: Annotated[Positional[str], arg(metavar="SRC", help_behavior_hint="")],
    destination: Annotated[Positional[str], arg(metavar="DST", help_behavior_hint="")],
) -> None:
    """Move an experiment, also to another file system, and to or from an object store.

    Args:
        source: the experiment's directory.
        destination: its new path, or an existing directory to move it into. Parents are made.
    """
    from fifteen.experiments._local_path import local_path
    from fifteen.experiments._walk import holds_experiment

    experiment = open_experiment(source)
    target = local_path(checked(destination), "DST")
    is_folder = target.is_dir() and not holds_experiment(target)
    if destination.endswith("/") or is_folder:
        destination = f"{destination.rstrip('/')}/{experiment.data_dir.name}"
    experiment.move(local_path(destination, "DST"))
    print(printable(f"Moved {source} to {destination}"))
