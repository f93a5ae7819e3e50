"""Flatten configs to names and values, and compare two of them."""

import collections
import dataclasses
import enum
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from .._errors import MetadataError
from .._local_path import local_path
from .._missing import ABSENT
from ..storage import Directory
from ._compare import same
from ._fields import fields_of, is_mapping_class, kind_of_class
from ._files import PLAIN, dumps, loads, read_bytes
from ._numbers import as_plain_number, is_array
from ._problems import Problem
from ._registry import SCHEMAS
from ._schema import CLASS_KEY

_Keys: TypeAlias = tuple[Any, ...]


def flatten(config: Any) -> dict[str, Any]:
    """Return the values of a config under their dotted names.

    Classes with fields and mappings are taken apart; lists, tuples, arrays and all else are
    values. An empty mapping is a value.

    Args:
        config: an object of a class with fields, a mapping, or the path of a metadata file. A
            file is read without its types: a class that it names is a value too, under the name
            of its object, and code is its name.

    Returns:
        The values in order of declaration. A value that is not a config has the name "".

    Raises:
        FileNotFoundError: the path has no file.
        MetadataError: the file cannot be read, or two values have one name.

    Examples:
        >>> flatten({"optimizer": {"name": "adam", "betas": (0.9, 0.99)}, "steps": 10})
        {'optimizer.name': 'adam', 'optimizer.betas': (0.9, 0.99), 'steps': 10}
    """
    is_file = isinstance(config, str | os.PathLike)
    return _flatten(_load(config, is_file), str(config) if is_file else "")


def flatten_file(directory: Directory, name: str) -> dict[str, Any]:
    """Return what `flatten` returns for a metadata file."""
    path = f"{directory}/{name}"
    return _flatten(loads(read_bytes(directory, name), PLAIN, path)[0], path)


def _flatten(config: Any, path: str) -> dict[str, Any]:
    return {
        name: _plain(value)
        for name, (keys, value) in _rows(config, path).items()
        if not isinstance(value, _ObjectClassName) and (keys or not isinstance(value, _ClassName))
    }


_LEAVES = {type(None), bool, int, float, str, list}
"""Most values: they are distinguished from mappings and classes at once."""


class _ClassName(str):
    """The class of an object, as a value of a config beside the object's fields."""

    def is_same(self, other: str) -> bool:
        """Return whether two names may be of one class; one of them may lack its module."""
        return self == other or self.endswith(f".{other}") or other.endswith(f".{self}")


class _ObjectClassName(_ClassName):
    """The class of a Python object. `flatten` leaves it out, but keeps the classes in a file."""


def _rows(config: Any, path: str = "") -> dict[str, tuple[_Keys, Any]]:
    """Return the values of a config by name, each after the keys that lead to it."""
    rows: dict[str, tuple[_Keys, Any]] = {}
    for keys, value in _walk(config, (), ()):
        name = ".".join(map(str, keys))
        if name in rows:
            raise MetadataError(
                f"{path}{': ' if path else ''}{name}: two values of the config have this name, "
                "one of them by a key that contains a dot or is not a str; rename a key"
            )
        rows[name] = keys, value
    return rows


def _walk(value: Any, keys: _Keys, parents: _Keys) -> Iterator[tuple[_Keys, Any]]:
    """Yield the values of a config, each after the keys that lead to it."""
    if id(value) in parents:
        name = ".".join(map(str, keys))
        raise MetadataError(f"{name}: the config contains itself")
    class_name, parts = _parts(value)
    if class_name:
        yield keys, class_name
    elif not parts and (keys or not is_mapping_class(type(value))):
        yield keys, value
    for key, part in parts:
        yield from _walk(part, (*keys, key), (*parents, id(value)))


def _parts(value: Any) -> tuple[_ClassName | None, list[tuple[Any, Any]]]:
    if type(value) in _LEAVES:
        return None, []
    if is_mapping_class(type(value)):
        class_name = value.get(CLASS_KEY)
        is_named = type(class_name) is str
        parts = [
            (key.name if isinstance(key, enum.Enum) else key, part)
            for key, part in value.items()
            if not is_named or key != CLASS_KEY
        ]
        return _ClassName(class_name) if is_named else None, parts
    if kind_of_class(type(value)):
        fields = fields_of(type(value)).all
        parts = [(f.name, getattr(value, f.name)) for f in fields if hasattr(value, f.name)]
        return _ObjectClassName(type(value).__name__) if parts else None, parts
    return None, []


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference between two configs `a` and `b`, as dotted names and values.

    Attributes:
        added: what only `b` has.
        removed: what only `a` has.
        changed: what both have, with the value in `a` and that in `b`.

    Examples:
        >>> diff({"lr": 0.1}, {"lr": 0.2}).changed
        {'lr': (0.1, 0.2)}
    """

    added: dict[str, Any]
    removed: dict[str, Any]
    changed: dict[str, tuple[Any, Any]]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        lines = [f"+ {name}: {value!r}" for name, value in self.added.items()]
        lines += [f"- {name}: {value!r}" for name, value in self.removed.items()]
        lines += [f"~ {name}: {_show_change(a, b)}" for name, (a, b) in self.changed.items()]
        return "\n".join(lines)


def _show_change(a: Any, b: Any) -> str:
    texts = repr(a), repr(b)
    # NumPy shortens long arrays.
    if texts[0] == texts[1] and is_array(a) and is_array(b) and a.shape == b.shape:
        count = np.count_nonzero(np.asarray(a) != np.asarray(b))
        return f"{texts[0]}, {count:,} of {a.size:,} values differ"
    return " -> ".join(texts)


def diff(a: Any, b: Any) -> Difference:
    """Compare two configs or two metadata files.

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
    # A file has no types, so the other side is compared as a file would hold it.
    as_file = isinstance(a, str | os.PathLike) or isinstance(b, str | os.PathLike)
    difference = Difference({}, {}, {})
    rows = _align([_load(a, as_file), _load(b, as_file)])
    for name, ((old, new), is_same) in rows.items():
        if old is ABSENT:
            difference.added[name] = new
        elif new is ABSENT:
            difference.removed[name] = old
        elif not is_same:
            difference.changed[name] = old, new
    return difference


def compare_files(paths: Sequence[pathlib.Path | None]) -> dict[str, tuple[list[Any], bool]]:
    """Return the values in metadata files by name, and whether they are the same in all.

    They are `ABSENT` for a file that lacks the name, and for None.
    """
    return _align([_load({} if path is None else path, as_file=True) for path in paths])


def _align(sides: Sequence[Any]) -> dict[str, tuple[list[Any], bool]]:
    rows = [_rows(side) for side in sides]
    # Strings are quoted in names that stand for different keys: 1 and "1", or a.b and a, b.
    spellings: dict[str, set[str]] = collections.defaultdict(set)
    for name, (keys, _) in itertools.chain(*(side.items() for side in rows)):
        spellings[name].add(_exact(keys))

    def spelled(name: str, keys: _Keys) -> str:
        return _exact(keys) if len(spellings[name]) > 1 else name

    flats = [{spelled(name, keys): v for name, (keys, v) in side.items()} for side in rows]
    _drop_unknown_classes(flats)
    table = {name: [flat.get(name, ABSENT) for flat in flats] for name in itertools.chain(*flats)}
    return {
        name: (list(map(_plain, values)), all(_is_equal(values[0], value) for value in values[1:]))
        for name, values in table.items()
    }


def _exact(keys: _Keys) -> str:
    return ".".join(repr(str(key)) if isinstance(key, str) else str(key) for key in keys)


def _drop_unknown_classes(flats: Sequence[dict[str, Any]]) -> None:
    """Drop the class of an object if it is the only one that is recorded, but not by all sides."""

    def is_unknown(name: str, flat: dict[str, Any]) -> bool:
        return name not in flat and (not name or any(o.startswith(f"{name}.") for o in flat))

    for name in dict.fromkeys(itertools.chain(*flats)):
        named = [flat for flat in flats if isinstance(flat.get(name), _ClassName)]
        is_one = all(flat[name].is_same(named[0][name]) for flat in named)
        if named and is_one and any(is_unknown(name, flat) for flat in flats):
            for flat in named:
                del flat[name]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, _ClassName) else value


def _is_equal(a: Any, b: Any) -> bool:
    """Return whether two values are equal; numbers by value, sets and mappings in any order."""
    if a is b:
        return True
    if isinstance(a, _ClassName) and isinstance(b, _ClassName):
        return a.is_same(b)
    try:
        a, b = as_plain_number(a), as_plain_number(b)
    except Problem:
        return a is b
    if type(a) in (int, float) and type(b) in (int, float):
        return a == b or (a != a and b != b)
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple | collections.deque):
        return len(a) == len(b) and all(map(_is_equal, a, b))
    if is_mapping_class(type(a)):
        # Python takes the keys True and 1 for equal.
        keys, others = ({(type(key) is bool, key) for key in side} for side in (a, b))
        return keys == others and all(_is_equal(a[key], b[key]) for key in a)
    return same(a, b, SCHEMAS)


def _load(side: Any, as_file: bool) -> Any:
    if not as_file:
        return side
    is_path = isinstance(side, str | os.PathLike)
    if not is_path:
        return loads(dumps(side, "config"), PLAIN, "config")[0]
    path = local_path(side, "config")
    return loads(read_bytes(Directory(path.parent), path.name), PLAIN, str(side))[0]
