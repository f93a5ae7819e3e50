"""The codecs of list, tuple, set, dict and their kin."""

import collections
import collections.abc
from collections.abc import Callable, Iterable
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ._codec import (
    Codec,
    Writing,
    codec_of,
    read_tagged,
    type_name,
    undeclared,
    without_tag,
)
from ._hashes import MAX_ALIKE, TOO_ALIKE, Hashes, any_alike
from ._problems import Reading, Refusal, step
from ._scalars import shorten
from ._tree import Mapping, Sequence, Tree, render

_PREFIX = "tag:yaml.org,2002:"

# What a class is called in a file where nothing is declared, besides what PyYAML calls it.
SEQUENCES: dict[type, tuple[str, ...]] = {
    list: ("!list", f"{_PREFIX}seq", f"{_PREFIX}python/list"),
    tuple: ("!tuple", f"{_PREFIX}python/tuple"),
    set: ("!set", f"{_PREFIX}set"),
    frozenset: ("!frozenset",),
    collections.deque: ("!deque",),
}
MAPPINGS: dict[type, tuple[str, ...]] = {
    dict: ("!dict", f"{_PREFIX}map", f"{_PREFIX}python/dict"),
    collections.OrderedDict: ("!ordered_dict",),
}
_ABSTRACT: dict[Any, tuple[type, ...]] = {
    collections.abc.Sequence: (list, tuple),
    collections.abc.MutableSequence: (list,),
    collections.abc.Collection: (list, tuple, set, frozenset),
    collections.abc.Iterable: (list, tuple, set, frozenset),
    collections.abc.Set: (set, frozenset),
    collections.abc.MutableSet: (set,),
    collections.abc.Mapping: (dict, collections.OrderedDict),
    collections.abc.MutableMapping: (dict, collections.OrderedDict),
}


def encode_items(
    items: Iterable[Any], encode: Callable[[Any, Writing], Tree], writing: Writing
) -> list[Tree]:
    """Write each item; if some cannot be written, refuse them together."""
    trees: list[Tree] = []
    refused: Refusal | None = None
    for index, item in enumerate(items):
        try:
            trees.append(encode(item, writing))
        except Refusal as refusal:
            refused = refusal.under(f"[{index}]", refused)
    if refused:
        raise refused
    if isinstance(items, set | frozenset):
        # The order of a set differs between runs; that of its file must not.
        trees.sort(key=render)
    return trees


def encode_pairs(
    items: Iterable[tuple[Any, Any]],
    encode_key: Callable[[Any, Writing], Tree],
    encode: Callable[[Any, Writing], Tree],
    writing: Writing,
) -> list[tuple[Tree, Tree]]:
    """Write each key and its value; if some cannot be written, refuse them together."""
    pairs: list[tuple[Tree, Tree]] = []
    refused: Refusal | None = None
    for key, value in items:
        try:
            pairs.append((encode_key(key, writing), encode(value, writing)))
        except Refusal as refusal:
            refused = refusal.under(step(key), refused)
    if refused:
        raise refused
    return pairs


def decode_items(node: Node, codec: Codec, reading: Reading) -> list[Any]:
    """Read each item of a sequence, or each key of a mapping without values (`!!set`)."""
    decode = codec.decode
    nodes = [key for key, _ in node.value] if type(node) is MappingNode else node.value
    return [
        decode(item, reading) if not item.tag else read_tagged(codec, item, reading)
        for item in nodes
    ]


def decode_pairs(node: Node, key_codec: Codec, codec: Codec, reading: Reading) -> dict[Any, Any]:
    """Read each pair of a mapping, or of a sequence of pairs."""
    decode_key, decode = key_codec.decode, codec.decode
    result: dict[Any, Any] = {}
    pairs = node.value
    if type(node) is SequenceNode:
        pairs = [item.value[0] for item in node.value]
    errors = len(reading.errors)
    hashes = Hashes() if len(pairs) > MAX_ALIKE else None
    for key_node, value_node in pairs:
        key = (
            decode_key(key_node, reading)
            if not key_node.tag
            else read_tagged(key_codec, key_node, reading)
        )
        value = (
            decode(value_node, reading)
            if not value_node.tag
            else read_tagged(codec, value_node, reading)
        )
        try:
            if hashes is not None and type(key) is not str and hashes.are_alike(key):
                reading.error(key_node, TOO_ALIKE)
                return result
            result[key] = value
        except TypeError:
            reading.error(key_node, f"a {type(key).__name__} cannot be a key; tag it !tuple")
    if len(result) != len(pairs) and len(reading.errors) == errors:
        _find_duplicates(pairs, key_codec, reading)
    if "<<" in result:
        _check_merge(pairs, reading)
    return result


def _find_duplicates(pairs: Any, key_codec: Codec, reading: Reading) -> None:
    seen: dict[Any, int] = {}
    for key_node, _ in pairs:
        key = key_codec.read(key_node, reading)
        if key in seen:
            reading.error(
                key_node, f"the key {shorten(repr(key))} is there twice, first in line {seen[key]}"
            )
        seen.setdefault(key, key_node.start_mark.line + 1)


def _check_merge(pairs: Any, reading: Reading) -> None:
    for key_node, _ in pairs:
        if type(key_node) is ScalarNode and key_node.value == "<<" and not key_node.style:
            reading.error(key_node, MERGE_REFUSED)


MERGE_REFUSED = "merge keys (<<) are not read; write the keys out, or quote '<<' if it is a name"


def _is_set_or_sequence(node: Node, is_set: bool) -> bool:
    if type(node) is SequenceNode:
        return True
    return is_set and type(node) is MappingNode


def make_sequence(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of a list, a set, a deque or a tuple of any length, and of abstract ones."""
    try:
        classes = _ABSTRACT.get(origin, (origin,))
    except TypeError:
        return None
    if classes[0] not in SEQUENCES or _is_fixed(origin, arguments):
        return None
    main = classes[0]
    item = codec_of(arguments[0] if arguments else Any)
    name = type_name(expression)
    is_set = issubclass(main, set | frozenset)
    tags = frozenset(tag for tag in SEQUENCES[main])

    def encode(value: Any, writing: Writing) -> Tree:
        if type(value) in classes:
            trees = encode_items(value, item.encode, writing)
            return Sequence(trees, "" if type(value) is main else SEQUENCES[type(value)][0])
        return undeclared.encode_off_type(value, writing, codec)

    def decode(node: Node, reading: Reading) -> Any:
        if not _is_set_or_sequence(node, is_set):
            return reading.expected(node, name)
        before = len(reading.errors)
        values = decode_items(node, item, reading)
        if main is list or len(reading.errors) > before:
            return values
        return _collect(main, values, node, reading)

    def special(node: Node, reading: Reading) -> Any:
        for cls in classes[1:]:
            if node.tag in SEQUENCES[cls]:
                before = len(reading.errors)
                values = decode_items(node, item, reading)
                return (
                    None if len(reading.errors) > before else _collect(cls, values, node, reading)
                )
        return NotImplemented

    codec = Codec(
        name=name,
        kinds=frozenset(["seq"]),
        tags=tags,
        accepts=lambda value: type(value) in classes,
        encode=encode,
        decode=decode,
        special=special if len(classes) > 1 else None,
        tagged=undeclared_encode,
        owner=main is list,
    )
    return codec


def undeclared_encode(value: Any, writing: Writing) -> Tree:
    """Write a value with tags that tell its classes."""
    return undeclared.encode(value, writing)


def _collect(cls: Any, values: list[Any], node: Node, reading: Reading) -> Any:
    try:
        if issubclass(cls, set | frozenset) and any_alike(values):
            return reading.error(node, TOO_ALIKE)
        result = cls(values)
    except TypeError as error:
        return reading.error(node, f"{error}; tag lists in it !tuple")
    if issubclass(cls, set | frozenset) and len(result) != len(values):
        return reading.error(node, "a value is in the set twice")
    return result


def _is_fixed(origin: Any, arguments: tuple[Any, ...]) -> bool:
    return origin is tuple and bool(arguments) and arguments[-1] is not Ellipsis


def make_fixed_tuple(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of a tuple with a type for each position."""
    if not _is_fixed(origin, arguments) and expression != tuple[()]:
        return None
    items = [codec_of(argument) for argument in arguments]
    name = type_name(expression)

    def encode(value: Any, writing: Writing) -> Tree:
        if type(value) is not tuple or len(value) != len(items):
            return undeclared.encode_off_type(value, writing, codec)
        trees: list[Tree] = []
        refused: Refusal | None = None
        for index, (item, part) in enumerate(zip(items, value, strict=True)):
            try:
                trees.append(item.encode(part, writing))
            except Refusal as refusal:
                refused = refusal.under(f"[{index}]", refused)
        if refused:
            raise refused
        return Sequence(trees)

    def decode(node: Node, reading: Reading) -> Any:
        if type(node) is not SequenceNode:
            return reading.expected(node, name)
        if len(node.value) != len(items):
            return reading.expected(node, f"{name}, {len(items)} values")
        return tuple(
            [item.read(part, reading) for item, part in zip(items, node.value, strict=True)]
        )

    def special(node: Node, reading: Reading) -> Any:
        if node.tag not in SEQUENCES[tuple]:
            return NotImplemented
        if type(node) is SequenceNode and len(node.value) == len(items):
            return without_tag(node, reading, decode)
        # A tuple of another length, which only its tag lets pass: it was written like that.
        return undeclared.decode(node, reading)

    codec = Codec(
        name=name,
        kinds=frozenset(["seq"]),
        accepts=lambda value: type(value) is tuple and len(value) == len(items),
        encode=encode,
        decode=decode,
        special=special,
        tagged=undeclared_encode,
    )
    return codec


def make_mapping(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of a dict and its kin, of any types of keys and values."""
    try:
        classes = _ABSTRACT.get(origin, (origin,))
    except TypeError:
        return None
    if classes[0] not in MAPPINGS:
        return None
    main = classes[0]
    key, item = (codec_of(a) for a in (arguments or (Any, Any)))
    name = type_name(expression)

    def encode(value: Any, writing: Writing) -> Tree:
        if type(value) not in classes:
            return undeclared.encode_off_type(value, writing, codec)
        pairs = encode_pairs(value.items(), key.encode, item.encode, writing)
        return Mapping(pairs, "" if type(value) is main else MAPPINGS[type(value)][0])

    def decode(node: Node, reading: Reading) -> Any:
        if type(node) is not MappingNode:
            return reading.expected(node, name)
        result = decode_pairs(node, key, item, reading)
        return result if main is dict else main(result)

    def special(node: Node, reading: Reading) -> Any:
        for cls in classes[1:]:
            if node.tag in MAPPINGS[cls] and type(node) is MappingNode:
                return cls(decode_pairs(node, key, item, reading))
        return NotImplemented

    codec = Codec(
        name=name,
        kinds=frozenset(["map"]),
        tags=frozenset(MAPPINGS[main]),
        accepts=lambda value: type(value) in classes,
        encode=encode,
        decode=decode,
        special=special if len(classes) > 1 else None,
        tagged=undeclared_encode,
        owner=main is dict,
    )
    return codec
