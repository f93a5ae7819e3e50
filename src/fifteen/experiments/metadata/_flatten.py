"""Configs as flat tables of names and values, and what sets two of them apart."""

import dataclasses
import enum
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from .._errors import MetadataError
from ._any import ANY
from ._compose import compose
from ._files import dump, read_bytes
from ._problems import Reading, explain
from ._same import same
from ._types import form_kind, form_of


def flatten(config: Any) -> dict[str, Any]:
    """Return the values of a config under their dotted names.

    Classes with fields and mappings are taken apart; lists, tuples, arrays and all else are
    values. An empty mapping stays, as a value.

    Args:
        config: an object of a class with fields, or a mapping.

    Returns:
        The values in order of declaration. A value that is no config has the name "".

    Examples:
        >>> flatten({"optimizer": {"name": "adam", "betas": (0.9, 0.99)}, "steps": 10})
        {'optimizer.name': 'adam', 'optimizer.betas': (0.9, 0.99), 'steps': 10}
    """
    flat: dict[str, Any] = {}
    if not (isinstance(config, Mapping) and not config):
        _flatten(config, "", flat, ())
    return flat


def _flatten(value: Any, name: str, flat: dict[str, Any], parents: tuple[int, ...]) -> None:
    parts = _parts(value)
    if not parts:
        if name in flat:
            raise MetadataError(
                f"{name}: two values of the config have this name, one of them by a key that "
                "holds a dot or is no str; rename a key"
            )
        flat[name] = value
        return
    if id(value) in parents:
        raise MetadataError(f"{name}: the config holds itself")
    for key, part in parts:
        _flatten(part, f"{name}.{key}" if name else str(key), flat, (*parents, id(value)))


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(_key(key), part) for key, part in value.items()]
    if form_kind(type(value)):
        fields = form_of(type(value)).fields
        return [(f.name, getattr(value, f.name)) for f in fields if hasattr(value, f.name)]
    return []


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        return key.name or str(key)
    return str(key)


@dataclasses.dataclass(frozen=True)
class Difference:
    """What sets a config `b` apart from a config `a`; dotted names and values.

    Attributes:
        added: what only `b` has.
        removed: what only `a` has.
        changed: what both have, with the value in `a` and that in `b`.
    """

    added: dict[str, Any]
    removed: dict[str, Any]
    changed: dict[str, tuple[Any, Any]]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        lines = [f"+ {name}: {value!r}" for name, value in self.added.items()]
        lines += [f"- {name}: {value!r}" for name, value in self.removed.items()]
        lines += [f"~ {name}: {a!r} -> {b!r}" for name, (a, b) in self.changed.items()]
        return "\n".join(lines)


def diff(a: Any, b: Any) -> Difference:
    """Say what sets two configs apart, or two metadata files.

    Args:
        a: a config, or the path of a metadata file, which is read without its types.
        b: another.

    Returns:
        What was added, removed and changed from `a` to `b`; false if nothing was.

    Raises:
        FileNotFoundError: a path has no file.
        MetadataError: a file cannot be read.

    Examples:
        >>> print(diff({"lr": 0.1, "steps": 10}, {"lr": 0.2, "seed": 0}))
        + seed: 0
        - steps: 10
        ~ lr: 0.1 -> 0.2
    """
    # A file knows no classes; beside one, a config is taken as it would be in a file.
    bare = isinstance(a, os.PathLike) or isinstance(b, os.PathLike)
    first, second = (flatten(_load(side, bare)) for side in (a, b))
    return Difference(
        added={name: value for name, value in second.items() if name not in first},
        removed={name: value for name, value in first.items() if name not in second},
        changed={
            name: (value, second[name])
            for name, value in first.items()
            # An integer is the same as the float that a field makes of it, on whichever side it is.
            if name in second and not (same(value, second[name]) or same(second[name], value))
        },
    )


def _load(side: Any, bare: bool) -> Any:
    if isinstance(side, os.PathLike):
        return _read_bare(read_bytes(pathlib.Path(side)), str(side))
    if not bare:
        return side
    return _read_bare(dump(side, "config"), "config")


def _read_bare(data: bytes, where: str) -> Any:
    document = compose(data, where)
    reading = Reading(document.modern, bare=True)
    value = ANY.read(document.root, reading)
    if reading.errors:
        raise MetadataError(explain(reading.errors, document.root, where))
    return value
