"""Packages of the optional extras."""

import importlib
from typing import Any

from ._errors import MissingExtraError


def import_extra(module: str, what: str, extra: str = "") -> Any:
    """Return a module that an extra, by default of the same name, installs for what needs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{what} needs {module}, which is not installed; install it with "
            f"pip install 'fifteen[{extra or module}]'"
        ) from error
