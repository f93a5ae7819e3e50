"""The note and the tags of an experiment: `notes.yaml`, which users also edit by hand."""

import pathlib
from typing import Any, TypedDict

from yaml.nodes import MappingNode, Node, ScalarNode

from .._errors import MetadataError
from ..storage import Directory
from ._compare import difference
from ._files import path_of, read_bytes, replace
from ._problems import Problem, explain
from ._registry import SCHEMAS
from ._schema import Context
from ._yaml import parse, render


class Notes(TypedDict, total=False):
    """The keys of `notes.yaml` that are read; the user's other keys are kept."""

    note: str | None
    tags: list[str] | str | None


def annotate(data_dir: pathlib.Path, note: Any, tags: Any) -> pathlib.Path | None:
    """Replace the note, add tags, and return the file's path; None changes nothing.

    A file in which nothing would be left is removed, and None is returned.
    """
    path, directory = path_of(data_dir, "notes"), Directory(data_dir)
    _check(note, tags)
    try:
        data = parse(read_bytes(directory, path.name), str(path)).root
    except FileNotFoundError:
        data = MappingNode("", [])
    except NotADirectoryError:
        directory.make()  # Its error names the file that is in the way.
        raise
    try:
        root = _with(data, note, tags)
        if not root.value:
            directory.remove(path.name)
            return None
        data = render(root, "")
    except Problem as problem:
        raise MetadataError(explain(problem.parts, str(path))) from None
    if difference(root, parse(data, str(path)).root) is not None:
        raise MetadataError(f"{path}: would not come back equal, so it is not written")
    replace(path, data)
    return path


def _check(note: Any, tags: Any) -> None:
    """Raise unless the note is a text, and the tags are texts."""
    lines: list[str] = []
    if not isinstance(note, str | None):
        lines.append(f"note: expected a str, got {note!r}")
    if isinstance(tags, str | bytes):
        lines.append(f"tags: expected a sequence of str, got {tags!r}; write [{tags!r}]")
    else:
        lines += [
            f"tags: expected a sequence of str, got {tag!r} in it"
            for tag in tags or ()
            if not isinstance(tag, str) or not tag.strip()
        ]
    if lines:
        raise MetadataError("\n".join(lines))


def _with(root: Node, note: str | None, tags: Any) -> Node:
    """Return the mapping of a file with another note and more tags."""
    context = Context(SCHEMAS)
    old: Notes = SCHEMAS.of(Notes).load(root, context)
    pairs = list(root.value)

    def put(key: str, value: Any) -> None:
        at = next((i for i, (k, _) in enumerate(pairs) if k.value == key), len(pairs))
        node = SCHEMAS.of(type(value)).dump(value, context)
        pairs[at : at + 1] = [(ScalarNode("", key), node)] if value else []

    if note is not None:
        put("note", note)
    if tags is not None:
        known = old.get("tags") or []
        known = known.split(",") if isinstance(known, str) else known
        put("tags", sorted({tag.strip() for tag in (*known, *tags)} - {""}))
    return MappingNode("", pairs)
