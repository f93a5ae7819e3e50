"""Our description of a pytree, a JSON file beside what Orbax has written.

It contains the version of the format, the CRC-32C of everything after it, the leaves in the order
of the pytree, and the pytree's structure. A leaf has its name, the name that Orbax uses, its dtype
and shape, and what Orbax does not keep.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, cast

import google_crc32c

from .._dtypes import dtype_named, family, is_key
from .._keys import Key, key_of, name_of
from .._reader import LeafInfo

_VERSION = 2
_VERSION_WITHOUT_CHECKSUM = 1


@dataclasses.dataclass(frozen=True)
class EncodedLeaf:
    """What is known of a leaf without reading it.

    Attributes:
        info: its shape and dtype; None if only the array tells them.
        stored: the name that Orbax uses for it; None if Orbax does not keep it.
        description: what Orbax does not keep; None if it keeps everything.
        value: the value of a leaf that has neither.
    """

    info: LeafInfo | None
    stored: str | None
    description: dict[str, Any] | None
    value: Any = None

    @property
    def is_text(self) -> bool:
        """Whether Orbax keeps it as a text."""
        return self.stored is not None and self.info is not None and self.info.dtype == "str"

    @property
    def is_array(self) -> bool:
        """Whether Orbax keeps it as an array."""
        return self.stored is not None and not self.is_text


def to_json(leaves: Mapping[Key, EncodedLeaf], structure: str) -> str:
    """Return the contents of the file."""
    listed = [
        [name_of(key), leaf.stored, leaf.info.dtype, leaf.info.shape, leaf.description]
        for key, leaf in leaves.items()
        if leaf.info is not None
    ]
    described = {"leaves": listed, "structure": structure}
    rest = json.dumps(described, separators=(",", ":"))[1:]
    return _beginning(rest) + rest


def description_from(text: str) -> tuple[dict[Key, EncodedLeaf], Any]:
    """Return the leaves and the structure that a file's text describes.

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
    if not isinstance(shape, list) or not all(
        type(length) is int and length >= 0 for length in cast(list[Any], shape)
    ):
        raise ValueError(f"{name}: expected a shape, found {shape!r}")
    if not isinstance(description, dict | None):
        raise ValueError(f"{name}: expected a description, found {description!r}")
    if not isinstance(dtype, str) or not _is_known(dtype):
        raise ValueError(f"{name}: expected a dtype that NumPy or ml_dtypes know, found {dtype!r}")
    if stored is None and description is None:
        raise ValueError(f"{name}: expected a name that Orbax keeps it under, or a description")
    info = LeafInfo(tuple(cast(list[int], shape)), dtype)
    return EncodedLeaf(info, stored, cast(dict[str, Any] | None, description))


@functools.lru_cache(maxsize=256)
def _is_known(dtype: str) -> bool:
    if is_key(dtype):
        return True
    try:
        dtype_named(dtype)
    except (TypeError, ValueError):
        return False
    return True


def as_stored(leaf: EncodedLeaf, found: LeafInfo) -> LeafInfo:
    """Return the shape and dtype of the array that is to hold a leaf.

    Args:
        leaf: one that Orbax keeps as an array.
        found: those of the array, which decide what the description leaves open.
    """
    info, described = cast(LeafInfo, leaf.info), leaf.description or {}
    shape, dtype = info.shape, info.dtype
    if "scalar" in described:
        return LeafInfo(shape, found.dtype if family(found) == dtype else dtype)
    if "bits" in described:
        return LeafInfo(shape, "uint8")
    if "key" in described or "dtype" in described:
        # The description does not tell how long their data is.
        data = found.shape[len(shape) :]
        return LeafInfo((*shape, *data), "uint32" if "key" in described else "uint8")
    # In version 1 a dtype's name included the order of the bytes.
    return LeafInfo(shape, dtype_named(dtype).name)


def _beginning(rest: str) -> str:
    """Return the beginning of a description, which has the CRC-32C of the rest."""
    return f'{{"version":{_VERSION},"crc32c":"{google_crc32c.value(rest.encode()):08x}",'
