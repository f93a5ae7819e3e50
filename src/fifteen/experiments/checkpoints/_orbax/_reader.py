"""The directories that Orbax has written, by whatever of its interfaces, and flax through it.

What Orbax writes is described in its `_METADATA`: every leaf's path with the kind of its value.
An array lies in zarr format under the parts of its path joined with dots, in one OCDBT store or
in a directory of its own; a text in `_strings.json`. Before there was `_METADATA`, a msgpack file
called `checkpoint` held the tree, with a placeholder for each array.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Generator, Mapping
from typing import Any, cast

import jax

from ..._errors import CheckpointError
from .._damage import damaged, decoding, printable, shortened, too_deep
from .._decoding import keys_from
from .._dtypes import info_of
from .._flax_msgpack import flatten, is_leaf, load
from .._keys import Key, name_of
from .._reader import LeafInfo
from .._sharding import sharding_over_processes
from . import _tensorstore
from ._sharded import TEXTS, text_named

_METADATA, _OLD_METADATA, _STORE = "_METADATA", "checkpoint", "manifest.ocdbt"
_PLACEHOLDER = "PLACEHOLDER://"
_HAS_ALL_CHUNKS = "store_array_data_equal_to_fill_value"
_ARRAYS = ("jax.Array", "np.ndarray", "scalar")
_LIST_INDEX, _DICT_KEY = 1, 2
"""Orbax's `KeyType`."""


class OrbaxCheckpoint:
    """A checkpoint that Orbax has written."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._items = _item_in(path)
        self._entries = _entries(path, self._items)

    @functools.cached_property
    def _arrays(self) -> Mapping[Key, _tensorstore.OpenArray]:
        specs = {
            key: _tensorstore.in_directory(
                self._items, entry.name, entry.zarr3, entry.has_all_chunks
            )
            for key, entry in self._entries.items()
            if entry.is_array
        }
        return _tensorstore.open_all(self.path, specs)

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        """Every leaf, in the order of the pytree."""
        return {
            key: self._info(key, entry) for key, entry in self._entries.items() if entry.is_leaf
        }

    def read(self, wanted: Mapping[Key, Any]) -> Generator[Mapping[Key, Any]]:
        """Read some leaves; see `CheckpointReader.read`."""
        self._refuse_lost(wanted)
        requests = {
            key: self._request(self._arrays[key], self._entries[key], leaf)
            for key, leaf in wanted.items()
            if self._entries[key].is_array
        }
        values = _tensorstore.read(self.path, requests)
        yield {key: self._value(key, values, leaf) for key, leaf in wanted.items()}

    def _refuse_lost(self, wanted: Mapping[Key, Any]) -> None:
        """Refuse leaves that Orbax has called the same, as `("a.b",)` and `("a", "b")`.

        Raises:
            CheckpointDamagedError: lists them, of which only one each is there.
        """
        keys: dict[tuple[bool, str], list[Key]] = {}
        for key, entry in self._entries.items():
            if entry.is_leaf and entry.name:
                keys.setdefault((entry.is_array, entry.name), []).append(key)
        lost = [
            " and ".join(sorted(map(name_of, same)))
            for same in keys.values()
            if len(same) > 1 and not wanted.keys().isdisjoint(same)
        ]
        if lost:
            problem = (
                "Orbax calls these leaves the same, and has kept one of each; leave them out of "
                "the target and pass partial=True to restore the others:"
            )
            raise damaged(self.path, "\n".join([problem, *shortened(sorted(lost))]))

    def unflatten(self, leaves: Mapping[Key, Any]) -> Any:
        """Put leaves that were read into nested dicts and lists, as they were saved."""
        ends = {
            key: leaves[key] if entry.is_leaf else entry.value
            for key, entry in self._entries.items()
        }
        kinds = {key: entry.kinds for key, entry in self._entries.items()}
        try:
            return _nest(ends, kinds)
        except RecursionError:
            raise too_deep(self.path) from None
        except (IndexError, ValueError) as error:
            raise damaged(self.path, f"its structure makes no sense: {error}") from None

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _info(self, key: Key, entry: "_Entry") -> LeafInfo:
        if not entry.is_array:
            return info_of(entry.value)
        info = self._arrays[key].info
        if entry.random_key:
            return LeafInfo(info.shape[:-1], _name_of_key_dtype(entry.random_key))
        if entry.kind == "scalar":
            return LeafInfo((), _python_kind(info.dtype))
        return info

    def _request(
        self, array: _tensorstore.OpenArray, entry: "_Entry", leaf: Any
    ) -> _tensorstore.Request:
        # The data of a typed key has an axis more than the key; and a number is one.
        if entry.random_key or entry.kind == "scalar":
            return _tensorstore.Request(array)
        sharding = sharding_over_processes(leaf, array.info.shape)
        return _tensorstore.Request(array, sharding)

    def _value(self, key: Key, values: Mapping[Key, Any], target: Any) -> Any:
        entry = self._entries[key]
        if not entry.is_array:
            return entry.value
        with decoding(self.path, name_of(key)):
            if entry.random_key:
                return keys_from(values[key], entry.random_key, target)
            return values[key].item() if entry.kind == "scalar" else values[key]


@dataclasses.dataclass(frozen=True)
class _Entry:
    """What a description says of a leaf, or of a node without leaves."""

    kind: str
    name: str
    kinds: tuple[int, ...]
    value: Any = None
    zarr3: bool = False
    has_all_chunks: bool = False
    random_key: str | None = None

    @property
    def is_array(self) -> bool:
        return self.kind in _ARRAYS

    @property
    def is_leaf(self) -> bool:
        return self.is_array or self.kind == "value"


def _nest(ends: Mapping[Key, Any], kinds: Mapping[Key, tuple[int, ...]], depth: int = 0) -> Any:
    """Put what stands at the ends of a tree into dicts and lists."""
    first = next(iter(ends), ())
    if len(first) == depth:
        if len(ends) > 1:
            raise ValueError(f"{name_of(first)} is both a leaf and what holds others")
        return ends.get(first, {})
    children: dict[str, dict[Key, Any]] = {}
    for key, end in ends.items():
        children.setdefault(key[depth], {})[key] = end
    nested = {part: _nest(child, kinds, depth + 1) for part, child in children.items()}
    if kinds[first][depth] != _LIST_INDEX:
        return nested
    return [nested[part] for part in sorted(nested, key=int)]


def _item_in(path: pathlib.Path) -> pathlib.Path:
    """Return the directory that holds the arrays: this one, or the one item inside it.

    A `CheckpointManager` puts what it saves into `default` or under the name of each item, and
    the second version of Orbax's interface into `state`.
    """
    if _is_item(path):
        return path
    items = [child for child in sorted(path.iterdir()) if child.is_dir() and _is_item(child)]
    if len(items) == 1:
        return items[0]
    if items:
        names = ", ".join(printable(item.name) for item in items)
        raise CheckpointError(
            f"{path}: Orbax has saved several items in it: {names}; link the one to restore as a "
            "checkpoint of its own, and pass its prefix: "
            f"ln -s {path.name}/{items[0].name} {path.parent}/{items[0].name}_0 and "
            f'prefix="{items[0].name}_"'
        )
    raise damaged(path, "a directory that Orbax has not written, or not to its end")


def _is_item(path: pathlib.Path) -> bool:
    return any((path / name).is_file() for name in (_METADATA, _OLD_METADATA, _STORE))


def _entries(path: pathlib.Path, item: pathlib.Path) -> dict[Key, _Entry]:
    try:
        old = _old_entries(item) if (item / _OLD_METADATA).is_file() else {}
        new = _new_entries(item) if (item / _METADATA).is_file() else {}
    except (KeyError, TypeError, ValueError, AttributeError, SyntaxError, RecursionError) as error:
        raise damaged(
            path, f"its description cannot be read ({type(error).__name__}: {error})"
        ) from None
    if not old and not new:
        raise damaged(path, "an Orbax directory that does not say what it holds")
    # Where both are there, the old file holds the values that stand in no array.
    return {key: _merged(new.get(key), old.get(key)) for key in {**old, **new}}


def _merged(new: _Entry | None, old: _Entry | None) -> _Entry:
    if new is None or (old is not None and old.kind == "value" and not new.is_array):
        return cast(_Entry, old)
    return new


def _new_entries(item: pathlib.Path) -> dict[Key, _Entry]:
    described = json.loads((item / _METADATA).read_text())
    texts = _json_or_empty(item / TEXTS)
    random_keys = _random_keys(item)
    entries: dict[Key, _Entry] = {}
    for stated in described["tree_metadata"].values():
        key = tuple(str(part["key"]) for part in stated["key_metadata"])
        kinds = tuple(int(part["key_type"]) for part in stated["key_metadata"])
        kind, name = str(stated["value_metadata"]["value_type"]), ".".join(key)
        if kind == "string":
            entries[key] = _Entry("value", name, kinds, text_named(name, texts))
        elif kind in _ARRAYS:
            entries[key] = _Entry(
                kind,
                name,
                kinds,
                zarr3=bool(described.get("use_zarr3", False)),
                has_all_chunks=described.get(_HAS_ALL_CHUNKS) is True,
                random_key=random_keys.get(name),
            )
        else:
            entries[key] = _Entry("empty", name, kinds, _empty(kind))
    return entries


def _old_entries(item: pathlib.Path) -> dict[Key, _Entry]:
    entries: dict[Key, _Entry] = {}
    tree = load(item / _OLD_METADATA)
    for key, value in flatten(tree).items():
        kinds = _kinds_of(tree, key)
        if isinstance(value, str) and value.startswith(_PLACEHOLDER):
            entries[key] = _Entry("jax.Array", value.removeprefix(_PLACEHOLDER), kinds)
        else:
            entries[key] = _Entry("value" if is_leaf(value) else "empty", "", kinds, value)
    return entries


def _kinds_of(tree: Any, key: Key) -> tuple[int, ...]:
    kinds: list[int] = []
    for part in key:
        kinds.append(_LIST_INDEX if isinstance(tree, list) else _DICT_KEY)
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    return tuple(kinds)


def _empty(kind: str) -> Any:
    return {"Dict": {}, "List": [], "Tuple": []}.get(kind)


def _random_keys(item: pathlib.Path) -> dict[str, str]:
    """Return by an array's name the implementation of the typed PRNG key that it is data of."""
    found: dict[str, str] = {}
    directory = item / "array_metadatas"
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        for stated in json.loads(path.read_text())["array_metadatas"]:
            array = stated["array_metadata"]
            implementation = (array.get("ext_metadata") or {}).get("random_key_impl")
            if implementation is not None:
                found[str(array["param_name"])] = str(implementation)
    return found


def _json_or_empty(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _name_of_key_dtype(implementation: str) -> str:
    try:
        # A key itself would take a backend, after which JAX cannot join other processes.
        return str(jax.eval_shape(lambda: jax.random.key(0, impl=implementation)).dtype)
    except ValueError:
        # JAX does not know it here; its own name is as good as any.
        return f"key<{implementation}>"


def _python_kind(dtype: str) -> str:
    if dtype == "bool":
        return dtype
    return "complex" if dtype.startswith("complex") else "float" if "float" in dtype else "int"
