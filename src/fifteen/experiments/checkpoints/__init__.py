"""Save pytrees as checkpoints, and restore them."""

from typing import TYPE_CHECKING, Any

from ._paths import prefixes_in as prefixes_in
from ._paths import steps_in as steps_in
from ._reader import LeafInfo as LeafInfo
from ._retention import Retention as Retention

if TYPE_CHECKING:
    from ._checkpoints import Checkpoints as Checkpoints
else:

    def __getattr__(name: str) -> Any:
        # Imported when used, since it takes a while.
        if name == "Checkpoints":
            from ._checkpoints import Checkpoints

            return Checkpoints
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
