"""Metadata on disk: one file per name, replaced atomically, and only after a check."""

import enum
import errno
import pathlib
from collections.abc import Iterator
from typing import Any, Union

from yaml.nodes import Node

from fifteen._gc import gc_paused

from .. import _console
from .._errors import MetadataError, MetadataNotFoundError, UnsafePathError
from ..storage import Directory
from ._classes import class_named
from ._compare import difference
from ._fields import class_tag, kind_of_class
from ._problems import MAX_SHOWN, Problem, explain
from ._registry import SCHEMAS
from ._scalars import shorten
from ._schema import ANY, OPEN, Context, Schema, type_name
from ._yaml import check_size, parse, render

SUFFIX = ".yaml"
MAX_VERIFIED_BYTES = 2**20


PLAIN: Any = enum.Enum("PlainData", ["PLAIN"]).PLAIN
"""Stands for no type: a file is read as plain data."""


def write(data_dir: pathlib.Path, name: str, object: Any) -> pathlib.Path:
    """Write an object to `{name}.yaml`, replacing an old file; return the path.

    Up to 1 MiB, the bytes are first read back and compared. If a part of the object would not come
    back equal, a MetadataError names it, and the old file is kept.
    """
    path = path_of(data_dir, name)
    replace(path, dumps(object, f"metadata {name!r}"))
    return path


def replace(path: pathlib.Path, data: bytes) -> None:
    directory = Directory(path.parent)
    directory.make()
    with directory.replace(path.name) as file:
        file.write(data)


def read(data_dir: pathlib.Path, name: str, expected_type: Any = PLAIN) -> Any:
    """Read `{name}.yaml` as an object of a type, or of one of a tuple of types.

    Without a type, plain data is read. A MetadataError lists all problems of the file.
    """
    path = path_of(data_dir, name)
    try:
        data = read_bytes(Directory(path.parent), path.name)
    except (FileNotFoundError, NotADirectoryError):
        known = names(data_dir)
        listed = ", ".join(known[:MAX_SHOWN]) + (", ..." if len(known) > MAX_SHOWN else "")
        raise MetadataNotFoundError(
            f"{path}: no metadata {name!r}; known: {listed or 'none'}"
        ) from None
    value, context = loads(data, expected_type, str(path))
    if context.warnings:
        _console.warn(explain(context.warnings, str(path)))
    return value


def path_of(data_dir: pathlib.Path, name: str) -> pathlib.Path:
    """Return the path for a name, or raise UnsafePathError."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass what they like
        raise UnsafePathError(f"name {name!r}: expected a str, got a {type_name(type(name))}")
    return data_dir / Directory(data_dir).checked_name(name, SUFFIX)


def names(data_dir: pathlib.Path) -> list[str]:
    """Return the names of all metadata, including sub-folders, sorted."""
    return sorted(_names_in(Directory(data_dir), ""))


def _names_in(directory: Directory, folder: str) -> Iterator[str]:
    for entry in directory.entries():
        if entry.name.startswith("."):
            continue
        if entry.kind != "directory":
            if entry.name.endswith(SUFFIX):
                yield folder + entry.name.removesuffix(SUFFIX)
        elif not entry.is_link:
            yield from _names_in(directory / entry.name, f"{folder}{entry.name}/")


def read_bytes(directory: Directory, name: str) -> bytes:
    """Return the bytes of a file, or raise OSError, or MetadataError if they are too many."""
    path = f"{directory}/{name}"
    try:
        file = directory.open(name)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EINVAL):
            raise
        raise MetadataError(f"{path}: not a regular file, so it cannot be metadata") from None
    with file:
        check_size(file.size, path)
        return file.read()


@gc_paused()
def dumps(object: Any, where: str) -> bytes:
    """Return the file for an object, or raise MetadataError."""
    cls: Any = type(object)
    schema, hint = OPEN, ""
    if cls.__module__ != "builtins" and (kind_of_class(cls) or isinstance(object, enum.Enum)):
        schema = SCHEMAS.of(cls)
        hint = schema.tag or class_tag(cls, [cls])
    context = Context(SCHEMAS)
    try:
        root = schema.dump(object, context)
        data = render(root, hint)
    except Problem as problem:
        raise MetadataError(explain(problem.parts, where, type_name(cls))) from None
    except RecursionError:
        raise MetadataError(
            f"{where}: {type_name(cls)}: it contains itself, or is nested too deeply"
        ) from None
    check_size(len(data), where, "; use save_checkpoint")
    if len(data) <= MAX_VERIFIED_BYTES:
        _verify(root, data, schema, context, where)
    return data


def _verify(root: Node, data: bytes, schema: Schema, context: Context, where: str) -> None:
    """Read the bytes before they are written; raise if the value differs."""
    try:
        document = parse(data, where)
        value = schema.load(document.root, Context(SCHEMAS, classes=context.classes))
        path = difference(root, schema.dump(value, Context(SCHEMAS)))
    except MetadataError as error:
        raise MetadataError(f"{error} (what would be written cannot be read back)") from None
    except Problem as problem:
        message = explain(problem.parts, where)
        raise MetadataError(
            f"{message}\n{where}: so it would not come back equal, and is not written"
        ) from None
    if path is not None:
        whole = f"{where}: {path.lstrip('.')}" if path else where
        raise MetadataError(f"{whole}: would not come back equal, so it is not written")


@gc_paused()
def loads(data: bytes, expected_type: Any, where: str) -> tuple[Any, Context]:
    """Return the value of a file's bytes, and its context with the warnings."""
    document = parse(data, where)
    root = document.root
    for kind in expected_type if isinstance(expected_type, tuple) else [expected_type]:
        if type(kind).__hash__ is None or kind_of_class(type(kind)):
            text = f"{shorten(repr(kind))} is an object, not a type"
            raise MetadataError(f"{text}; pass a type, such as {type_name(type(kind))}")
    if isinstance(expected_type, tuple):
        expected_type = Union[expected_type]  # noqa: UP007  # known at run time only
    is_plain = expected_type is PLAIN
    schema = ANY if is_plain else SCHEMAS.of(expected_type)
    context = Context(SCHEMAS, document.modern, document.pyyaml, bare=is_plain)
    try:
        # No field declares the outermost object; the first line names its class.
        if document.hint and not root.tag:
            root.tag = document.hint
            tags = {m.tag for m in (schema.members or [schema])}
            if not is_plain and root.tag not in tags and not class_named(root, schema.classes()):
                root.tag = ""
        return schema.load(root, context), context
    except Problem as problem:
        raise MetadataError(explain(problem.parts, where)) from None
    except RecursionError:
        raise MetadataError(f"{where}: its type is nested too deeply") from None
