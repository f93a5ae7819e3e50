"""The arguments that several commands share, as tyro is to show them.

To check types other than these, tyro imports all of typeguard, which takes 50 ms.
"""

import math
import os
import pathlib
from typing import TYPE_CHECKING, Annotated, Optional

from tyro.conf import arg

from fifteen._text import printable
from fifteen.experiments._local_path import is_address
from fifteen.experiments.storage import Directory as StoredDirectory

from ._errors import CommandError

OptionalText = Optional[str]  # noqa: UP045
OptionalInt = Optional[int]  # noqa: UP045
OptionalFloat = Optional[float]  # noqa: UP045
OptionalPath = Optional[pathlib.Path]  # noqa: UP045

if TYPE_CHECKING:
    Texts = tuple[str, ...]
else:
    Texts = tuple

Names = Annotated[Texts, arg(metavar="NAME ...", help_behavior_hint="")]
Flag = Annotated[bool, arg(help_behavior_hint="")]


def shown_path(path: pathlib.Path) -> str:
    """Write a path for people: from the current directory, if it is below that."""
    is_below = path.is_relative_to(os.getcwd())
    return printable(str(path.relative_to(os.getcwd()) if is_below else path))


def check_total(total: float | None) -> None:
    if total is not None and not 0 < total < math.inf:
        raise CommandError(f"--total: expected a number of steps, found {total:g}")


def check_on_a_disk(path: pathlib.Path) -> None:
    """Raise if a path is an address, of which `pathlib` would make a directory `s3:`."""
    if is_address(path):
        address = str(path).replace(":/", "://", 1)
        raise CommandError(f"{address}: expected a path on a disk, found an address")


def check_output(path: pathlib.Path, *suffixes: str) -> None:
    """Raise unless a file of one of some kinds can be written, before the work for it is done."""
    check_on_a_disk(path)
    if not path.name.lower().endswith(suffixes):
        raise CommandError(f"--output: expected {', '.join(suffixes)}, found {path.name!r}")
    if StoredDirectory(path.parent).kind_of() != "directory":
        raise CommandError(f"--output: there is no directory {path.parent}; make it first")
    if StoredDirectory(path).kind_of() == "directory":
        raise CommandError(f"--output: {path} is a directory; choose another name")
