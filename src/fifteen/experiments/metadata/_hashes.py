"""Keys that were made to collide, in a dict or a set that would take hours to make."""

from collections.abc import Sequence
from typing import Any

MAX_ALIKE = 100
TOO_ALIKE = (
    f"more than {MAX_ALIKE} keys of one hash; a dict or a set of them would take hours to make"
)


class Hashes:
    """How often each hash has come."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def are_alike(self, key: Any) -> bool:
        """Count a key, and tell whether too many have had its hash."""
        own = hash(key)
        self._counts[own] = self._counts.get(own, 0) + 1
        return self._counts[own] > MAX_ALIKE


def any_alike(keys: Sequence[Any]) -> bool:
    """Tell whether too many of some keys have the same hash."""
    hashes = Hashes()
    return len(keys) > MAX_ALIKE and any(map(hashes.are_alike, keys))
