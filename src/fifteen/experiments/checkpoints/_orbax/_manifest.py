"""Our description of a pytree, a JSON file beside what Orbax has written.

It contains the version of the format, the CRC-32C of everything after it, the leaves in the order
of the pytree, and the pytree's structure. A leaf has its name, the name that Orbax uses, its dtype
and shape, and what Orbax does not keep.
"""

import dataclasses
import json
import operator
from collections.abc import Mapping
from typing import Any

import google_crc32c

from .._keys import Key, key_of, name_of
from .._reader import LeafInfo

_VERSION = 2
_VERSION_WITHOUT_CHECKSUM = 1


@dataclasses.dataclass(frozen=True)
class EncodedLeaf:
    """What is known of a leaf without reading it."""

    info: LeafInfo | None  # None if only the array has shape and dtype.
    stored: str | None  # The name that Orbax uses for it; None if Orbax does not keep it.
    description: dict[str, Any] | None  # What Orbax does not keep; None if it keeps everything.
    value: Any = None  # If it has neither.

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
    """Return the leaves and the structure that a file's text describes."""
    described = json.loads(text)
    version = described["version"]
    if version not in (_VERSION, _VERSION_WITHOUT_CHECKSUM):
        raise ValueError(f"written in version {version} of the format")
    beginning = _beginning("")
    if version == _VERSION and not text.startswith(_beginning(text[len(beginning) :])):
        raise ValueError("its bytes are not those that were written")
    leaves: dict[Key, EncodedLeaf] = {}
    for name, stored, dtype, shape, description in described["leaves"]:
        is_known = isinstance(stored, str | None) and isinstance(description, dict | None)
        if not (is_known and isinstance(dtype, str)) or stored is description is None:
            row = [stored, dtype, shape, description]
            raise ValueError(f"{name}: expected the description of a leaf, found {row}")
        info = LeafInfo(tuple(map(operator.index, shape)), dtype)
        leaves[key_of(name)] = EncodedLeaf(info, stored, description)
    return leaves, json.loads(described["structure"])


def _beginning(rest: str) -> str:
    """Return the beginning of a description, which has the CRC-32C of the rest."""
    return f'{{"version":{_VERSION},"crc32c":"{google_crc32c.value(rest.encode()):08x}",'
