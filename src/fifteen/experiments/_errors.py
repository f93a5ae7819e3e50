"""The errors that `fifteen.experiments` raises, and its warning.

Each also derives from a built-in error, so old programs catch them as before, such as
`AssertionError` from `assert_new` and `assert_exists`.
"""

import importlib
from collections.abc import Callable
from typing import Any


class FifteenError(Exception):
    """The base of every error raised by this package."""


class ExperimentExistsError(FifteenError, AssertionError, FileExistsError):
    """An experiment should be new, but its directory is not empty."""


class ExperimentNotFoundError(FifteenError, AssertionError, FileNotFoundError):
    """An experiment should exist, but does not."""


class ExperimentMovedError(FifteenError, RuntimeError):
    """A handle was used after its directory had been moved."""


class ExperimentLockedError(FifteenError, RuntimeError):
    """Another process writes to an experiment in an object store."""


class UnsafePathError(FifteenError, ValueError):
    """A path leaves the experiment, or names a directory that must not be deleted."""


class MetadataError(FifteenError, ValueError):
    """An object cannot be written as metadata, or a file does not contain what was expected."""


class MetadataNotFoundError(FifteenError, FileNotFoundError):
    """There is no metadata of that name."""


class CheckpointError(FifteenError, ValueError):
    """A checkpoint cannot be saved or restored."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no checkpoint, or none at the step asked for."""


class CheckpointExistsError(CheckpointError):
    """A checkpoint at this step or a later one exists, and `overwrite` is not set."""


class CheckpointMismatchError(CheckpointError):
    """A checkpoint's leaves are not those of the target."""


class CheckpointDamagedError(CheckpointError):
    """A checkpoint's file is truncated, or its bytes have changed."""


class ExpressionError(FifteenError, ValueError):
    """A filter such as `config.lr < 0.1` cannot be parsed, or names what no experiment has."""


class LogDataError(FifteenError, ValueError, TypeError):
    """A tag, a value or a step cannot be logged."""


class LogWriteError(FifteenError, OSError):
    """Logged data could not be written to disk."""


class MissingExtraError(FifteenError, ImportError):
    """A package is missing that one of the optional extras installs."""


class ExperimentWarning(UserWarning):
    """Something was done that may not be what you meant."""


def raise_if_foreign(error: Exception, call: Callable[[], object]) -> None:
    """Call again, and raise the error if it does not recur: then a signal handler raised it."""
    try:
        call()
    except type(error):
        return
    raise error


def import_extra(module: str, what: str, extra: str = "") -> Any:
    """Return a module that an extra, by default of the same name, installs for what needs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{what} needs {module}, which is not installed; install it with "
            f"pip install 'fifteen[{extra or module}]'"
        ) from error
