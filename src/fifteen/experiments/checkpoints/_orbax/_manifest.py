"""Our description of a pytree, beside what Orbax has written of it.

A file in JSON: the version of the format; the CRC-32C of all that comes after it; the leaves in the
order of the pytree, each with its name, the one that Orbax knows it by, dtype, shape, and what
Orbax cannot say of it; and the pytree's shape.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, cast

import google_crc32c

from .._dtypes import dtype_named, family
from .._keys import Key, key_of, name_of
from .._reader import LeafInfo

_VERSION = 2
_VERSION_WITHOUT_CHECKSUM = 1


@dataclasses.dataclass(frozen=True)
class EncodedLeaf:
    """What is known of a leaf without reading it.

    Attributes:
        info: its shape and dtype.
        stored: the name under which Orbax keeps it; None where the description holds it all.
        description: what is to be known beyond what Orbax keeps; None where that says it all.
    """

    info: LeafInfo
    stored: str | None
    description: dict[str, Any] | None


def to_json(leaves: Mapping[Key, EncodedLeaf], structure: str) -> str:
    """Return a description as it stands in its file.

    Args:
        leaves: in the order of the pytree.
        structure: the pytree's shape; see `structure`.
    """
    listed = [
        [name_of(key), leaf.stored, leaf.info.dtype, leaf.info.shape, leaf.description]
        for key, leaf in leaves.items()
    ]
    described = {"leaves": listed, "structure": structure}
    rest = json.dumps(described, separators=(",", ":"))[1:]
    return _beginning(rest) + rest


def description_from(text: str) -> tuple[dict[Key, EncodedLeaf], Any]:
    """Read a description back: the leaves, and the shape of the pytree.

    Raises:
        ValueError, KeyError, TypeError or RecursionError: it is none of ours.
    """
    described = json.loads(text)
    version = described["version"]
    if version not in (_VERSION, _VERSION_WITHOUT_CHECKSUM):
        raise ValueError(f"written in version {version} of the format")
    beginning = _beginning("")
    if version == _VERSION and not text.startswith(_beginning(text[len(beginning) :])):
        raise ValueError("its bytes are not those that were written")
    leaves = {
        key_of(name): _leaf_from(name, stored, dtype, shape, description)
        for name, stored, dtype, shape, description in described["leaves"]
    }
    return leaves, json.loads(described["structure"])


def _leaf_from(name: str, stored: Any, dtype: Any, shape: Any, description: Any) -> EncodedLeaf:
    if not isinstance(stored, str | None):
        raise ValueError(f"{name}: expected a name that Orbax keeps it under, found {stored!r}")
    if not isinstance(shape, list) or not all(map(_is_length, cast(list[Any], shape))):
        raise ValueError(f"{name}: expected a shape, found {shape!r}")
    if not isinstance(description, dict | None):
        raise ValueError(f"{name}: expected a description, found {description!r}")
    if not isinstance(dtype, str) or not _is_known(dtype):
        raise ValueError(f"{name}: expected a dtype that NumPy or ml_dtypes know, found {dtype!r}")
    info = LeafInfo(tuple(cast(list[int], shape)), dtype)
    return EncodedLeaf(info, stored, cast(dict[str, Any] | None, description))


def _is_length(value: Any) -> bool:
    return type(value) is int and value >= 0


@functools.lru_cache(maxsize=256)
def _is_known(dtype: str) -> bool:
    if dtype.startswith("key<"):
        return True
    try:
        dtype_named(dtype)
    except (TypeError, ValueError):
        return False
    return True


def as_stored(leaf: EncodedLeaf, found: LeafInfo) -> LeafInfo:
    """Return what Orbax is to hold of a leaf.

    Args:
        leaf: one that Orbax keeps as an array.
        found: what it holds, of which a part is not known before.
    """
    shape, dtype, described = leaf.info.shape, leaf.info.dtype, leaf.description or {}
    if "scalar" in described:
        return LeafInfo(shape, found.dtype if family(found) == dtype else dtype)
    if "bits" in described:
        return LeafInfo(shape, "uint8")
    if "key" in described or "dtype" in described:
        # How long their data is stands nowhere.
        data = found.shape[len(shape) :]
        return LeafInfo((*shape, *data), "uint32" if "key" in described else "uint8")
    # The order of the bytes is a part of what version 1 called a dtype.
    return LeafInfo(shape, dtype_named(dtype).name)


def _beginning(rest: str) -> str:
    """Return how a description begins: with the CRC-32C of the rest."""
    return f'{{"version":{_VERSION},"crc32c":"{google_crc32c.value(rest.encode()):08x}",'
