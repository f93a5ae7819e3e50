"""Which files and directories with the name of a checkpoint are checkpoints.

A name says little: `checkpoint_10.safetensors` may be another library's, and `2024` a folder of
photos. Only what `is_checkpoint` recognizes by its content is ever removed:

- our file by the description at the beginning of its header,
- flax's file by msgpack's mark of a dict with a string as its key, or of flax's own types,
- a directory of Orbax's or ours by the files that describe it, or by items that have these,
- the directory that flax wrote beside its file, since it contains only zarr arrays.

`may_be_checkpoint` asks for less, so that damaged checkpoints are reported and not ignored.
"""

from ..storage import Directory, Kind
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


def is_checkpoint(directory: Directory, name: str) -> bool:
    """Tell whether a name is known to be a checkpoint, which may be removed."""
    # Imported when used: it needs JAX, and listing checkpoints does not.
    from ._safetensors._header import is_ours

    kind = _kind(directory, name)
    if name.endswith(SUFFIX):
        return kind == "file" and is_ours(_head(directory, name))
    if kind == "directory":
        items, others = _items(directory / name)
        return _is_marked(directory / name) or (bool(items) and not others)
    return kind == "file" and _is_msgpack(directory, name)


def may_be_checkpoint(directory: Directory, name: str) -> bool:
    """Tell whether a name is a checkpoint, perhaps a damaged one, and not a user's own file."""
    kind = _kind(directory, name)
    if kind == "directory" and not name.endswith(SUFFIX):
        items, others = _items(directory / name)
        return _is_marked(directory / name) or bool(items) or not others
    if kind != "file" or name.endswith(SUFFIX):
        return True
    head = _head(directory, name)
    # A crash leaves files of zeros, or without a length.
    if not any(head) or head == _EMPTY_DICT or _begins_state(head):
        return True
    return head[0] in _DICTS or head[0] in _EXTENSIONS


def is_beside_flax(directory: Directory, name: str) -> bool:
    """Tell whether flax has written a directory, for arrays of several processes."""
    if directory.is_link(name) or directory.kind_of(name) != "directory":
        return False
    inside = directory / name
    children = inside.names()
    is_array = inside.kind_of(_ZARR) == "file"
    return is_array or (bool(children) and all(is_beside_flax(inside, name) for name in children))


def _is_marked(directory: Directory) -> bool:
    is_marked = any(directory.kind_of(mark) == "file" for mark in _MARKS)
    return is_marked or _is_msgpack(directory, _OLD_MARK)


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
        and (directory / entry.name).kind_of(DESCRIPTION) is None
        and _is_marked(directory / entry.name)
    ]
    return items, [name for name in directory.names() if name not in items]


def _is_msgpack(directory: Directory, name: str) -> bool:
    head = _head(directory, name)
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


def _head(directory: Directory, name: str) -> bytes:
    """Return the first bytes of a file; none if it cannot be read."""
    with suppressed_os_errors():
        if directory.kind_of(name) == "file":
            with directory.open(name) as file:
                return file.read(0, _HEAD)
    return b""


def _kind(directory: Directory, name: str) -> Kind | None:
    with suppressed_os_errors():
        return directory.kind_of(name)
    return None
