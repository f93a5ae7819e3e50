"""Ranges, as their start, stop and step."""

from typing import Any

from yaml.nodes import Node

from ._codec import Codec, Writing, codec_of, undeclared
from ._containers import undeclared_encode
from ._problems import Reading
from ._tree import Sequence, Tree


def make_range(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of a range: its start, stop and step."""
    if origin is not range:
        return None

    def encode(value: Any, writing: Writing) -> Tree:
        if type(value) is range:
            return encode_range(value)
        return undeclared.encode_off_type(value, writing, codec)

    codec = Codec(
        "range", frozenset(["seq"]), lambda v: type(v) is range, encode, decode_range,
        tags=frozenset(["!range"]), tagged=undeclared_encode,
    )  # fmt: skip
    return codec


def encode_range(value: range, tag: str = "") -> Tree:
    """Return the tree of a range."""
    return Sequence([str(value.start), str(value.stop), str(value.step)], tag)


def decode_range(node: Node, reading: Reading) -> Any:
    """Return the range of a sequence of one, two or three integers."""
    before = len(reading.errors)
    numbers = codec_of(list[int]).decode(node, reading)
    if len(reading.errors) > before:
        return None
    try:
        return range(*numbers)
    except (TypeError, ValueError):
        return reading.expected(node, "range as [start, stop, step]")
