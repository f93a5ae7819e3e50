"""The tags that PyYAML writes for Python objects, read as data by a fixed table.

`yaml.dump`, which dcargs and tyro use, describes an object as `copyreg` does: a function to call,
its arguments, and a state. Nothing is called here but the functions in this table, each of which
makes a plain value of plain values. Other tags are refused.
"""

import collections
import datetime
import decimal
import fractions
import pathlib
import sys
import uuid
from collections.abc import Callable
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ._collections import check_hashes
from ._legacy_arrays import load_blob, named
from ._problems import Problem, expected
from ._scalars import ScalarError, resolve_plain, shorten
from ._schema import Context, load_untagged
from ._yaml import pyyaml_mapping

_PYTHON = "tag:yaml.org,2002:python/"
_DAMAGES = (ArithmeticError, AttributeError, LookupError, SyntaxError, TypeError, ValueError)


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
            check_hashes([item[0] for item in arguments[0]] if of_pairs else arguments[0])
        return cls(*arguments)

    return make


def _packed(cls: Any) -> Callable[[list[Any]], Any]:
    def make(arguments: list[Any]) -> Any:
        if not arguments or type(arguments[0]) is not bytes:
            raise ScalarError(f"a {cls.__name__} is made of bytes")
        # The class takes its own bytes unseen; replace looks at each part.
        return cls(*arguments).replace()

    return make


def _timezone(arguments: list[Any]) -> Any:
    zone = datetime.timezone(*arguments)
    return datetime.UTC if zone == datetime.UTC and len(arguments) == 1 else zone


def _fraction(arguments: list[Any]) -> Any:
    if not all(type(a) is int or (type(a) is str and len(a) < 4000 and "e" not in a.lower())
               for a in arguments):  # fmt: skip
        raise ScalarError("a fraction is made of integers")
    return fractions.Fraction(*arguments)


_PATHS = ("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath")
_CALLS: dict[str, Callable[[list[Any]], Any]] = {
    **dict.fromkeys(_PATHS, _path(pathlib.Path)),
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
    "datetime.date": _packed(datetime.date),
    "datetime.datetime": _packed(datetime.datetime),
    "datetime.time": _packed(datetime.time),
    "datetime.timedelta": lambda a: datetime.timedelta(*a),
    "datetime.timezone": _timezone,
    "decimal.Decimal": lambda a: decimal.Decimal(*a),
    "fractions.Fraction": _fraction,
    "uuid.UUID": lambda a: uuid.UUID(*a),
}


def load_legacy(node: Node, context: Context) -> Any:
    """Return the value of a node that PyYAML wrote; NotImplemented if its tag is not known."""
    tag: str = node.tag
    if tag == "!missing":
        return _missing()
    if tag == "tag:yaml.org,2002:timestamp" and type(node) is ScalarNode:
        value = resolve_plain(node.value, modern=False)
        return expected("a date or a time", node) if type(value) is str else value
    if tag in ("tag:yaml.org,2002:omap", "tag:yaml.org,2002:pairs"):
        return _load_pairs(node, context)
    if not tag.startswith(_PYTHON):
        return NotImplemented
    kind, _, name = tag[len(_PYTHON) :].partition(":")
    name = name.replace("pathlib._local.", "pathlib.")
    try:
        if kind == "complex" and type(node) is ScalarNode:
            return complex(node.value)
        if kind == "bytes" and type(node) is ScalarNode:
            return context.schemas.of(bytes).loader(node, context)
        if kind == "name":
            return named(name)
        if kind in ("object", "object/apply", "object/new"):
            return _load_object(name, node, context)
    except _DAMAGES as error:
        raise Problem(f"damaged {tag[len(_PYTHON) :]}: {shorten(str(error), 120)}", node) from None
    return NotImplemented


def _load_object(name: str, node: Node, context: Context) -> Any:
    if name == "uuid.UUID" and type(node) is MappingNode:
        state = load_untagged(node, context)
        return uuid.UUID(int=state["int"])
    blob = load_blob(name, node, context)
    if blob is not NotImplemented:
        return blob
    if name == "collections.defaultdict":
        return context.schemas.own(dict).loader(pyyaml_mapping(node), context)
    make = _CALLS.get(name)
    if make is None:
        return NotImplemented
    return make(_arguments(node, context))


def _arguments(node: Node, context: Context) -> list[Any]:
    if type(node) is SequenceNode:
        return load_untagged(node, context)
    if type(node) is MappingNode:
        parts = load_untagged(node, context)
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


def _load_pairs(node: Node, context: Context) -> Any:
    if type(node) is not SequenceNode:
        expected("a sequence of pairs", node)
    pairs = load_untagged(node, context)
    if not all(type(pair) is dict and len(pair) == 1 for pair in pairs):
        raise Problem("expected a sequence of mappings with one key each", node)
    return [next(iter(pair.items())) for pair in pairs]


def _missing() -> Any:
    """Return what tyro or dcargs put where the command line must give a value."""
    dcargs = sys.modules.get("dcargs")
    if dcargs is not None:
        return dcargs.MISSING
    import tyro

    return tyro.MISSING
