"""The experiment manager for JAX: an experiment is a directory.

After `import fifteen` alone, `fifteen.experiments` is imported when it is first used.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import experiments as experiments

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    if name == "experiments":
        return importlib.import_module(".experiments", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "experiments"])
