"""The tags that PyYAML writes for Python objects, read as data by a fixed table.

`yaml.dump`, which dcargs and tyro use, describes an object as `copyreg` does: a function to call,
its arguments, and a state. Only the functions in this table are called; each makes a plain
value of plain values. Other tags are refused.
"""

import collections
import datetime
import decimal
import importlib
import pathlib
import sys
import uuid
from collections.abc import Callable
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ._collections import check_hashes
from ._legacy_arrays import load_blob, named
from ._problems import Problem, expected
from ._scalars import parse_fraction, resolve_plain, shorten
from ._schema import YAML, Context, load_untagged
from ._yaml import pyyaml_mapping

_PYTHON = f"{YAML}python/"
_DAMAGES = (ArithmeticError, AttributeError, LookupError, SyntaxError, TypeError, ValueError)


def _packed(cls: Any) -> Callable[..., Any]:
    # The class does not validate its own bytes; `replace` does.
    return lambda *arguments: cls(*arguments).replace()


def _bytearray(data: Any, *_: Any) -> bytearray:
    return bytearray(data if isinstance(data, bytes) else data.encode("latin1"))


_PATHS = ("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath")
_PURE_PATHS = (pathlib.PurePath, pathlib.PurePosixPath, pathlib.PureWindowsPath)
_TIMES = (datetime.date, datetime.datetime, datetime.time)
_SETS = (set, frozenset, collections.OrderedDict, collections.Counter)
# Not range: a small one could become a collection of any size.
_ITEMS = (list, tuple, dict, set, frozenset)
_CALLS: dict[str, tuple[Callable[..., Any], tuple[type, ...]]] = {
    # Each function, and the types that its arguments may have.
    **dict.fromkeys(_PATHS, (pathlib.Path, (str,))),
    **{f"pathlib.{cls.__name__}": (cls, (str,)) for cls in _PURE_PATHS},
    **{f"datetime.{cls.__name__}": (_packed(cls), (bytes, datetime.tzinfo)) for cls in _TIMES},
    **{f"{cls.__module__}.{cls.__name__}": (cls, _ITEMS) for cls in _SETS},
    "collections.deque": (collections.deque, (*_ITEMS, int, type(None))),
    "builtins.range": (range, (int,)),
    "builtins.slice": (slice, (object,)),
    "builtins.complex": (complex, (int, float, str)),
    "builtins.bytearray": (_bytearray, (bytes, str)),
    "datetime.timedelta": (datetime.timedelta, (int,)),
    "datetime.timezone": (datetime.timezone, (datetime.timedelta, str)),
    "decimal.Decimal": (decimal.Decimal, (str,)),
    "fractions.Fraction": (lambda *parts: parse_fraction("/".join(map(str, parts))), (int, str)),
    "uuid.UUID": (uuid.UUID, (str,)),
}


def load_legacy(node: Node, context: Context) -> Any:
    """Return the value of a node that PyYAML wrote; NotImplemented if its tag is not known."""
    tag: str = node.tag
    if tag == "!missing":
        # What dcargs and tyro write for a required value.
        return sys.modules.get("dcargs", importlib.import_module("tyro")).MISSING
    if tag == f"{YAML}timestamp" and type(node) is ScalarNode:
        value = resolve_plain(node.value, modern=False)
        return expected("a date or a time", node) if type(value) is str else value
    if not tag.startswith(_PYTHON):
        return NotImplemented
    kind, _, name = tag[len(_PYTHON) :].partition(":")
    name = name.replace("pathlib._local.", "pathlib.")
    try:
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
        return context.schemas.own(dict).load_node(pyyaml_mapping(node), context)
    if name not in _CALLS:
        return NotImplemented
    make, types = _CALLS[name]
    arguments = _arguments(node, context)
    if not all(isinstance(argument, types) for argument in arguments):
        raise ValueError(f"its arguments must be of {', '.join(t.__name__ for t in types)}")
    if make in _SETS and arguments and isinstance(arguments[0], list):
        of_pairs = make is collections.OrderedDict
        check_hashes([item[0] for item in arguments[0]] if of_pairs else arguments[0])
    return make(*arguments)


def _arguments(node: Node, context: Context) -> list[Any]:
    parts = load_untagged(node, context)
    if type(node) is not MappingNode:
        return parts if type(node) is SequenceNode else []
    if parts.get("kwds"):
        raise ValueError("arguments by name are not read")
    arguments = parts.get("args", [])
    if "listitems" in parts:
        return [parts["listitems"], *arguments[1:]]
    if "dictitems" in parts:
        return [parts["dictitems"]]
    return [parts["state"]] if "state" in parts and "args" not in parts else list(arguments)
