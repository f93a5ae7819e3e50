"""What is to be written, as a tree of texts, sequences and mappings; and its YAML.

Our own emitter, because PyYAML's builds an object for each event and examines each character in
Python or through one: for a config it takes several times as long as all the rest of writing.
"""

from typing import TypeAlias

from ._scalars import literal_block, quote

_FLOW_WIDTH = 80


class Text:
    """A string, which may be laid out over several lines."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value


class Sequence:
    """A sequence, with its tag or an empty string."""

    __slots__ = ("items", "tag")

    def __init__(self, items: "list[Tree]", tag: str = "") -> None:
        self.items = items
        self.tag = tag


class Mapping:
    """A mapping in order, with its tag or an empty string."""

    __slots__ = ("pairs", "tag")

    def __init__(self, pairs: "list[tuple[Tree, Tree]]", tag: str = "") -> None:
        self.pairs = pairs
        self.tag = tag


Tree: TypeAlias = str | Text | Sequence | Mapping
"""A str is a scalar already in its final form, its tag included."""


def render(tree: Tree) -> str:
    """Return the lines of a document, without its end marker."""
    lines: list[str] = []
    _render_value("", tree, "", lines)
    return "\n".join(lines) + "\n"


def measure(tree: Tree) -> tuple[int, int]:
    """Return how deep the values of a tree lie in one another, and how many there are."""
    deepest, count = 0, 1
    stack: list[tuple[Tree, int]] = [(tree, 1)]
    while stack:
        node, level = stack.pop()
        deepest = max(deepest, level)
        if type(node) is Sequence:
            count += len(node.items)
            stack.extend((item, level + 1) for item in node.items if type(item) is not str)
        elif type(node) is Mapping:
            count += 2 * len(node.pairs)
            for pair in node.pairs:
                stack.extend((part, level + 1) for part in pair if type(part) is not str)
    return deepest, count


def _render_value(start: str, tree: Tree, indent: str, lines: list[str]) -> None:
    """Append a value: `start` is what stands before it on its first line ("key:", "-" or "")."""
    if type(tree) is str:
        lines.append(f"{start} {tree}" if start else tree)
        return
    if type(tree) is Text:
        _render_text(start, tree.value, indent, lines)
        return
    flow = as_flow(tree)
    if flow is not None:
        lines.append(f"{start} {flow}" if start else flow)
        return
    tag = tree.tag  # pyright: ignore[reportAttributeAccessIssue]  # no str and no Text
    if start or tag:
        lines.append(f"{start} {tag}".rstrip() if start else tag)
    if start.endswith(":"):
        # In a sequence or a document the children stand at the indent that the caller gives.
        indent += "  "
    if type(tree) is Sequence:
        for item in tree.items:
            _render_nested(indent + "-", item, indent + "  ", lines)
        return
    for key, value in tree.pairs:  # pyright: ignore[reportAttributeAccessIssue]
        if type(key) is str and len(key) < 500:
            if type(value) is str:
                lines.append(f"{indent}{key}: {value}")
            else:
                _render_value(f"{indent}{key}:", value, indent, lines)
        else:
            _render_nested(indent + "?", key, indent + "  ", lines)
            _render_nested(indent + ":", value, indent + "  ", lines)


def _render_nested(start: str, tree: Tree, indent: str, lines: list[str]) -> None:
    """Append an item, its first line joined to its dash where it is a collection."""
    before = len(lines)
    if type(tree) is Sequence or type(tree) is Mapping:
        if not tree.tag and as_flow(tree) is None:
            _render_value("", tree, indent, lines)
            lines[before] = start + " " + lines[before][len(indent) :]
            return
        flow = as_flow(tree)
        if flow is None:
            lines.append(f"{start} {tree.tag}")
            untagged = Sequence(tree.items) if type(tree) is Sequence else Mapping(tree.pairs)  # pyright: ignore[reportAttributeAccessIssue]
            _render_value("", untagged, indent, lines)
            return
        lines.append(f"{start} {flow}")
        return
    if type(tree) is Text:
        _render_text(start, tree.value, indent[:-2], lines)
        return
    lines.append(f"{start} {tree}")


def _render_text(start: str, value: str, indent: str, lines: list[str]) -> None:
    header = literal_block(value)
    if header is None:
        text = quote(value)
        lines.append(f"{start} {text}" if start else text)
        return
    lines.append(f"{start} {header}" if start else header)
    content = value[:-1] if header != "|-" else value
    lines.extend(f"{indent}  {line}" if line else "" for line in content.split("\n"))


def as_flow(tree: Tree) -> str | None:
    """Return a collection on one line (`[1, 2]`), or None where that would not be readable."""
    if type(tree) is Mapping:
        empty = not tree.pairs
        return (f"{tree.tag} {{}}" if tree.tag else "{}") if empty else None
    if type(tree) is not Sequence:
        return None
    items: list[str] = []
    width = 0
    for item in tree.items:
        text = item if type(item) is str else as_flow(item)
        if text is None:
            return None
        width += len(text) + 2
        if width > _FLOW_WIDTH:
            return None
        items.append(text)
    line = "[" + ", ".join(items) + "]"
    return f"{tree.tag} {line}" if tree.tag else line
