"""Which files and directories with the name of a checkpoint are checkpoints.

A name says little: `checkpoint_10.safetensors` may be another library's, and `2024` a folder of
photos. Only what `is_checkpoint` recognizes by its content is ever removed:

- our file by the description at the beginning of its header,
- flax's file by how msgpack begins a dict with a str key, or one of flax's own types,
- a directory of Orbax's or ours by the files that describe it, or by items that have these,
- the directory of arrays that flax wrote beside its file: it contains only zarr arrays.

`may_be_checkpoint` asks for less, so that damaged checkpoints are reported and not ignored.
"""

import re

from ..storage import Directory, Kind, suppressed_os_errors
from ._reader import DESCRIPTION, SHARDS, SUFFIX
from ._safetensors._header import is_ours

SHARD = re.compile(rf"[0-9a-f]{{8}}\.[0-9]+{re.escape(SUFFIX)}")
"""The name of a file beside `SHARDS`: a token of the save, and the number of the process."""

_MARKS = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", DESCRIPTION, SHARDS)
"""Files in a directory that Orbax has written."""

_OLD_MARK = "checkpoint"
"""Orbax's first mark, a file of msgpack; TensorFlow has a text file of this name."""

_ZARR = ".zarray"
_HEAD = 64
"""Bytes that are enough to recognize a file."""

# The second byte of a dict or list is small: a UTF-8 text that begins alike has at least 0x80.
_DICT = rb"(?:[\x81-\x8f]|\xde[\0-\x7f].|\xdf[\0-\x7f]...)"
_LIST = rb"(?:[\x91-\x9f]|\xdc[\0-\x7f].|\xdd[\0-\x7f]...)"
_TEXT = rb"[\xa0-\xbf\xd9-\xdb]"
_EXTENSION = rb"(?:[\xd4-\xd8]|\xc7.|\xc8..|\xc9....)"
_PLACEHOLDER = rb".*(?://GDAPlaceholder:|PLACEHOLDER://)"
"""What flax and Orbax write for an array that is kept elsewhere."""

_FLAX = re.compile(
    # Orbax's old mark may be a list of such values and of None.
    rb"\x80\Z|(?:%b\xc0*)*(?:%b%b|%b[\1-\3]|%b%b)"
    % (_LIST, _DICT, _TEXT, _EXTENSION, _TEXT, _PLACEHOLDER),
    re.DOTALL,
)
_MAYBE_FLAX = re.compile(rb"\0*\Z|[\x81-\x8f\xde\xdf\xc7-\xc9\xd4-\xd8]")
"""Also the beginning of files that a crash left empty or as zeros."""


def is_checkpoint(directory: Directory, name: str) -> bool:
    """Whether a name is certainly a checkpoint, which may be removed."""
    if name.endswith(SUFFIX):
        return is_ours(_head(directory, name))
    kind = _kind(directory, name)
    if kind == "directory":
        items, others = _items(directory / name)
        is_item = _is_marked(directory / name) or (bool(items) and not others)
        return is_item or is_unfinished(directory / name)
    return kind == "file" and _is_flax(directory, name)


def may_be_checkpoint(directory: Directory, name: str) -> bool:
    """Whether a name may be a checkpoint, perhaps a damaged one, rather than a user's file."""
    if name.endswith(SUFFIX):
        return True
    kind = _kind(directory, name)
    if kind == "directory":
        items, others = _items(directory / name)
        return _is_marked(directory / name) or bool(items) or not others
    if kind != "file":
        return True
    return _is_flax(directory, name) or bool(_MAYBE_FLAX.match(_head(directory, name)))


def is_unfinished(directory: Directory) -> bool:
    """Whether a killed save of several processes has left it in an object store."""
    names = directory.names()
    return bool(names) and all(map(SHARD.fullmatch, names))


def is_beside_flax(directory: Directory, name: str) -> bool:
    """Whether flax has written a directory, for arrays of several processes."""
    if directory.is_link(name) or directory.kind_of(name) != "directory":
        return False
    inside = directory / name
    children = inside.names()
    is_array = inside.kind_of(_ZARR) == "file"
    return is_array or (bool(children) and all(is_beside_flax(inside, name) for name in children))


def is_foreign(directory: Directory, name: str) -> bool:
    return not name.endswith(SUFFIX) and not _is_described(directory / name)


def _is_described(directory: Directory) -> bool:
    return any(directory.kind_of(name) is not None for name in (DESCRIPTION, SHARDS))


def _is_marked(directory: Directory) -> bool:
    is_marked = any(directory.kind_of(mark) == "file" for mark in _MARKS)
    return is_marked or _is_flax(directory, _OLD_MARK)


def _items(directory: Directory) -> tuple[list[str], list[str]]:
    """Return the items of an Orbax directory, and the other names in it.

    A folder is not an item if its name ends with a digit, or if it contains our description: it
    is then the step of a prefix with a sub-folder.
    """
    items = [
        entry.name
        for entry in directory.entries()
        if entry.kind == "directory"
        and not entry.name[-1].isdigit()
        and not _is_described(directory / entry.name)
        and _is_marked(directory / entry.name)
    ]
    return items, [name for name in directory.names() if name not in items]


def _is_flax(directory: Directory, name: str) -> bool:
    return bool(_FLAX.match(_head(directory, name)))


def _head(directory: Directory, name: str) -> bytes:
    """Return the first bytes of a file; none if it cannot be read."""
    with suppressed_os_errors(), directory.open(name) as file:
        return file.read(0, _HEAD)
    return b""


def _kind(directory: Directory, name: str) -> Kind | None:
    with suppressed_os_errors():
        return directory.kind_of(name)
    return None
