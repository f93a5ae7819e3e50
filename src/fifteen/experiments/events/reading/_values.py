"""The scalars, histograms, texts and images in an event of any writer."""

from typing import Any, NamedTuple

import numpy as np

from .._protos import event_type
from ._tensors import Buckets, buckets_of_histogram, buckets_of_tensor, to_numpy

_DT_FLOAT = 1

Plugins = dict[str, str]
"""The TensorBoard plugin for the tensors of each tag; some writers name it only once in a file."""

UNKNOWN = "", ""


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


def parse(payload: bytes) -> Any:
    """Parse an `Event`, or raise protobuf's `DecodeError`."""
    return event_type().FromString(payload)


def values_of(event: Any, plugins: Plugins) -> dict[tuple[str, str], float | Buckets | None]:
    """Return values by kind and tag: numbers for "scalars", buckets for "histograms".

    The value of "texts" and "images" is None; `texts_of` and `images_of` return them. `UNKNOWN`
    is the kind of a tensor whose plugin is not known yet. The plugins of new tags are added to
    `plugins`. Raises `ValueError` or `OverflowError` if a tensor or a histogram is malformed.
    """
    found: dict[tuple[str, str], float | Buckets | None] = {}
    for value in event.summary.value:
        field = value.WhichOneof("value")
        plugin = _plugin(value, plugins) if field == "tensor" else ""
        if field == "simple_value":
            found["scalars", value.tag] = value.simple_value
        elif field == "histo":
            found["histograms", value.tag] = buckets_of_histogram(value.histo)
        elif field == "image" or plugin == "images":
            found["images", value.tag] = None
        elif field == "tensor" and not plugin:
            found[UNKNOWN] = None
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


def texts_of(event: Any, tag: str) -> list[str]:
    """Return the texts under a tag."""
    return [
        text.decode(errors="replace")
        for value in event.summary.value
        if value.tag == tag
        for text in value.tensor.string_val
    ]


def images_of(event: Any, tag: str) -> list[bytes]:
    """Return the encoded images under a tag."""
    images: list[bytes] = []
    for value in event.summary.value:
        if value.tag == tag and value.HasField("image"):
            images.append(value.image.encoded_image_string)
        elif value.tag == tag:
            # The first two elements are the width and the height.
            images += value.tensor.string_val[2:]
    return images


def is_float32(value: Any, plugins: Plugins) -> bool:
    """Return whether a `Summary.Value` is a scalar that `set_float32` can replace."""
    if value.WhichOneof("value") != "tensor":
        return value.HasField("simple_value")
    tensor = value.tensor
    content = tensor.tensor_content
    has_one = len(content) == 4 if content else len(tensor.float_val) == 1
    has_size_1 = all(dim.size == 1 for dim in tensor.tensor_shape.dim)
    is_single = tensor.dtype == _DT_FLOAT and has_one and has_size_1
    return is_single and _plugin(value, plugins) == "scalars"


def set_float32(value: Any, number: np.float32) -> None:
    """Replace the number of a `Summary.Value` for which `is_float32` is true."""
    if value.HasField("simple_value"):
        value.simple_value = number
    elif value.tensor.tensor_content:
        value.tensor.tensor_content = number.tobytes()
    else:
        value.tensor.float_val[0] = number


def _plugin(value: Any, plugins: Plugins) -> str:
    own = value.metadata.plugin_data.plugin_name
    return plugins.setdefault(value.tag, own) if own else plugins.get(value.tag, "")
