"""TensorBoard's protocol buffer messages, as tensorboardX ships them."""

import functools
import importlib
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
    return importlib.import_module("tensorboardX.proto.event_pb2").Event


@functools.cache
def hparams_type() -> Any:
    return importlib.import_module("tensorboardX.proto.plugin_hparams_pb2").HParamsPluginData


def record(event: Any) -> bytes:
    return frame(event.SerializeToString())
