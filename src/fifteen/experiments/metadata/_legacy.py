"""The tags that PyYAML writes for Python objects, read as data by a fixed table.

`yaml.dump`, and with it dcargs and tyro, describes an object by what `copyreg` says of it: a
function to call, its arguments, and a state. Nothing is called here but what this table holds,
and each entry makes a plain value out of plain values. A tag that is not in it is refused.
"""

import collections
import datetime
import decimal
import fractions
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ._codec import undeclared
from ._hashes import TOO_ALIKE, any_alike
from ._legacy_arrays import NAMES, decode_blob
from ._problems import Reading
from ._scalars import ScalarError, resolve_plain, shorten

_PYTHON = "tag:yaml.org,2002:python/"


def _path(cls: Any) -> Callable[[list[Any]], Any]:
    def make(arguments: list[Any]) -> Any:
        if not all(type(part) is str for part in arguments):
            raise ScalarError("a path is made of strings")
        return cls(*arguments)

    return make


def _collection(cls: Any) -> Callable[[list[Any]], Any]:
    def make(arguments: list[Any]) -> Any:
        # A range is small, and what is made of one may be endless.
        if arguments and not isinstance(arguments[0], list | tuple | dict | set | frozenset):
            raise ScalarError(f"a {cls.__name__} is made of a list")
        if arguments and cls is not collections.deque and isinstance(arguments[0], list):
            of_pairs = cls is collections.OrderedDict
            if any_alike([item[0] for item in arguments[0]] if of_pairs else arguments[0]):
                raise ScalarError(TOO_ALIKE)
        return cls(*arguments)

    return make


def _datetime(arguments: list[Any]) -> Any:
    packed = arguments[0]
    if type(packed) is not bytes or len(packed) != 10:
        raise ScalarError("a datetime is made of 10 bytes")
    zone = arguments[1] if len(arguments) > 1 else None
    year = packed[0] * 256 + packed[1]
    micro = int.from_bytes(packed[7:10], "big")
    fold, month = packed[2] >> 7, packed[2] & 0x7F
    return datetime.datetime(
        year, month, packed[3], packed[4], packed[5], packed[6], micro, zone, fold=fold
    )


def _date(arguments: list[Any]) -> Any:
    packed = arguments[0]
    if type(packed) is not bytes or len(packed) != 4:
        raise ScalarError("a date is made of 4 bytes")
    return datetime.date(packed[0] * 256 + packed[1], packed[2], packed[3])


def _time(arguments: list[Any]) -> Any:
    packed = arguments[0]
    if type(packed) is not bytes or len(packed) != 6:
        raise ScalarError("a time is made of 6 bytes")
    zone = arguments[1] if len(arguments) > 1 else None
    micro = int.from_bytes(packed[3:6], "big")
    fold, hour = packed[0] >> 7, packed[0] & 0x7F
    return datetime.time(hour, packed[1], packed[2], micro, zone, fold=fold)


def _timezone(arguments: list[Any]) -> Any:
    zone = datetime.timezone(*arguments)
    return datetime.UTC if zone == datetime.UTC and len(arguments) == 1 else zone


def _fraction(arguments: list[Any]) -> Any:
    if not all(type(a) is int or (type(a) is str and len(a) < 4000 and "e" not in a.lower())
               for a in arguments):  # fmt: skip
        raise ScalarError("a fraction is made of integers")
    return fractions.Fraction(*arguments)


_CALLS: dict[str, Callable[[list[Any]], Any]] = {
    "pathlib.PosixPath": _path(pathlib.Path),
    "pathlib.Path": _path(pathlib.Path),
    "pathlib.WindowsPath": _path(pathlib.Path),
    "pathlib.PurePath": _path(pathlib.PurePath),
    "pathlib.PurePosixPath": _path(pathlib.PurePosixPath),
    "pathlib.PureWindowsPath": _path(pathlib.PureWindowsPath),
    "builtins.frozenset": _collection(frozenset),
    "builtins.set": _collection(set),
    "builtins.range": lambda a: range(*a),
    "builtins.slice": lambda a: slice(*a),
    "builtins.complex": lambda a: complex(*a),
    "builtins.bytearray": lambda a: bytes(*a[:1]) if type(a[0]) is bytes else a[0].encode("latin1"),
    "collections.OrderedDict": _collection(collections.OrderedDict),
    "collections.deque": _collection(collections.deque),
    "collections.Counter": _collection(collections.Counter),
    "datetime.date": _date,
    "datetime.datetime": _datetime,
    "datetime.time": _time,
    "datetime.timedelta": lambda a: datetime.timedelta(*a),
    "datetime.timezone": _timezone,
    "decimal.Decimal": lambda a: decimal.Decimal(*a),
    "fractions.Fraction": _fraction,
    "uuid.UUID": lambda a: uuid.UUID(*a),
}


def decode_legacy(node: Node, reading: Reading) -> Any:
    """Return the value of a node that PyYAML wrote; NotImplemented if its tag is not known."""
    tag: str = node.tag
    if tag == "tag:yaml.org,2002:timestamp" and type(node) is ScalarNode:
        value = resolve_plain(node.value, modern=False)
        return reading.expected(node, "a date or a time") if type(value) is str else value
    if tag in ("tag:yaml.org,2002:omap", "tag:yaml.org,2002:pairs"):
        return _decode_pairs(node, reading)
    if not tag.startswith(_PYTHON):
        return NotImplemented
    kind, _, name = tag[len(_PYTHON) :].partition(":")
    name = name.replace("pathlib._local.", "pathlib.")
    try:
        if kind == "complex" and type(node) is ScalarNode:
            return complex(node.value)
        if kind == "bytes" and type(node) is ScalarNode:
            return undeclared.decode(
                ScalarNode("tag:yaml.org,2002:binary", node.value, node.start_mark, node.end_mark),
                reading,
            )
        if kind == "name":
            return _named(name)
        if kind in ("object", "object/apply", "object/new"):
            return _decode_object(name, node, reading)
    except (
        ScalarError,
        TypeError,
        ValueError,
        OverflowError,
        ArithmeticError,
        IndexError,
        AttributeError,
        KeyError,
    ) as error:
        return reading.error(node, f"damaged {tag[len(_PYTHON) :]}: {shorten(str(error), 120)}")
    return NotImplemented


def _named(name: str) -> Any:
    return NAMES.get(name, NotImplemented)


def _decode_object(name: str, node: Node, reading: Reading) -> Any:
    if name == "uuid.UUID" and type(node) is MappingNode:
        state = undeclared.decode_untagged(node, reading)
        return uuid.UUID(int=state["int"])
    blob = decode_blob(name, node, reading)
    if blob is not NotImplemented:
        return blob
    make = _CALLS.get(name)
    if make is None:
        return NotImplemented
    before = len(reading.errors)
    arguments = _arguments(node, reading)
    return None if len(reading.errors) > before else make(arguments)


def _arguments(node: Node, reading: Reading) -> list[Any]:
    if type(node) is SequenceNode:
        return undeclared.decode_untagged(node, reading)
    if type(node) is MappingNode:
        parts = undeclared.decode_untagged(node, reading)
        if parts.get("kwds"):
            raise ScalarError("arguments by name are not read")
        if "listitems" in parts:
            return [parts["listitems"], *parts.get("args", [])[1:]]
        if "dictitems" in parts:
            return [parts["dictitems"]]
        if "state" in parts and "args" not in parts:
            return [parts["state"]]
        return list(parts.get("args", []))
    return []


def _decode_pairs(node: Node, reading: Reading) -> Any:
    if type(node) is not SequenceNode:
        return reading.expected(node, "a sequence of pairs")
    pairs = undeclared.decode_untagged(node, reading)
    if not all(type(pair) is dict and len(pair) == 1 for pair in pairs):
        return reading.error(node, "expected a sequence of mappings with one key each")
    return [next(iter(pair.items())) for pair in pairs]
