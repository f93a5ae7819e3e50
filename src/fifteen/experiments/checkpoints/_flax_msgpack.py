"""Read the msgpack files of every flax release.

The format is flax's (`flax/serialization.py`): the state dict in msgpack, in which a list or tuple
is a dict with indices as keys, and three extension types. 1 is an array and 3 a NumPy scalar, each
a nested msgpack of shape, dtype name and bytes in C order; 2 is a Python complex. An array over
1 GiB is a dict of flat chunks. An array that was distributed over several processes is a string
that names a directory in `{file}_gda`, in zarr format.

This module has its own parser, since the msgpack library would read the bytes of every array.
"""

import dataclasses
import math
import pathlib
import struct
from collections.abc import Generator, Mapping
from typing import Any, cast

import numpy as np

from ..storage import Directory, ReadableFile
from ._damage import damaged, parsing
from ._dtypes import dtype_named, info_of
from ._keys import Key, structure_of
from ._orbax import _tensorstore
from ._reader import HostArray, LeafInfo, Wanted

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"
_DISTRIBUTED = "//GDAPlaceholder:"
_DTYPES = {"<V2": "bfloat16", "|V2": "bfloat16"}
"""The names that early versions gave to a dtype that NumPy did not know."""

_HEADERS = {
    first + number: (kind, f">{code}")
    for first, kind, codes in (
        (0xC4, "bytes", "BHI"),
        (0xC7, "extension", "BHI"),
        (0xCA, "value", "fdBHIQbhiq"),
        (0xD9, "text", "BHI"),
        (0xDC, "list", "HI"),
        (0xDE, "dict", "HI"),
    )
    for number, code in enumerate(codes)
}
"""By an object's first byte: its kind, and the format of the value or length that follows."""

_WINDOW = 4096
"""Bytes to read at a time. Between the data of two arrays there are usually fewer."""


@dataclasses.dataclass(frozen=True)
class _Array:
    """An array or a NumPy scalar; `pieces` are the ranges of its bytes, which are not read yet."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    pieces: list[tuple[int, int]]
    is_scalar: bool = False

    def __post_init__(self) -> None:
        size = sum(end - start for start, end in self.pieces)
        is_shape = all(type(length) is int and length >= 0 for length in self.shape)
        if not is_shape or math.prod(self.shape) * (self.dtype.itemsize or -1) != size:
            raise ValueError(f"found {size} bytes for an array {self.dtype}{list(self.shape)}")

    def read(self, file: ReadableFile) -> Any:
        data = np.empty(sum(end - start for start, end in self.pieces), np.uint8)
        done = 0
        for start, end in self.pieces:
            done += file.read_into(data[done : done + end - start], start)
        if done < len(data):
            raise damaged(file.path, "the file ends before its data does")
        array: HostArray = data.view(self.dtype).reshape(self.shape)
        return array[()] if self.is_scalar else array


class MsgpackCheckpoint:
    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        parent = Directory(path.parent)
        self._file = parent.open(path.name)
        self.close = self._file.close
        self.ends: dict[Key, Any] = {}  # Leaves, None, and empty dicts and lists.
        self.lists: set[Key] = set()  # The nodes that are lists.
        self._parse()
        beside = parent / f"{path.name}_gda"
        self._distributed = _tensorstore.open_arrays(
            path,
            {
                key: _tensorstore.spec_of(beside, end.removeprefix(_DISTRIBUTED))
                for key, end in self.ends.items()
                if isinstance(end, str) and end.startswith(_DISTRIBUTED)
            },
        )

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        arrays = self._distributed
        return {
            key: _tensorstore.info_of(arrays[key]) if key in arrays else info_of(end)
            for key, end in self.ends.items()
            if end is not None and not isinstance(end, dict | list)
        }

    @property
    def structure(self) -> Any:
        return structure_of(self.leaves, self.ends, self.lists)

    def read(self, wanted: Wanted) -> Generator[Mapping[Key, Any]]:
        opened = {key: self._distributed[key] for key in wanted if key in self._distributed}
        values: dict[Key, Any] = dict(_tensorstore.read(self.path, opened, wanted))
        for key in wanted:
            end = self.ends[key]
            values.setdefault(key, end.read(self._file) if isinstance(end, _Array) else end)
        yield values

    def _parse(self) -> None:
        if not self._file.size:
            raise damaged(self.path, "the file is empty")
        problem = "expected a checkpoint of fifteen or a complete file of flax, found neither"
        with parsing(self.path, problem):
            parser = _Parser(self._file)
            self._flatten(parser.parse(), ())
            if parser.at != self._file.size:
                raise ValueError("found more bytes after the end of the tree")

    def _flatten(self, node: Any, key: Key) -> None:
        if isinstance(node, dict):
            node = _normalized(cast(dict[Any, Any], node))
        children: dict[str, Any] = {}
        if isinstance(node, dict):
            children = cast(dict[str, Any], node)
        elif isinstance(node, list):
            children = {str(index): child for index, child in enumerate(cast(list[Any], node))}
            self.lists.add(key)
        for part, child in children.items():
            self._flatten(child, (*key, part))
        if not children:
            self.ends[key] = node


class _Parser:
    def __init__(self, file: ReadableFile) -> None:
        self.at = 0
        self._file = file
        self._window, self._window_start = b"", 0

    def parse(self) -> Any:
        kind, number = self._header()
        match kind:
            case "dict":
                return {self.parse(): self.parse() for _ in range(number)}
            case "list":
                return [self.parse() for _ in range(number)]
            case "text":
                return self._take(number).decode()
            case "bytes":
                return self._take(number)
            case "extension":
                return self._extension(number)
            case _:
                return number

    def _header(self) -> tuple[str, Any]:
        """Return the kind of the next object, and its value or length."""
        mark = self._take(1)[0]
        if mark < 0x80 or mark >= 0xE0:
            return "value", mark if mark < 0x80 else mark - 0x100
        if mark < 0xC0:
            kind, first = ("dict", 0x80) if mark < 0x90 else ("list", 0x90)
            return (kind, mark - first) if mark < 0xA0 else ("text", mark - 0xA0)
        if mark < 0xC4:
            return "value", {0xC0: None, 0xC2: False, 0xC3: True}[mark]
        if 0xD4 <= mark <= 0xD8:
            return "extension", 1 << mark - 0xD4
        kind, layout = _HEADERS[mark]
        (number,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return kind, number

    def _extension(self, size: int) -> Any:
        code, end = self._take(1)[0], self.at + size
        if code == _COMPLEX:
            value: Any = complex(*self.parse())
        elif code in (_ARRAY, _SCALAR):
            if self._header() != ("list", 3):
                raise ValueError("expected an array's shape, dtype and bytes")
            shape = tuple(self.parse())
            # Early versions marked strings and bytes alike.
            name = str(self._take(self._header()[1]), "ascii")
            dtype = dtype_named(_DTYPES.get(name, name))
            size = self._header()[1]
            value = _Array(dtype, shape, [(self.at, self.at + size)], code == _SCALAR)
            self.at += size
        else:
            raise ValueError(f"expected an extension type of flax, 1 to 3, found {code}")
        if self.at != end or end > self._file.size:
            raise ValueError("an array has the wrong size, or the file ends before its data does")
        return value

    def _take(self, size: int) -> bytes:
        start = self.at - self._window_start
        if start + size > len(self._window):
            self._window = self._file.read(self.at, self.at + max(size, _WINDOW))
            self._window_start, start = self.at, 0
            if len(self._window) < size:
                raise ValueError("the file ends before its data does")
        self.at += size
        return self._window[start : start + size]


def _normalized(node: Mapping[Any, Any]) -> Any:
    """Join a chunked array, and turn a namedtuple of early versions into a dict."""
    if _CHUNKED in node:
        chunks: list[_Array] = _in_order(node["chunks"])
        shape = tuple([int(length) for length in _in_order(node["shape"])])
        pieces = [piece for chunk in chunks for piece in chunk.pieces]
        return _Array(chunks[0].dtype, shape, pieces)
    if _is_namedtuple(node):
        return dict(zip(_in_order(node["fields"]), _in_order(node["values"]), strict=True))
    return {str(key): value for key, value in node.items()}


def _is_namedtuple(known: Mapping[Any, Any]) -> bool:
    """Whether a dict is a namedtuple of flax; a user's dict may have the same keys."""
    if set(known) != {"name", "fields", "values"}:
        return False
    fields, values = known["fields"], known["values"]
    if not isinstance(fields, dict) or not isinstance(values, dict):
        return False
    names = list(cast(dict[Any, Any], fields).values())
    numbers = {str(number) for number in range(len(names))}
    return (
        numbers == set(cast(Any, fields)) == set(cast(Any, values))
        and len(set(map(str, names))) == len(names)
        and all(isinstance(name, str) and name.isidentifier() for name in [known["name"], *names])
    )


def _in_order(numbered: Mapping[str, Any]) -> list[Any]:
    return [numbered[str(number)] for number in range(len(numbered))]
