"""The arguments that several commands share, as tyro is to show them."""

import pathlib
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from ._selection import Selection
from ._types import Texts

Directory = Annotated[Positional[pathlib.Path], arg(metavar="DIR", help_behavior_hint="")]
Names = Annotated[Texts, arg(metavar="NAME ...", help_behavior_hint="")]
Flag = Annotated[bool, arg(help_behavior_hint="")]
Chosen = Annotated[Selection, OmitArgPrefixes, arg(name="")]
