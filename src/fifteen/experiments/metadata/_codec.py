"""The pair of functions that write and read values of one type, and where it is looked up.

A codec is made once for a type expression. Its functions are closures over all that is known
beforehand, so that for each value hardly more than its own text is left to look at.
"""

import dataclasses
import functools
import threading
import types
import typing
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin

from yaml.nodes import Node

from .._errors import MetadataError
from ._problems import Reading, Refusal
from ._tree import Tree
from ._types import UNSET, bind, strip


class Writing:
    """The state of writing one object.

    Attributes:
        classes: the classes that its tags name.
        namesakes: names that several of its classes have; these are told by their modules too.
    """

    __slots__ = ("classes", "namesakes")

    def __init__(self) -> None:
        self.classes: dict[str, type] = {}
        self.namesakes: set[str] = set()


@dataclasses.dataclass(eq=False)
class Codec:
    """How values of one type are written and read.

    Attributes:
        name: the type, for messages.
        kinds: what an untagged node of it looks like: null, bool, int, float, str, date,
            datetime, seq, map.
        accepts: tells whether a value is of the type itself, whatever it holds.
        encode: returns the tree of a value, or raises `Refusal`.
        decode: returns the value of an untagged node, or records an error.
        lenient: what else a node may look like where no other type is meant.
        tags: tags that say that a node is meant for this type.
        special: reads a node with a tag that `tags` cannot list; NotImplemented if it is none.
        tagged: like `encode`, with a tag that tells the type where others are possible.
        adopt: returns the value of the type that equals a foreign one, or UNSET.
        owner: whether an untagged node of its kinds is meant for it, and not for the others.
        members: of a union, its alternatives.
        base: the class whose family a tag may name, or None.
    """

    name: str
    kinds: frozenset[str]
    accepts: Callable[[Any], bool]
    encode: Callable[[Any, Writing], Tree]
    decode: Callable[[Node, Reading], Any]
    lenient: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    special: Callable[[Node, Reading], Any] | None = None
    tagged: Callable[[Any, Writing], Tree] | None = None
    adopt: Callable[[Any], Any] | None = None
    owner: bool = False
    members: "tuple[Codec, ...]" = ()
    base: type | None = None

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the value of any node, or record an error."""
        if not node.tag:
            return self.decode(node, reading)
        return read_tagged(self, node, reading)


CLASS_TAGS = ("!dataclass:", "!namedtuple:", "!enum:")
_OFF_TYPE_TAGS = ("tag:yaml.org,2002:binary", "tag:yaml.org,2002:python/tuple")


def _says_its_type(tag: str) -> bool:
    """Tell whether a tag is one that we, or PyYAML, write where a value is not as declared."""
    return tag in _OFF_TYPE_TAGS or (tag.startswith("!") and not tag.startswith(CLASS_TAGS))


class _Undeclared:
    """How values are written and read by their own class, tag and text alone.

    `_any` fills it in; the codecs of declared types fall back on it, and it on them.
    """

    decode: Callable[[Node, Reading], Any]
    """Reads any node."""
    decode_untagged: Callable[[Node, Reading], Any]
    """Reads any node as if it had no tag."""
    encode: Callable[[Any, Writing], Tree]
    """Writes any value so that its tags tell its classes."""
    encode_off_type: Callable[[Any, Writing, Codec], Tree]
    """Writes a value that is not what its field declares, so that it comes back all the same."""


undeclared = _Undeclared()


def read_tagged(codec: Codec, node: Node, reading: Reading) -> Any:
    """Return the value of a node with a tag, where `codec`'s type is declared."""
    if node.tag in codec.tags:
        return without_tag(node, reading, codec.decode)
    if codec.special:
        value = codec.special(node, reading)
        if value is not NotImplemented:
            return value
    before = len(reading.errors)
    value = undeclared.decode(node, reading)
    if len(reading.errors) > before or codec.accepts(value):
        return value
    if _says_its_type(node.tag):
        return value
    adopted = codec.adopt(value) if codec.adopt else UNSET
    if adopted is not UNSET:
        return adopted
    return reading.expected(node, codec.name)


def without_tag(node: Node, reading: Reading, decode: Callable[[Node, Reading], Any]) -> Any:
    """Read a node as if its tag were not there."""
    tag = node.tag
    node.tag = ""
    try:
        return decode(node, reading)
    finally:
        node.tag = tag


Maker = Callable[[Any, Any, tuple[Any, ...]], Codec | None]
"""Makes the codec of a type expression, its origin and its arguments, or has none for it."""

makers: list[Maker] = []
"""All makers, in the order in which they are asked; `_makers` lists them."""

_LOCK = threading.RLock()


class _Key:
    """A type expression as a key that keeps `A | B` from `B | A`, and Literal[1] from [True]."""

    __slots__ = ("expression", "hash", "text")

    def __init__(self, expression: Any) -> None:
        self.expression = expression
        self.text = repr(expression)
        try:
            self.hash = hash(expression)
        except TypeError:
            # A Literal or the metadata of an Annotated may hold what has no hash.
            self.hash = hash(self.text)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Key)
            and self.text == other.text
            and bool(self.expression == other.expression)
        )


_UNDER_WAY: dict[_Key, list[Codec]] = {}
"""The codecs being made, and what stands for each until it is there."""


def codec_of(expression: Any, owner: Any = None) -> Codec:
    """Return the codec of any type expression.

    Args:
        expression: a class, a generic with its arguments, a union, Literal, Any.
        owner: the class that Self stands for.

    Raises:
        MetadataError: an annotation in it cannot be resolved.
    """
    if isinstance(expression, str | typing.ForwardRef):
        raise MetadataError(f"{expression!r} stands for a type by its name; give the type itself")
    key = _Key(strip(bind(strip(expression), {}, owner)))
    with _LOCK:
        promises = _UNDER_WAY.get(key)
        if promises is None:
            return _make(key)
        promises.append(_promise(type_name(key.expression)))
        return promises[-1]


@functools.lru_cache(maxsize=4096)
def _make(key: _Key) -> Codec:
    promises = _UNDER_WAY[key] = []
    expression = key.expression
    try:
        origin = get_origin(expression) or expression
        arguments = get_args(expression)
        codec = next(c for maker in makers if (c := maker(expression, origin, arguments)))
    except BaseException:
        # What was made meanwhile may hold a promise that nobody will keep.
        _make.cache_clear()
        raise
    finally:
        del _UNDER_WAY[key]
    for promise in promises:
        promise.__dict__.update(codec.__dict__)
    return codec


def _promise(name: str) -> Codec:
    """Return what stands for a codec until it is made; a type that holds itself needs one."""

    def too_early(*_: Any) -> Any:
        raise RuntimeError(f"the codec of {name} is used before it is made")

    return Codec(name, frozenset(), too_early, too_early, too_early)


def type_name(expression: Any) -> str:
    """Return a type as a person writes it."""
    if expression is None or expression is types.NoneType:
        return "None"
    origin = get_origin(expression)
    if origin is None and isinstance(expression, type):
        return expression.__qualname__.rpartition("<locals>.")[2]
    arguments = get_args(expression)
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(argument) for argument in arguments)
    if origin is typing.Literal:
        return f"Literal[{', '.join(repr(a) for a in arguments)}]"
    if origin is not None and arguments and not isinstance(arguments[0], list):
        inner = ", ".join("..." if a is Ellipsis else type_name(a) for a in arguments)
        return f"{type_name(origin)}[{inner}]"
    return str(expression).replace("typing.", "")


def refuse_type(value: Any, wanted: str) -> Refusal:
    """Refuse a value that is not what its field declares and has no text of its own."""
    return Refusal.because(
        f"a {type_name(type(value))} where {wanted} is declared: a reader could not know its "
        "class; declare it"
    )
