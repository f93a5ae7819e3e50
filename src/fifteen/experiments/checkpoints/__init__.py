"""Save pytrees as checkpoints, and restore them."""

from ._checkpoints import Checkpoints as Checkpoints
from ._stored import LeafInfo as LeafInfo
