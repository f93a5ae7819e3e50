"""Metadata on disk: one file a name, replaced whole, and only by what reads back the same."""

import enum
import os
import pathlib
import stat
from typing import Any

from .. import _directory, _notices
from .._errors import MetadataError, MetadataNotFoundError, UnsafePathError
from ._classes import class_tag, may_be
from ._codec import Codec, Writing, type_name
from ._compose import (
    END,
    HEADER,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    Document,
    compose,
    pausing_collection,
)
from ._makers import OPEN, codec_of
from ._problems import MAX_SHOWN, Reading, Refusal, explain, explain_refusal
from ._same import difference
from ._scalars import ScalarError
from ._tree import measure, render
from ._types import form_kind

SUFFIX = ".yaml"
MAX_VERIFIED_BYTES = 2**20


def write(data_dir: pathlib.Path, name: str, object: Any) -> pathlib.Path:
    """Write an object to `{name}.yaml`, in place of what was there.

    What is written is read back first and compared, up to 1 MiB.

    Args:
        data_dir: the experiment's directory; made if it is not there.
        name: what to call it; may have sub-folders, as `eval/step_100`.
        object: plain data, or an object of a class with fields that hold plain data.

    Returns:
        The file's path.

    Raises:
        MetadataError: a part of the object would not come back equal; the file is as it was.
        UnsafePathError: the name leads out of the directory, or is no name.
    """
    path = path_of(data_dir, name)
    data = dump(object, name)
    _directory.make_directory(path.parent)
    with _directory.atomic_file(path) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
    return path


def read(data_dir: pathlib.Path, name: str, expected_type: Any) -> Any:
    """Read `{name}.yaml` as an object of a type.

    Args:
        data_dir: the experiment's directory.
        name: what it was called when it was written.
        expected_type: any type expression: a dataclass, `dict[str, int]`, `A | B`, `Any`.

    Raises:
        MetadataNotFoundError: there is no such file.
        MetadataError: the file is torn or is not of that type; all that is wrong is listed.
        UnsafePathError: the name leads out of the directory, or is no name.
    """
    path = path_of(data_dir, name)
    try:
        data = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        known = names(data_dir)
        listed = ", ".join(known[:MAX_SHOWN]) + (", ..." if len(known) > MAX_SHOWN else "")
        raise MetadataNotFoundError(
            f"{path}: no metadata {name!r}; there is {listed or 'none at all'}"
        ) from None
    document = compose(data, str(path))
    value, reading = decode(document, expected_type, str(path))
    if reading.unknown:
        message = explain(reading.unknown, document.root, str(path))
        _notices.warn(message, stacklevel=3)
    return value


def path_of(data_dir: pathlib.Path, name: str) -> pathlib.Path:
    """Return the file of a name, whether or not it is there.

    Raises:
        UnsafePathError: the name leads out of the directory, or is no name.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass what they like
        raise UnsafePathError(f"name {name!r}: expected a str, got a {type_name(type(name))}")
    return _directory.inside(data_dir, name, SUFFIX)


def names(data_dir: pathlib.Path) -> list[str]:
    """Return the names under which metadata is there, sub-folders included, sorted."""
    found: list[str] = []
    for root, folders, files in os.walk(data_dir):
        folders[:] = [f for f in folders if not f.startswith(".")]
        base = pathlib.Path(root).relative_to(data_dir)
        found.extend(
            (base / file.removesuffix(SUFFIX)).as_posix()
            for file in files
            if file.endswith(SUFFIX) and not file.startswith(".")
        )
    return sorted(found)


def read_bytes(path: pathlib.Path) -> bytes:
    """Return a file's bytes, unless it is none or too large to be metadata.

    Raises:
        OSError: it cannot be opened.
        MetadataError: it is no file, or too large.
    """
    # A pipe without a writer would keep a plain `open` waiting.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise MetadataError(f"{path}: not a file that metadata could be in")
    with open(descriptor, "rb", buffering=0) as file:
        if status.st_size > MAX_BYTES:
            raise MetadataError(
                f"{path}: {status.st_size:,} bytes, more than the {MAX_BYTES:,} that metadata "
                "may have"
            )
        return file.read()


def dump(object: Any, name: str) -> bytes:
    """Return the file for an object.

    Raises:
        MetadataError: a part of it cannot be written, or would not come back equal.
    """
    where = f"metadata {name!r}"
    kind = type_name(type(object))
    writing = Writing()
    codec, hint = _codec_of_value(object)
    try:
        tree = codec.encode(object, writing)
        if writing.namesakes:
            # The first of several classes of one name was not yet known to be one of several.
            tree = codec.encode(object, writing)
        levels, count = measure(tree)
        # A scalar is a level of its own to the reader, though not to the tree.
        if levels + 1 > MAX_DEPTH:
            raise Refusal.because(f"more than {MAX_DEPTH} levels of values in one another")
        if count > MAX_NODES:
            raise Refusal.because(f"more than {MAX_NODES:,} values; use save_checkpoint")
        text = render(tree)
        header = HEADER.decode() + (f" {hint}" if hint else "")
        data = f"{header}\n{text}".encode()[:-1] + END
    except Refusal as refusal:
        raise MetadataError(explain_refusal(refusal, where, kind)) from None
    except ScalarError as error:
        raise MetadataError(f"{where}: {kind}: {error}") from None
    except RecursionError:
        raise MetadataError(f"{where}: {kind}: it holds itself, or is nested too deep") from None
    if len(data) > MAX_BYTES:
        raise MetadataError(
            f"{where}: {len(data):,} bytes, more than the {MAX_BYTES:,} that metadata may have; "
            "use save_checkpoint"
        )
    if len(data) <= MAX_VERIFIED_BYTES:
        _verify(object, data, codec, writing, where)
    return data


def _codec_of_value(object: Any) -> tuple[Codec, str]:
    """Return the codec for writing an object, and the tag that tells its class to a union."""
    cls: Any = type(object)
    if cls.__module__ != "builtins" and (form_kind(cls) or issubclass(cls, enum.Enum)):
        codec = codec_of(cls)
        tags = sorted(codec.tags) if issubclass(cls, enum.Enum) else [class_tag(cls, [cls])]
        return codec, tags[0]
    return OPEN, ""


def _verify(object: Any, data: bytes, codec: Codec, writing: Writing, where: str) -> None:
    try:
        document = compose(data, where)
    except MetadataError as error:
        raise MetadataError(f"{error} (what would be written cannot be read back)") from None
    reading = Reading(modern=True, classes=writing.classes)
    value = codec.read(document.root, reading)
    if reading.errors:
        message = explain(reading.errors, document.root, where)
        raise MetadataError(f"{message}\n{where}: so it would not come back, and is not written")
    path = difference(object, value)
    if path is not None:
        raise MetadataError(
            f"{where}: {path or type_name(type(object))}: would come back as something else, and "
            "is not written"
        )


def decode(document: Document, expected_type: Any, where: str) -> tuple[Any, Reading]:
    """Return the value of a composed file.

    Raises:
        MetadataError: it is not of the type; all that is wrong is listed.
    """
    codec = codec_of(expected_type)
    reading = Reading(document.modern)
    reading.pyyaml = document.pyyaml
    root = document.root
    # The outermost object has no field that declares it; its class stands in the first line.
    if document.hint and not root.tag and may_be(codec, document.hint):
        root.tag = document.hint
    with pausing_collection(root.end_mark.index):
        value = codec.read(root, reading)
    if reading.errors:
        raise MetadataError(explain(reading.errors, root, where))
    return value, reading
