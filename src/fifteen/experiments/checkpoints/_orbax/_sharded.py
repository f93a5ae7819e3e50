"""A checkpoint of a state that several processes hold, in a directory that Orbax has written.

Beside what Orbax writes lies our description, which lists the leaves without opening one.
"""

import functools
import json
import pathlib
from collections.abc import Generator, Mapping
from typing import Any, cast

import jax
import numpy as np

from .._casting import canonicalize
from .._damage import damaged, decoding, too_deep
from .._decoding import keys_from
from .._dtypes import HostArray, dtype_named
from .._keys import Key, name_of, unflatten
from .._reader import DESCRIPTION, LeafInfo
from .._sharding import sharding_of_key_data, sharding_over_processes, spread
from . import _tensorstore
from ._encode import decode
from ._manifest import EncodedLeaf, as_stored, description_from
from ._tensorstore import OpenArray, Request

TEXTS = "_strings.json"
"""The file that holds all texts."""

_PYTHON: dict[str, type] = {"bool": bool, "int": int, "float": float}


class ShardedCheckpoint:
    """A checkpoint that several processes have written."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        try:
            self._leaves, self._structure = description_from((path / DESCRIPTION).read_text())
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise damaged(
                path, f"{DESCRIPTION} is no description of ours ({type(error).__name__}: {error})"
            ) from None

    @property
    def leaves(self) -> Mapping[Key, LeafInfo]:
        """Every leaf, in the order of the pytree."""
        return {key: leaf.info for key, leaf in self._leaves.items()}

    def read(self, wanted: Mapping[Key, Any]) -> Generator[Mapping[Key, Any]]:
        """Read some leaves; see `CheckpointReader.read`."""
        leaves = {key: self._leaves[key] for key in wanted}
        names = {key: leaf.stored for key, leaf in leaves.items() if _is_array(leaf)}
        arrays = _tensorstore.open_all(
            self.path,
            {
                key: _tensorstore.in_directory(
                    self.path, str(name), zarr3=False, has_all_chunks=True
                )
                for key, name in names.items()
            },
        )
        for key, array in arrays.items():
            self._check(key, array.info)
        requests = {key: _request(leaves[key], array, wanted[key]) for key, array in arrays.items()}
        data = _tensorstore.read(self.path, requests)
        values: dict[Key, Any] = {}
        for key, leaf in leaves.items():
            with decoding(self.path, name_of(key)):
                read = (
                    text_named(str(leaf.stored), self._texts) if _is_text(leaf) else data.get(key)
                )
                values[key] = _value(leaf, read, wanted[key])
        yield values

    def unflatten(self, leaves: Mapping[Key, Any]) -> Any:
        """Put leaves that were read into nested dicts and lists, as they were saved."""
        try:
            return unflatten(self._structure, [leaves[key] for key in self._leaves])
        except RecursionError:
            raise too_deep(self.path) from None
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise damaged(self.path, f"its structure makes no sense: {error}") from None

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _check(self, key: Key, found: LeafInfo) -> None:
        """Compare an array with what is stated of it, which has no checksum in version 1."""
        name = name_of(key)
        with decoding(self.path, name):
            expected = as_stored(self._leaves[key], found)
        if found != expected:
            raise damaged(
                self.path, f"{name}: expected {expected}, as {DESCRIPTION} states, found {found}"
            )

    @functools.cached_property
    def _texts(self) -> Any:
        try:
            return json.loads((self.path / TEXTS).read_text())
        except FileNotFoundError:
            raise ValueError(f"{TEXTS} is missing") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{TEXTS} cannot be read ({error})") from None


def text_named(name: str, texts: Any) -> str:
    """Return the text that Orbax keeps under a name, which it takes for a JSON pointer.

    Args:
        name: the name.
        texts: what stands in `TEXTS`.

    Raises:
        ValueError: there is none.
    """
    text = texts
    for part in name.split("/"):
        here = cast(dict[str, Any], text) if isinstance(text, dict) else {}
        text = here.get(part.replace("~1", "/").replace("~0", "~"))
    if not isinstance(text, str):
        raise ValueError(f"expected a text in {TEXTS} under {name!r}, found none")
    return text


def _is_text(leaf: EncodedLeaf) -> bool:
    return leaf.info.dtype == "str" and leaf.stored is not None


def _is_array(leaf: EncodedLeaf) -> bool:
    return leaf.stored is not None and not _is_text(leaf)


def _request(leaf: EncodedLeaf, array: OpenArray, target: Any) -> Request:
    description = leaf.description or {}
    if "key" in description:
        sharding = sharding_over_processes(target, leaf.info.shape)
        if sharding is not None:
            sharding = sharding_of_key_data(target, sharding, len(array.info.shape))
        return Request(array, sharding)
    if "scalar" in description or "dtype" in description:
        return Request(array)
    sharding = sharding_over_processes(target, leaf.info.shape)
    return Request(array, sharding, functools.partial(decode, description=leaf.description))


def _value(leaf: EncodedLeaf, data: Any, target: Any) -> Any:
    description = leaf.description
    if _is_text(leaf):
        return data
    if description is not None and "key" in description:
        implementation = str(description["key"])
        if leaf.stored is None:
            data = _data_of_no_keys(leaf.info.shape, implementation, target)
        return keys_from(data, implementation, target)
    if description is not None and "empty" in description:
        empty = _empty(leaf.info.shape, dtype_named(str(description["empty"])))
        sharding = sharding_over_processes(target, leaf.info.shape)
        return empty if sharding is None else spread(canonicalize(empty), sharding)
    if leaf.stored is None or (description is not None and "dtype" in description):
        return decode(data, description)
    if description is not None and "scalar" in description:
        return _PYTHON[description["scalar"]](data)
    return data


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostArray:
    if 0 not in shape and dtype.itemsize:
        raise ValueError(f"expected an empty array, found the shape {shape}")
    # `empty` would give a text without letters room for one.
    return np.ndarray(shape, dtype)


def _data_of_no_keys(shape: tuple[int, ...], implementation: str, target: Any) -> Any:
    """Return the data of an empty array of typed PRNG keys, which Orbax does not keep."""
    one = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=implementation)))
    data = _empty((*shape, *one.shape), np.dtype(one.dtype))
    sharding = sharding_over_processes(target, shape)
    if sharding is None:
        return data
    return spread(data, sharding_of_key_data(target, sharding, data.ndim))
