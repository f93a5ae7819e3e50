"""TensorBoard's protocol buffer messages, as tensorboardX ships them."""

import functools
from typing import Any

from ._tfrecord import frame

SESSION_START = 1
"""`SessionLog.START`: TensorBoard hides earlier points at the event's step or later ones."""

SESSION_END_TAG = "_hparams_/session_end_info"
SUCCESS, FAILURE = 1, 2
"""`STATUS_SUCCESS` and `STATUS_FAILURE` of the HParams plugin."""


@functools.cache
def event_type() -> Any:
    """Return the class `Event`, imported on first use: that takes 90 ms."""
    from tensorboardX.proto import event_pb2

    messages: Any = event_pb2  # The compiled module creates its classes on import.
    return messages.Event


@functools.cache
def hparams_type() -> Any:
    from tensorboardX.proto import plugin_hparams_pb2

    messages: Any = plugin_hparams_pb2
    return messages.HParamsPluginData


def record(event: Any) -> bytes:
    return frame(event.SerializeToString())
