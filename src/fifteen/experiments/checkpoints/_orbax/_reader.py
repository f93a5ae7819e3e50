"""Read checkpoints that Orbax has written: for us, for flax, or through any of its interfaces.

An array is in zarr format under the parts of its path joined with dots, in one OCDBT store or in a
directory of its own. All strings are in `_strings.json`. `_contents` says which leaves there are.
"""

import collections
import functools
import json
import pathlib
from collections.abc import Generator, Iterable, Mapping
from typing import Any, cast

import numpy as np

from ...storage import Directory
from .._damage import damaged, decoding, listed
from .._decoding import decode
from .._dtypes import KEY_DTYPES, dtype_named
from .._keys import Key, name_of
from .._reader import DESCRIPTION, HostArray, LeafInfo, Shards, Wanted
from . import _tensorstore
from ._contents import EncodedLeaf, contents_of

_TEXTS = "_strings.json"
_STORED_AS = {"bits": "uint8", "dtype": "uint8", "key": "uint32"}


class OrbaxCheckpoint:
    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._contents = contents_of(Directory(path))
        self._open: dict[Key, Any] = {}

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        entries = self._contents.leaves
        arrays = self._arrays([key for key, entry in entries.items() if entry.info is None])
        return {
            key: entry.info or _info_of_array(entry, _tensorstore.info_of(arrays[key]))
            for key, entry in entries.items()
        }

    @property
    def structure(self) -> Any:
        return self._contents.structure()

    def read(self, wanted: Wanted) -> Generator[Mapping[Key, Any]]:
        self._refuse_lost(wanted)
        entries = {key: self._contents.leaves[key] for key in wanted}
        arrays = self._arrays([key for key, entry in entries.items() if entry.is_array])
        shardings = {
            key: None if {"scalar", "dtype"} & (entry.description or {}).keys() else wanted[key]
            for key, entry in entries.items()
        }
        data = _tensorstore.read(self.path, arrays, shardings)
        yield {key: self._value(key, entry, data.pop(key, None)) for key, entry in entries.items()}

    def _arrays(self, keys: Iterable[Key]) -> dict[Key, Any]:
        """Open arrays that are not open yet."""
        contents = self._contents
        specs = {
            key: _tensorstore.spec_of(
                contents.directory, str(contents.leaves[key].stored), contents.form
            )
            for key in keys
            if key not in self._open
        }
        opened = _tensorstore.open_arrays(self.path, specs)
        for key, array in opened.items():
            leaf, found = contents.leaves[key], _tensorstore.info_of(array)
            with decoding(self.path, name_of(key)):
                if leaf.info is not None and not _can_hold(found, leaf, leaf.info):
                    raise ValueError(
                        f"expected {leaf.info}, as {DESCRIPTION} states, found {found}"
                    )
        self._open.update(opened)
        return {key: self._open[key] for key in keys}

    def _refuse_lost(self, wanted: Iterable[Key]) -> None:
        """Refuse leaves that share a name in Orbax, such as `("a.b",)` and `("a", "b")`."""
        names = {key: (leaf.is_array, leaf.stored) for key, leaf in self._contents.leaves.items()}
        counts = collections.Counter(names.values())
        lost = {key for key, (_, stored) in names.items() if stored and counts[names[key]] > 1}
        if not lost.isdisjoint(wanted):
            problem = (
                "Orbax has given some of these leaves the same name, and kept only one of each; to "
                "restore the others, leave these out of the target and pass partial=True:"
            )
            raise damaged(self.path, listed(problem, sorted(map(name_of, lost))))

    def _value(self, key: Key, leaf: EncodedLeaf, data: HostArray | Shards | None) -> Any:
        described = leaf.description or {}
        shape = leaf.info.shape if leaf.info else ()
        with decoding(self.path, name_of(key)):
            if leaf.is_text:
                return _text_named(str(leaf.stored), self._texts)
            if "empty" in described:
                return _empty(shape, dtype_named(str(described["empty"])))
            if "key" in described and data is None:
                # Orbax does not save empty arrays.
                data = _empty((*shape, 0), np.dtype(np.uint32))
            if "scalar" in described and data is not None:
                number, kind = cast(HostArray, data).item(), described["scalar"]
                if kind not in (None, type(number).__name__):
                    raise ValueError(f"expected a Python {kind!r}, found {number!r}")
                return number
            if "bits" in described and data is not None:
                view = functools.partial(_viewed, dtype=dtype_named(str(described["bits"])))
                return data.map(view) if isinstance(data, Shards) else view(data)
            if leaf.description is None:
                return leaf.value if data is None else data
            return decode(cast(Any, data), leaf.description)

    @functools.cached_property
    def _texts(self) -> Any:
        try:
            return json.loads(self._contents.directory.read(_TEXTS))
        except FileNotFoundError:
            raise ValueError(f"{_TEXTS} is missing") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{_TEXTS} cannot be read ({error})") from None


def _viewed(part: HostArray, dtype: np.dtype[Any]) -> HostArray:
    # `ascontiguousarray` turns an array without axes into a vector.
    return np.ascontiguousarray(part).view(dtype).reshape(part.shape)


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostArray:
    if 0 not in shape and dtype.itemsize:
        raise ValueError(f"expected an empty array, found the shape {shape}")
    # `np.empty` would widen `<U0` to `<U1`.
    return np.ndarray(shape, dtype)


def _can_hold(array: LeafInfo, leaf: EncodedLeaf, info: LeafInfo) -> bool:
    """Whether an array can hold a leaf of ours: its description has no checksum."""
    (dtype,) = [_STORED_AS.get(word, array.dtype) for word in leaf.description or {}] or [
        # In version 1 the name included the byte order.
        dtype_named(info.dtype).name
    ]
    return array.dtype == dtype and array.shape[: len(info.shape)] == info.shape


def _info_of_array(entry: EncodedLeaf, found: LeafInfo) -> LeafInfo:
    """Return the shape and dtype of a leaf, from the array that holds it."""
    described = entry.description or {}
    if "key" in described:
        name = described["key"]
        return LeafInfo(found.shape[:-1], KEY_DTYPES.get(name, f"key<{name}>"))
    if "scalar" not in described:
        return found
    kinds = [kind for kind in ("bool", "complex", "float") if kind in found.dtype]
    return LeafInfo((), kinds[0] if kinds else "int")


def _text_named(name: str, texts: Any) -> str:
    """Return the string of a name, which Orbax reads as a JSON pointer."""
    text = texts
    for part in name.split("/"):
        here = cast(dict[str, Any], text) if isinstance(text, dict) else {}
        text = here.get(part.replace("~1", "/").replace("~0", "~"))
    if not isinstance(text, str):
        raise ValueError(f"expected a string in {_TEXTS} under {name!r}, found none")
    return text
