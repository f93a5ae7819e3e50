"""Values to event files, in the background."""

from ._event_log import EventLog as EventLog
