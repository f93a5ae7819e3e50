"""TensorBoard's protocol buffer messages, as tensorboardX ships them."""

import functools
from typing import Any

from ._tfrecord import frame

SESSION_START = 1
"""`SessionLog.START`: TensorBoard hides earlier points at the event's step or later ones."""


@functools.cache
def event_type() -> Any:
    """Return the class `Event`. It is imported when first needed: that takes 90 ms."""
    from tensorboardX.proto.event_pb2 import Event

    return Event


def record(event: Any) -> bytes:
    """Return the record that holds an event."""
    return frame(event.SerializeToString())
