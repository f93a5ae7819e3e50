"""The values of many experiments by full names."""

from collections.abc import Mapping, Sequence
from typing import Any

from ._fields import BUILT_IN, Fields
from ._missing import ABSENT


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values in all rows by name; `ABSENT` for a row that lacks the name."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name, ABSENT) for row in rows] for name in names}


def tables_of(fields: Sequence[Fields]) -> dict[str, dict[str, list[Any]]]:
    """Return the values of experiments by full names, per kind: built-in, field and scalar."""
    scalars = columns_of([field.statistics() for field in fields])
    return {
        "built-in": {
            name: [field.value(name) for field in fields] for name in BUILT_IN if name != "age"
        },
        "field": columns_of([field.metadata() for field in fields]),
        "scalar": {name: scalars[name] for name in sorted(scalars, key=tag_of)},
    }


def tag_of(name: str) -> str:
    """Return the tag in a name such as `loss:min`."""
    return name.rpartition(":")[0]
