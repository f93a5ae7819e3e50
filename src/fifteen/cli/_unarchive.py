"""`fifteen unarchive`."""

import pathlib
from typing import Annotated

from tyro.conf import Positional, arg

from fifteen._text import printable
from fifteen.experiments.storage import unarchive as unpack

from ._arguments import check_on_a_disk


def unarchive(
    file: Annotated[Positional[pathlib.Path], arg(metavar="FILE", help_behavior_hint="")],
    into: Annotated[pathlib.Path, arg(metavar="ROOT", help_behavior_hint="")] = pathlib.Path(),
) -> None:
    """Unpack what `archive` has written, once all of it is verified.

    Args:
        file: the archive.
        into: the directory in which the experiment appears; the current one by default.
    """
    check_on_a_disk(file)
    check_on_a_disk(into)
    path = unpack(file.absolute(), into.absolute())
    print(printable(f"Unpacked {file} to {path}"))
