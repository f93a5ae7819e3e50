"""An experiment is a directory: metadata, checkpoints and curves of one training run."""

from ._discovery import find_experiments as find_experiments
from ._errors import CheckpointDamagedError as CheckpointDamagedError
from ._errors import CheckpointError as CheckpointError
from ._errors import CheckpointExistsError as CheckpointExistsError
from ._errors import CheckpointMismatchError as CheckpointMismatchError
from ._errors import CheckpointNotFoundError as CheckpointNotFoundError
from ._errors import ExperimentExistsError as ExperimentExistsError
from ._errors import ExperimentMovedError as ExperimentMovedError
from ._errors import ExperimentNotFoundError as ExperimentNotFoundError
from ._errors import ExperimentWarning as ExperimentWarning
from ._errors import FifteenError as FifteenError
from ._errors import LogDataError as LogDataError
from ._errors import LogWriteError as LogWriteError
from ._errors import MetadataError as MetadataError
from ._errors import MetadataNotFoundError as MetadataNotFoundError
from ._errors import MissingExtraError as MissingExtraError
from ._errors import UnsafePathError as UnsafePathError
from ._experiment import Experiment as Experiment
from ._log_data import TensorboardLogData as TensorboardLogData
from .checkpoints import LeafInfo as LeafInfo
from .events import HistogramSeries as HistogramSeries
from .events import ScalarSeries as ScalarSeries
from .metadata import Difference as Difference
from .metadata import diff as diff
from .metadata import flatten as flatten
