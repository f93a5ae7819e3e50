"""Coordination of the processes of a run."""

from ._group import ProcessGroup as ProcessGroup
from ._group import collective as collective
from ._group import count as count
from ._group import index as index
from ._group import is_primary as is_primary
from ._group import main as main
from ._group import on_primary as on_primary
from ._remote_errors import clear_mark as clear_mark
from ._remote_errors import is_shared as is_shared
