"""Event files: one per log, never shared.

TensorBoard reads each file with `tfevents` in its name, in the order of the names, which begin with
the second of creation.
"""

import itertools
import os
import socket
import time
from collections.abc import Callable

from ...storage import AppendedFile, Directory
from .. import _protos

_PREFIX = "events.out.tfevents."
_MAX_SECOND = 9_999_999_998
"""The last second of ten digits that another one can follow."""

_numbers = itertools.count()


def create(directory: Directory, report: Callable[[str], None]) -> AppendedFile:
    """Create an event file; `report` takes later messages to the user."""
    event = _protos.event_type()(wall_time=time.time(), file_version="brain.Event:2")
    return directory.append(_name_after, _protos.record(event), report)


def _name_after(names: list[str]) -> str:
    """Return a name that sorts after those of all other event files.

    The last of them may be of this second, or of a host whose clock is ahead.
    """
    numbers = (n.removeprefix(_PREFIX).partition(".")[0] for n in names if n.startswith(_PREFIX))
    seconds = (int(number) for number in numbers if number.isdecimal())
    last = max((second for second in seconds if second <= _MAX_SECOND), default=-1)
    host = socket.gethostname().replace("/", "_") or "localhost"
    second = max(int(time.time()), last + 1)
    return f"{_PREFIX}{second:010d}.{host}.{os.getpid()}.{next(_numbers)}"
