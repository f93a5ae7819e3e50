"""What Orbax gets of a pytree, and what our description adds.

Orbax gets what it keeps exactly, under the names that it would use by itself, so that flax's and
its own `restore` open the directory. The description has what Orbax refuses or confuses:

- empty arrays, complex, bytes, large ints, texts that are no UTF-8 or whose names would be paths in
  JSON: the description alone holds them,
- dtypes that tensorstore does not know: Orbax gets the bits as another dtype,
- typed PRNG keys: Orbax gets their data,
- names that are the same to Orbax: all names are escaped.
"""

import functools
import pathlib
import posixpath
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from ..._errors import CheckpointError
from .. import _leaf, _tree
from .._distributed_save import DELETED
from .._dtypes import info_of, name_of_dtype
from .._keys import Key, name_of, unflatten
from .._leaf import encode_tree, is_static, key_data
from ._contents import EncodedLeaf, to_json

_KNOWN = frozenset([
    "bool", "int4", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "bfloat16", "complex64", "complex128", "float8_e4m3fn",
    "float8_e5m2",
])  # fmt: skip
"""The dtypes that tensorstore and Orbax keep as they are."""

MIN_INT, MAX_INT = -(2**63), 2**63 - 1


def encode(target: Any) -> tuple[Any, str, Mapping[str, str]]:
    """Encode a pytree; the error lists each leaf that cannot be saved.

    Return what Orbax is given, the text of our description, and by the leaves' names what the
    processes have to agree on.
    """
    flat, encoded = encode_tree(target, _encode)
    # Orbax numbers the children of a dataclass without key paths.
    numbered = _tree.flatten(target, by_fields=False, is_static=is_static)
    of_orbax = dict(zip(flat.keys, numbered.keys, strict=True))
    given = {key: value for key, (value, _) in encoded.items() if value is not None}
    names = dict(zip(given, stored_names([of_orbax[key] for key in given]), strict=True))
    leaves: dict[Key, EncodedLeaf] = {}
    shared: dict[str, str] = {}
    for key, value in zip(flat.keys, flat.leaves, strict=True):
        name, description = names.get(key), encoded[key][1]
        if name is not None and isinstance(given[key], str) and ("/" in name or "~" in name):
            # Orbax takes the name of a text for a path in JSON.
            name, description = None, _leaf.encode(given.pop(key), copy=False).description
        leaves[key] = EncodedLeaf(info_of(value), name, description)
        shared[name_of(key)] = "local" if name is None else _shared(given[key], name)
    if any("%" in name for name in names.values()):
        tree: Any = {names[key]: value for key, value in given.items()}
    else:
        with _tree.refusing_depth():
            tree = unflatten(numbered.structure, [given.get(key) for key in leaves])
    return tree, to_json(leaves, _tree.to_json(flat.structure)), shared


def _shared(value: Any, name: str) -> str:
    """Return what all processes have to write alike."""
    if not isinstance(value, jax.Array):
        return "local"
    part = value.sharding.shard_shape(value.shape)
    called = f" as {name!r}" if "%" in name else ""
    return f"{value.dtype}{list(value.shape)} spread in parts of {list(part)}{called}"


def stored_names(keys: Sequence[Key]) -> list[str]:
    """Return the names that Orbax gives to leaves, or escaped ones if it would confuse some.

    Orbax joins the parts of a key with dots, so `("a.b",)` and `("a", "b")` are the same to it. And
    an array must not be where another one keeps its chunks, as `("a/0",)` is to `("a",)`.
    """
    plain = list(map(".".join, keys))
    names = set(plain)
    # A percent sign marks escaped names, and a file system changes some paths on the way.
    is_safe = all(
        "%" not in name and _is_utf_8(name) and name == posixpath.normpath(f"/{name}")[1:]
        for name in names
    )
    is_ambiguous = len(names) < len(keys) or (len(keys) > 1 and "" in names)
    parents = {str(parent) for name in names for parent in pathlib.PurePosixPath(name).parents}
    if is_safe and not is_ambiguous and names.isdisjoint(parents):
        return plain
    return ["%/" + "/".join(map(_escape, key)) for key in keys]


def _escape(part: str) -> str:
    # A lone percent sign is the empty part, which a path cannot have.
    quoted = urllib.parse.quote(part, safe="", errors="surrogatepass")
    return quoted.replace(".", "%2E") or "%"


def _encode(value: Any) -> tuple[Any, dict[str, Any] | None]:
    """Return what Orbax gets, None for nothing, and the description."""
    if isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer):
        _refuse_out_of_reach(value)
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            data, implementation = key_data(value)
            return _encode(data)[0], {"key": implementation}
        if not value.is_fully_addressable and value.size:
            name = value.dtype.name
            return (value, None) if name in _KNOWN else (_bits(value), {"bits": name})
    # What cannot be saved is refused as in our files.
    description = _leaf.encode(value, copy=False).description
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return _encode_array(value, description)
    # Orbax knows no subclasses, such as enumerations, whose `str` and `int` may say something else.
    if isinstance(value, bool):
        return value, {"scalar": "bool"}
    if isinstance(value, float):
        return float.__float__(value), {"scalar": "float"}
    if isinstance(value, int) and MIN_INT <= value <= MAX_INT:
        return int.__int__(value), {"scalar": "int"}
    if isinstance(value, str) and _is_utf_8(value):
        return str.__str__(value), None
    return None, description


def _is_utf_8(text: str) -> bool:
    try:
        str.encode(text)
    except UnicodeEncodeError:
        return False
    return True


def _refuse_out_of_reach(value: jax.Array) -> None:
    """Raise if not all processes can write their part of an array."""
    if value.is_deleted():
        raise CheckpointError(DELETED)
    if not value.is_fully_addressable:
        processes = _processes_of(value.sharding)
        if len(processes) < jax.process_count():
            some = f"{', '.join(map(str, processes))} of {jax.process_count()}"
            raise CheckpointError(
                f"it is on devices of only some of the processes ({some}); spread it over devices "
                "of all of them, or save its values after giving them to all, as "
                "jax.experimental.multihost_utils.broadcast_one_to_all does"
            )


@functools.lru_cache(maxsize=256)
def _processes_of(sharding: jax.sharding.Sharding) -> tuple[int, ...]:
    return tuple(sorted({device.process_index for device in sharding.device_set}))


def _encode_array(
    value: Any, description: dict[str, Any] | None
) -> tuple[Any, dict[str, Any] | None]:
    dtype = value.dtype
    if not value.size or not dtype.itemsize:
        return None, {"empty": name_of_dtype(dtype)}
    # Orbax takes arrays of one process as NumPy's only, and has process 0 write them.
    array = np.asarray(value)
    little = array.astype(dtype.newbyteorder("<"), copy=False)
    if dtype.name in _KNOWN:
        return little, None
    # NumPy's own dtypes of one byte are texts and records, which have no name like these.
    if dtype.itemsize == 1 and hasattr(ml_dtypes, dtype.name):
        return array.view(np.uint8), {"bits": dtype.name}
    return np.ascontiguousarray(little).reshape(*array.shape, 1).view(np.uint8), description


def _bits(value: jax.Array) -> jax.Array:
    """Return the bits of each element, one byte long, on the same devices."""
    is_integer = jnp.issubdtype(value.dtype, jnp.integer)
    info = jnp.iinfo(value.dtype) if is_integer else jnp.finfo(value.dtype)
    return jax.lax.bitcast_convert_type(value, f"uint{info.bits}").astype(jnp.uint8)
