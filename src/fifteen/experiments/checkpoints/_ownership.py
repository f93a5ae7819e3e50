"""Whose a file or directory is that is called like a checkpoint.

A name says little: `checkpoint_10.safetensors` may be another library's, and `2024` a folder of
photos. Only what `is_checkpoint` knows by its content is ever removed:

- our file by the description that its header begins with,
- flax's file by msgpack's mark of a dict with a text as its key, or of flax's own types,
- a directory of Orbax's or ours by the files that describe it, or by items that have these,
- the directory that flax wrote beside its file by the zarr arrays that are all there is in it.

`may_be_checkpoint` asks for less, so that what is damaged is told of, and not passed over.
"""

import os
import pathlib
import stat

from ..storage._locks import suppressed_os_errors
from ._reader import DESCRIPTION, SUFFIX

_MARKS = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", DESCRIPTION)
"""Files in a directory that Orbax has written."""

_OLD_MARK = "checkpoint"
"""Orbax's first mark, a file of msgpack; TensorFlow has a text that is called the same."""

_ZARR = ".zarray"
_HEAD = 64
"""Bytes that tell whose a file is."""

_DICTS = {0xDE: 3, 0xDF: 5, **dict.fromkeys(range(0x81, 0x90), 1)}
_LISTS = {0xDC: 3, 0xDD: 5, **dict.fromkeys(range(0x91, 0xA0), 1)}
"""msgpack's marks of what holds others, and how far behind each the first of these is."""

_TEXTS = {*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB}
_EMPTY_DICT, _NONE = b"\x80", b"\xc0"
_PLACEHOLDERS = (b"//GDAPlaceholder:", b"PLACEHOLDER://")
"""What flax and Orbax write for an array that is kept elsewhere."""

_EXTENSIONS = {0xC7: 2, 0xC8: 3, 0xC9: 5, **dict.fromkeys(range(0xD4, 0xD9), 1)}
"""msgpack's marks of an extension type, and how far behind each the type is; flax has three."""


def is_checkpoint(path: pathlib.Path) -> bool:
    """Whether what lies there is known to be a checkpoint, and may be removed as one."""
    # Imported when used: it needs JAX, and listing checkpoints does not.
    from ._safetensors._header import is_ours

    mode = _mode(path)
    if path.name.endswith(SUFFIX):
        return stat.S_ISREG(mode) and is_ours(_head(path, _HEAD))
    if stat.S_ISDIR(mode):
        items, others = _items(path)
        return _is_marked(path) or (bool(items) and not others)
    return stat.S_ISREG(mode) and _is_msgpack(path)


def may_be_checkpoint(path: pathlib.Path) -> bool:
    """Whether what lies there is a checkpoint, perhaps a damaged one, and not somebody's own."""
    mode = _mode(path)
    if path.name.endswith(SUFFIX) or not mode:
        return True
    if stat.S_ISDIR(mode):
        items, others = _items(path)
        return _is_marked(path) or bool(items) or not others
    if not stat.S_ISREG(mode):
        return True
    head = _head(path, _HEAD)
    # A crash leaves files of zeros, or without a length.
    if not any(head) or head == _EMPTY_DICT or _begins_state(head):
        return True
    return head[0] in _DICTS or head[0] in _EXTENSIONS


def is_beside_flax(path: pathlib.Path) -> bool:
    """Whether flax has written a directory, for arrays of several processes."""
    if path.is_symlink() or not path.is_dir():
        return False
    children = list(path.iterdir())
    is_array = (path / _ZARR).is_file()
    return is_array or (bool(children) and all(map(is_beside_flax, children)))


def _is_marked(path: pathlib.Path) -> bool:
    is_marked = any((path / mark).is_file() for mark in _MARKS)
    return is_marked or _is_msgpack(path / _OLD_MARK)


def _items(path: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Return the items of an Orbax directory, and whatever else lies in one.

    A folder that ends with a digit, or with our description in it, is no item, but the step of a
    prefix that leads into a sub-folder.
    """
    children = list(path.iterdir())
    items = [
        child
        for child in children
        if not child.name[-1].isdigit()
        and not (child / DESCRIPTION).exists()
        and child.is_dir()
        and _is_marked(child)
    ]
    return items, [child for child in children if child not in items]


def _is_msgpack(path: pathlib.Path) -> bool:
    head = _head(path, _HEAD)
    return head == _EMPTY_DICT or _begins_state(head)


def _begins_state(head: bytes) -> bool:
    """Whether a state of flax's begins so; Orbax's old file may hold a list of some as well."""
    if len(head) < 2:
        return False
    mark = head[0]
    if mark in _EXTENSIONS:
        return head[_EXTENSIONS[mark] :][:1] in (b"\1", b"\2", b"\3")
    if mark in _TEXTS:
        return any(placeholder in head for placeholder in _PLACEHOLDERS)
    first = head[{**_DICTS, **_LISTS}.get(mark, len(head)) :]
    # In a text in UTF-8 that begins with such a mark, the next byte is at least 0x80.
    if not first or (mark >= 0xDC and head[1] >= 0x80):
        return False
    return first[0] in _TEXTS if mark in _DICTS else _begins_state(first.lstrip(_NONE))


def _head(path: pathlib.Path, size: int) -> bytes:
    """Return the first bytes of a file; none of one that cannot be read."""
    with suppressed_os_errors():
        if path.is_file():
            with open(path, "rb", buffering=0) as file:
                return os.pread(file.fileno(), size, 0)
    return b""


def _mode(path: pathlib.Path) -> int:
    """Return what a path, or what it leads to, is; 0 if there is nothing, as behind a link."""
    with suppressed_os_errors():
        return path.stat().st_mode
    return 0
