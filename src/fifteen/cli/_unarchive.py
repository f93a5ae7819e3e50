"""`fifteen unarchive`."""

import pathlib
from typing import Annotated

from tyro.conf import Positional, arg

from fifteen._text import printable
from fifteen.experiments.storage import unarchive as unpack

from ._arguments import Texts, check_on_a_disk, shown_path
from ._errors import all_succeed


def unarchive(
    file: Annotated[Positional[pathlib.Path], arg(metavar="FILE", help_behavior_hint="")],
    more: Annotated[Positional[Texts], arg(metavar="[FILE ...]", help_behavior_hint="")] = (),
    into: Annotated[pathlib.Path, arg(metavar="ROOT", help_behavior_hint="")] = pathlib.Path(),
) -> int:
    """Unpack what `archive` has written, once all of it is verified.

    Args:
        file: the archive.
        more: other archives; one that cannot be unpacked does not keep the others from it.
        into: the directory in which the experiments appear; the current one by default.
    """
    files = [file, *map(pathlib.Path, more)]
    for path in (*files, into):
        check_on_a_disk(path)

    def unpack_one(file: pathlib.Path) -> None:
        path = unpack(file.absolute(), into.absolute())
        print(f"Unpacked {printable(str(file))} to {shown_path(path)}")

    return int(not all_succeed(unpack_one, files))
