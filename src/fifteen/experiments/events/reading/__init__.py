"""Event files to curves. Nothing here imports JAX."""

from ._last_step import last_step as last_step
from ._reader import EventReader as EventReader
