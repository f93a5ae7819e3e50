"""Bytes to YAML nodes, without harm: nothing is constructed, and all sizes are bounded.

PyYAML's composer, over libyaml where it is there, makes nodes that keep tag, text and position.
No constructor is involved, so no tag can do anything here.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .._collecting import paused_collection
from .._errors import MetadataError

HEADER = b"# fifteen.experiments metadata"
"""How each file that we write begins; such a file must end with `END`."""
END = b"\n...\n"
_PYYAML_HEADERS = (b"# dcargs YAML", b"# tyro YAML")

MAX_BYTES = 32 * 2**20
MAX_NODES = 300_000
MAX_DEPTH = 100
_LARGE_BYTES = 100_000


@dataclasses.dataclass
class Document:
    """The nodes of a file, and what its first line says.

    Attributes:
        root: the outermost node.
        modern: whether we wrote it.
        hint: the tag of the class that was written, or an empty string.
        pyyaml: whether dcargs or tyro wrote it through PyYAML.
    """

    root: Node
    modern: bool
    hint: str
    pyyaml: bool = False


class _ResolverMixin:
    """Counts nodes and levels as they are composed, and leaves tags that are not written out."""

    _depth = 0
    _count = 0

    def descend_resolver(self, parent: Any, index: Any) -> None:
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_NODES:
            what = f"{MAX_DEPTH} levels" if self._depth > MAX_DEPTH else f"{MAX_NODES:,} values"
            raise _TooMuch(f"more than {what}; metadata is for what a person may read")

    def ascend_resolver(self) -> None:
        self._depth -= 1

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""


class _TooMuch(Exception):
    pass


def _composer() -> Callable[[bytes], Any]:
    try:
        from yaml.cyaml import CParser  # pyright: ignore[reportAttributeAccessIssue]  # compiled

        return cast(Any, type("_Composer", (_ResolverMixin, CParser), {}))
    except ImportError:
        from yaml.composer import Composer
        from yaml.parser import Parser
        from yaml.reader import Reader
        from yaml.scanner import Scanner

        class _Pure(_ResolverMixin, Reader, Scanner, Parser, Composer):
            def __init__(self, stream: bytes) -> None:
                Reader.__init__(self, stream)
                Scanner.__init__(self)
                Parser.__init__(self)
                Composer.__init__(self)

        return _Pure


_Composer = _composer()


def compose(data: bytes, where: str) -> Document:
    """Compose a file's one document.

    Args:
        data: the file.
        where: what to call it in an error.

    Raises:
        MetadataError: it is torn, empty, no UTF-8, no YAML, too large, holds several documents,
            or uses aliases to hold itself or to grow without bound.
    """
    modern = data.startswith(HEADER)
    _check_whole(data, modern, where)
    composer: Any = None
    try:
        composer = _Composer(data)
        with pausing_collection(len(data)):
            root: Node | None = composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise MetadataError(f"{where}{position}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise MetadataError(f"{where}: not valid YAML: {text}") from None
    except _TooMuch as error:
        raise MetadataError(f"{where}: {error}") from None
    finally:
        if hasattr(composer, "dispose"):
            composer.dispose()
    if root is None:
        raise MetadataError(f"{where}: the file holds nothing; it is empty or torn")
    if b"&" in data:
        _check_aliases(root, where)
    hint = data[len(HEADER) : data.index(b"\n")].decode().strip() if modern else ""
    return Document(root, modern, hint, pyyaml=data.startswith(_PYYAML_HEADERS))


def pausing_collection(size: int) -> contextlib.AbstractContextManager[None]:
    """Keep the garbage collector from running while a large file is taken apart."""
    return paused_collection() if size > _LARGE_BYTES else contextlib.nullcontext()


def _check_whole(data: bytes, modern: bool, where: str) -> None:
    if len(data) > MAX_BYTES:
        raise MetadataError(
            f"{where}: {len(data):,} bytes, more than the {MAX_BYTES:,} that metadata may have"
        )
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MetadataError(
            f"{where}:{line}: not UTF-8 at byte {error.start} ({error.reason}); "
            "save the file in that encoding"
        ) from None
    if data.count(b"*") > MAX_NODES and b"&" in data:
        # The composer does not tell of aliases, so they cannot be counted as they come.
        raise MetadataError(f"{where}: more than {MAX_NODES:,} aliases")
    ended = data.endswith(b"\n") and data.rstrip(b" \t\r\n").endswith(b"\n...")
    if modern and not ended:
        raise MetadataError(
            f"{where}: the file does not end with a line '...', so a part of it is missing; "
            "if it was taken away by hand and all else is there, add it"
        )


def _check_aliases(root: Node, where: str) -> None:
    """Refuse a document that holds itself, or that would be too large without aliases."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        key = id(node)
        if done:
            open_nodes.discard(key)
            sizes[key] = 1 + sum(sizes[id(child)] for child in children(node))
            if sizes[key] > MAX_NODES:
                raise MetadataError(
                    f"{where}:{node.start_mark.line + 1}: its aliases stand for more than "
                    f"{MAX_NODES:,} values"
                )
        elif key not in sizes:
            if key in open_nodes:
                raise MetadataError(
                    f"{where}:{node.start_mark.line + 1}:{node.start_mark.column + 1}: "
                    "a value that holds itself, by an alias"
                )
            open_nodes.add(key)
            stack.append((node, True))
            stack.extend((child, False) for child in children(node))


def children(node: Node) -> list[Node]:
    """Return the nodes directly inside a node, keys before their values."""
    if type(node) is MappingNode:
        return [child for pair in node.value for child in pair]
    return list(node.value) if type(node) is SequenceNode else []


def is_plain(node: Node) -> bool:
    """Tell whether a node is a scalar without quotes and without a tag."""
    return type(node) is ScalarNode and not node.style and not node.tag
