"""An experiment is a directory: metadata, checkpoints and curves of one training run."""

from typing import TYPE_CHECKING, Any

from ._discovery import Summary as Summary
from ._discovery import summarize as summarize
from ._errors import CheckpointDamagedError as CheckpointDamagedError
from ._errors import CheckpointError as CheckpointError
from ._errors import CheckpointExistsError as CheckpointExistsError
from ._errors import CheckpointMismatchError as CheckpointMismatchError
from ._errors import CheckpointNotFoundError as CheckpointNotFoundError
from ._errors import ExperimentExistsError as ExperimentExistsError
from ._errors import ExperimentLockedError as ExperimentLockedError
from ._errors import ExperimentMovedError as ExperimentMovedError
from ._errors import ExperimentNotFoundError as ExperimentNotFoundError
from ._errors import ExperimentWarning as ExperimentWarning
from ._errors import ExpressionError as ExpressionError
from ._errors import FifteenError as FifteenError
from ._errors import LogDataError as LogDataError
from ._errors import LogWriteError as LogWriteError
from ._errors import MetadataError as MetadataError
from ._errors import MetadataNotFoundError as MetadataNotFoundError
from ._errors import MissingExtraError as MissingExtraError
from ._errors import UnsafePathError as UnsafePathError
from ._experiment import Experiment as Experiment
from ._experiments import Experiments as Experiments
from ._experiments import find_experiments as find_experiments
from .checkpoints import LeafInfo as LeafInfo
from .events import HistogramSeries as HistogramSeries
from .events import ScalarSeries as ScalarSeries
from .metadata import Difference as Difference
from .metadata import diff as diff
from .metadata import flatten as flatten

if TYPE_CHECKING:
    from ._log_data import TensorboardLogData as TensorboardLogData
else:

    def __getattr__(name: str) -> Any:
        # Imported when used, since it needs JAX.
        if name == "TensorboardLogData":
            from ._log_data import TensorboardLogData

            return TensorboardLogData
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CheckpointDamagedError",
    "CheckpointError",
    "CheckpointExistsError",
    "CheckpointMismatchError",
    "CheckpointNotFoundError",
    "Difference",
    "Experiment",
    "ExperimentExistsError",
    "ExperimentLockedError",
    "ExperimentMovedError",
    "ExperimentNotFoundError",
    "ExperimentWarning",
    "Experiments",
    "ExpressionError",
    "FifteenError",
    "HistogramSeries",
    "LeafInfo",
    "LogDataError",
    "LogWriteError",
    "MetadataError",
    "MetadataNotFoundError",
    "MissingExtraError",
    "ScalarSeries",
    "Summary",
    "TensorboardLogData",
    "UnsafePathError",
    "diff",
    "find_experiments",
    "flatten",
    "summarize",
]


def __dir__() -> list[str]:
    return __all__
