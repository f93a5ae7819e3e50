"""The codec of objects that are nothing but their attributes, as `argparse` makes them."""

import argparse
import types
from typing import Any

from yaml.nodes import MappingNode, Node

from ._codec import Codec, Writing, codec_of, undeclared
from ._containers import decode_pairs, encode_pairs, undeclared_encode
from ._problems import Reading
from ._tree import Mapping, Tree


def make_namespace(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of argparse.Namespace and types.SimpleNamespace: their attributes."""
    if origin not in NAMESPACES:
        return None
    names, item = codec_of(str), codec_of(Any)

    def encode(value: Any, writing: Writing) -> Tree:
        if type(value) is not origin:
            return undeclared.encode_off_type(value, writing, codec)
        return Mapping(encode_pairs(vars(value).items(), names.encode, item.encode, writing))

    def decode(node: Node, reading: Reading) -> Any:
        if type(node) is not MappingNode:
            return reading.expected(node, origin.__name__)
        before = len(reading.errors)
        values = decode_pairs(node, names, item, reading)
        return None if len(reading.errors) > before else origin(**values)

    codec = Codec(
        origin.__name__, frozenset(["map"]), lambda v: type(v) is origin, encode, decode,
        tags=frozenset([NAMESPACES[origin]]), tagged=undeclared_encode,
    )  # fmt: skip
    return codec


NAMESPACES: dict[Any, str] = {
    argparse.Namespace: "!namespace",
    types.SimpleNamespace: "!simple_namespace",
}
