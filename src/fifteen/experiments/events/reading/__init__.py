"""Event files to curves. Nothing here imports JAX."""

from ._event_file import event_files as event_files
from ._reader import Ends as Ends
from ._reader import EventReader as EventReader
from ._reader import read_ends as read_ends
from ._timeline import SessionEnd as SessionEnd
from ._timeline import Timeline as Timeline
from ._timeline import diverged_at as diverged_at
from ._values import Image as Image
from ._values import Text as Text
