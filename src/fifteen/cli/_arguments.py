"""The arguments that several commands share, as tyro is to show them."""

import pathlib
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from fifteen.experiments.storage import Directory as StoredDirectory

from ._errors import CommandError
from ._selection import Selection
from ._types import Texts

Directory = Annotated[Positional[str], arg(metavar="DIR", help_behavior_hint="")]
Names = Annotated[Texts, arg(metavar="NAME ...", help_behavior_hint="")]
Flag = Annotated[bool, arg(help_behavior_hint="")]
Chosen = Annotated[Selection, OmitArgPrefixes, arg(name="")]


def check_output(path: pathlib.Path, *suffixes: str) -> None:
    """Raise unless a file of one of some kinds can be written, before the work for it is done."""
    if not path.name.lower().endswith(suffixes):
        raise CommandError(f"--output: expected {', '.join(suffixes)}, found {path.name!r}")
    if StoredDirectory(path.parent).kind_of() != "directory":
        raise CommandError(f"--output: there is no directory {path.parent}; make it first")
    if StoredDirectory(path).kind_of() == "directory":
        raise CommandError(f"--output: {path} is a directory; choose another name")
