"""The scalars, histograms, texts and images in an event of any writer."""

from typing import Any, NamedTuple

import numpy as np

from .._protos import event_type
from ._tensors import Buckets, buckets_of_histogram, buckets_of_tensor, to_numpy

_DT_FLOAT = 1

Plugins = dict[str, str]
"""The TensorBoard plugin for the values of each tag; some writers name it only once in a file."""


class Text(NamedTuple):
    """A text that was logged."""

    step: int
    wall_time: float  # Seconds since the epoch.
    text: str


class Image(NamedTuple):
    """An image that was logged, encoded as PNG or whatever the writer chose."""

    step: int
    wall_time: float  # Seconds since the epoch.
    data: bytes


def parse(payload: bytes, plugins: Plugins) -> Any:
    """Parse an `Event`, or raise protobuf's `DecodeError`; add the plugins that it names first."""
    event = event_type().FromString(payload)
    for value in event.summary.value[:]:  # A list: the end of protobuf's own is an IndexError.
        if name := value.metadata.plugin_data.plugin_name:
            plugins.setdefault(value.tag, name)
    return event


def values_of(event: Any, plugins: Plugins) -> dict[tuple[str, str], float | Buckets | None]:
    """Return values by kind and tag: numbers for "scalars", buckets for "histograms".

    The value of "texts" and "images" is None; `strings_of` returns them. Raises `ValueError` or
    `OverflowError` if a tensor or a histogram is malformed.
    """
    found: dict[tuple[str, str], float | Buckets | None] = {}
    for value in event.summary.value[:]:
        field = value.WhichOneof("value")
        plugin = plugins.get(value.tag) if field == "tensor" else None
        if field == "simple_value":
            found["scalars", value.tag] = value.simple_value
        elif field == "histo":
            found["histograms", value.tag] = buckets_of_histogram(value.histo)
        elif field == "image" or plugin == "images":
            found["images", value.tag] = None
        elif plugin == "text":
            found["texts", value.tag] = None
        elif plugin == "scalars":
            array = to_numpy(value.tensor)
            if array is not None and array.size == 1:
                found["scalars", value.tag] = float(array.reshape(-1)[0])
        elif plugin == "histograms":
            buckets = buckets_of_tensor(value.tensor)
            if buckets is not None:
                found["histograms", value.tag] = buckets
    return found


def strings_of(event: Any, kind: str, tag: str) -> list[bytes]:
    """Return the "texts" or the encoded "images" under a tag."""
    found: list[bytes] = []
    for value in event.summary.value:
        if value.tag == tag and value.HasField("image"):
            found.append(value.image.encoded_image_string)
        elif value.tag == tag:
            # An image comes after its width and its height.
            found += value.tensor.string_val[2 if kind == "images" else 0 :]
    return found


def set_float32(value: Any, number: np.float32, plugins: Plugins) -> bool:
    """Replace the number of a `Summary.Value`; return False if it is anything but one float32."""
    if value.HasField("simple_value"):
        value.simple_value = number
        return True
    tensor = value.tensor
    has_size_1 = all(dim.size == 1 for dim in tensor.tensor_shape.dim)
    if tensor.dtype != _DT_FLOAT or not has_size_1 or plugins.get(value.tag) != "scalars":
        return False
    if tensor.tensor_content:
        is_one = len(tensor.tensor_content) == number.nbytes
        tensor.tensor_content = number.tobytes()
    else:
        is_one = len(tensor.float_val) == 1
        tensor.float_val[:] = [number]
    return is_one
