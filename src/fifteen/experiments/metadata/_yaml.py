"""Bytes to YAML nodes and back, with limits on all sizes.

PyYAML's nodes keep tag, text and position. Nothing is constructed, so no tag can do harm.
"""

import dataclasses
import io
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .._errors import MetadataError
from ._problems import Problem
from ._scalars import is_safe

HEADER = b"# fifteen.experiments metadata"
"""The first line of each file that we write; such a file must end with `END`."""
END = b"\n...\n"
_PYYAML_HEADERS = (b"# dcargs YAML", b"# tyro YAML")

MAX_BYTES = 32 * 2**20
MAX_NODES = 300_000
MAX_DEPTH = 100
_FLOW_WIDTH = 80


@dataclasses.dataclass
class Document:
    """The nodes of a file, and the content of its first line."""

    root: Node
    modern: bool  # We wrote the file.
    pyyaml: bool  # dcargs or tyro wrote it, with PyYAML.
    hint: str  # The tag of the class that was written, or an empty string.


class _Untagged:
    """Leaves implicit tags empty, and counts nodes and levels."""

    _depth = 0
    _count = 0

    def descend_resolver(self, parent: Any, index: Any) -> None:
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_NODES:
            what = f"{MAX_DEPTH} levels" if self._depth > MAX_DEPTH else f"{MAX_NODES:,} values"
            raise Problem(f"more than {what}; use save_checkpoint for what nobody will read")

    def ascend_resolver(self) -> None:
        self._depth -= 1

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""


try:
    from yaml.cyaml import CParser as _Parser  # pyright: ignore[reportAttributeAccessIssue]  # compiled
    from yaml.cyaml import CSafeDumper as _Emitter  # pyright: ignore[reportAttributeAccessIssue]  # compiled
except ImportError:
    from yaml import SafeDumper as _Emitter
    from yaml import SafeLoader as _Parser


def _prepare_tag(self: Any, tag: str) -> str:
    # PyYAML's own emitter asks for the length of a tag even if it does not write the tag.
    return tag and yaml.SafeDumper.prepare_tag(self, tag)


_Loader: Any = type("_Loader", (_Untagged, _Parser), {})
_Dumper: Any = type("_Dumper", (_Untagged, _Emitter), {"prepare_tag": _prepare_tag})


def parse(data: bytes, where: str) -> Document:
    """Return the one document of a file, or raise MetadataError."""
    modern = data.startswith(HEADER)
    _check_bytes(data, modern, where)
    try:
        root: Node | None = _Loader(data).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise MetadataError(f"{where}{position}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise MetadataError(f"{where}: not valid YAML: {text}") from None
    except Problem as error:
        raise MetadataError(f"{where}: {error}") from None
    if root is None:
        raise MetadataError(f"{where}: the file is empty or truncated")
    if b"&" in data:
        _check_aliases(root, where)
    hint = data[len(HEADER) : data.index(b"\n")].decode().strip() if modern else ""
    return Document(root, modern, data.startswith(_PYYAML_HEADERS), hint)


def check_size(size: int, where: str, hint: str = "") -> None:
    """Raise MetadataError if a file of this size is too large for metadata."""
    if size > MAX_BYTES:
        raise MetadataError(
            f"{where}: {size:,} bytes; metadata may have at most {MAX_BYTES:,}{hint}"
        )


def _check_bytes(data: bytes, modern: bool, where: str) -> None:
    check_size(len(data), where)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MetadataError(
            f"{where}:{line}: not UTF-8 at byte {error.start} ({error.reason}); "
            "save the file in that encoding"
        ) from None
    if data.count(b"*") > MAX_NODES and b"&" in data:
        # The parser does not report aliases, so they cannot be counted while parsing.
        raise MetadataError(f"{where}: more than {MAX_NODES:,} aliases")
    ended = data.endswith(b"\n") and data.rstrip(b" \t\r\n").endswith(b"\n...")
    if modern and not ended:
        raise MetadataError(
            f"{where}: the file does not end with a line '...', so part of it is missing; "
            "if only that line was removed, add it again"
        )


def _check_aliases(root: Node, where: str) -> None:
    """Refuse a document that contains itself, or is too large with its aliases expanded."""
    sizes: dict[int, int] = {}

    def size_of(node: Node) -> int:
        key = id(node)
        if key not in sizes:
            sizes[key] = 0  # While its content is counted.
            sizes[key] = 1 + sum(map(size_of, children(node)))
        if not 0 < sizes[key] <= MAX_NODES:
            reason = f"more than {MAX_NODES:,} values if its aliases are expanded"
            if not sizes[key]:
                reason = "a value that contains itself, by an alias"
            mark = node.start_mark
            raise MetadataError(f"{where}:{mark.line + 1}:{mark.column + 1}: {reason}")
        return sizes[key]

    size_of(root)


def children(node: Node) -> list[Node]:
    """Return the nodes directly inside a node, keys before their values."""
    if type(node) is MappingNode:
        return [child for pair in node.value for child in pair]
    return list(node.value) if type(node) is SequenceNode else []


def text_of(node: Node) -> str:
    """Return the tags and texts in a node, as a sort key."""
    if type(node) is ScalarNode:
        return f"{node.tag} {node.value} {node.style}"
    return f"{node.tag} [{' '.join(map(text_of, children(node)))}]"


def pyyaml_parts(node: Node) -> dict[str, Node]:
    """Return the parts of PyYAML's node of a call: its `args`, the `state` that it restores..."""
    if type(node) is SequenceNode:
        return {"args": node}
    return {key.value: part for key, part in node.value if type(key) is ScalarNode}


def pyyaml_mapping(node: Node) -> Node:
    """Return the mapping of attributes or items in PyYAML's node of an object, or the node."""
    if type(node) is MappingNode and "python/object/" in node.tag:
        parts = pyyaml_parts(node)
        return parts.get("dictitems") or parts.get("state") or node
    if type(node) is not SequenceNode:
        return node
    # A call with its arguments: a mapping, a list of pairs, or a default factory.
    inner = node.value[0] if len(node.value) == 1 else node
    pairs = inner.value if type(inner) is SequenceNode else []
    are_pairs = all(type(pair) is SequenceNode and len(pair.value) == 2 for pair in pairs)
    if type(inner) is MappingNode or not are_pairs:
        return inner
    return MappingNode("", [tuple(p.value) for p in pairs], node.start_mark, node.end_mark)


def quoted(text: str) -> ScalarNode:
    """Return the node of a text, quoted if a reader could read it as another type."""
    if is_safe(text):
        return ScalarNode("", text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Problem(
            f"a str with the lone surrogate {text[error.start]!r} at index {error.start}, which "
            "UTF-8 cannot encode; write bytes, or replace it"
        ) from None
    style = "|" if "\n" in text else "'" if text.isprintable() else '"'
    return ScalarNode("", text, style=style)


def render(root: Node, hint: str) -> bytes:
    """Return the bytes of a file, the inverse of `parse`, or raise Problem."""
    _lay_out(root)
    stream = io.StringIO()
    dumper = _Dumper(stream, width=2**30, allow_unicode=True, explicit_end=True)
    dumper.open()
    dumper.serialize(root)
    dumper.close()
    text = stream.getvalue().removesuffix("...\n")
    return HEADER + f"{' ' if hint else ''}{hint}\n{text}".encode().removesuffix(b"\n") + END


def _lay_out(node: Any) -> None:
    """Put each short sequence on one line."""
    parts = children(node)
    for part in parts:
        if type(part) is not ScalarNode:
            _lay_out(part)
    is_short = type(node) is SequenceNode and sum(map(_width, parts)) <= _FLOW_WIDTH
    node.flow_style = is_short or not parts


def _width(node: Any) -> int:
    if type(node) is ScalarNode:
        # PyYAML would quote a time on a shared line.
        is_wide = node.style == "|" or (not node.style and ":" in node.value)
        return _FLOW_WIDTH + 1 if is_wide else len(node.tag) + len(node.value) + 4
    return sum(map(_width, children(node))) if node.flow_style else _FLOW_WIDTH + 1
