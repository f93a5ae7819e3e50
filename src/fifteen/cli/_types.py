"""Types of arguments. To check any others, tyro imports all of typeguard, which takes 50 ms."""

import pathlib
from typing import TYPE_CHECKING, Optional

OptionalText = Optional[str]  # noqa: UP045
OptionalInt = Optional[int]  # noqa: UP045
OptionalFloat = Optional[float]  # noqa: UP045
OptionalPath = Optional[pathlib.Path]  # noqa: UP045

if TYPE_CHECKING:
    Texts = tuple[str, ...]
else:
    Texts = tuple
