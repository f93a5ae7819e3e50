"""A strict comparison, and round trips without a disk."""

import enum
from collections.abc import Mapping
from typing import Any

import attrs
import jax
import numpy as np

from fifteen.experiments.metadata import _files

ABSENT: Any = object()


def dump(value: Any) -> bytes:
    return _files.dumps(value, "metadata 'x'")


def load(data: bytes | str, kind: Any = Any) -> Any:
    data = data if isinstance(data, bytes) else data.encode()
    return _files.loads(data, kind, "x")[0]


def there_and_back(value: Any, kind: Any) -> Any:
    """Write and read in memory, since fsync takes most of the time."""
    result, context = _files.loads(dump(value), kind, "x")
    assert not context.warnings
    return result


def same(a: Any, b: Any) -> bool:
    """Return whether two values have the same class, content and order.

    NaN equals NaN, and 0.0 differs from -0.0. A NumPy or JAX scalar equals the plain number that
    is written for it, and an integer equals the float that a float field makes of it.
    """
    kind = type(a)
    if kind is not type(b):
        return _same_number(a, b)
    if kind is str or kind is int or kind is bool or a is b:
        return bool(a == b)
    if kind is float:
        return _same_float(a, b)
    if kind is complex:
        return _same_float(a.real, b.real) and _same_float(a.imag, b.imag)
    if isinstance(a, enum.Enum):
        # Unnamed members of a Flag are new objects each time.
        return isinstance(a, enum.Flag) and bool(a == b)
    names = field_names(kind)
    if names:
        return all(same(getattr(a, n, ABSENT), getattr(b, n, ABSENT)) for n in names)
    if isinstance(a, Mapping):
        return len(a) == len(b) and all(
            same(k, other_k) and same(v, other_v)
            for (k, v), (other_k, other_v) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, set | frozenset):
        return _same_sets(a, b)
    if is_array(a):
        return _same_arrays(a, b)
    if hasattr(a, "__iter__") and hasattr(a, "__len__") and not isinstance(a, bytes | range):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if hasattr(a, "__dict__") and type(a).__eq__ is not object.__eq__ and not _is_value(a):
        return same(vars(a), vars(b))
    # Decimals are compared as text: 1.0 differs from 1.00, and NaN never equals NaN.
    return repr(a) == repr(b) if _is_value(a) else bool(a == b)


def _is_value(value: Any) -> bool:
    return type(value).__module__ in ("decimal", "fractions", "uuid", "pathlib", "datetime")


def _same_float(a: float, b: float) -> bool:
    # repr shows the sign of zero and is the same for all NaNs.
    return float.__repr__(a) == float.__repr__(b)


def _same_number(a: Any, b: Any) -> bool:
    if is_array(a) or is_array(b):
        a, b = as_plain_number(a), as_plain_number(b)
        if is_array(a) or is_array(b):
            return is_array(a) and is_array(b) and _same_arrays(a, b)
        return same(a, b)
    if type(a) is int and type(b) is float:
        return a == b
    # A field declared as pathlib.Path contains this system's subclass.
    return False


def _same_sets(a: Any, b: Any) -> bool:
    if len(a) != len(b):
        return False
    others = list(b)
    by_key = {(type(x), x) for x in others}
    return all((type(x), x) in by_key or any(same(x, y) for y in others) for x in a)


def _same_arrays(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) != isinstance(b, np.ndarray):
        return False
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    first: Any = np.asarray(a)
    second: Any = np.asarray(b)
    if first.dtype.kind not in "fcV" or first.tobytes() == second.tobytes():
        return first.dtype.kind in "fcV" or bool(np.array_equal(first, second))
    if first.dtype.kind == "c":
        return _same_floats(first.real, second.real) and _same_floats(first.imag, second.imag)
    return _same_floats(first, second)


def _same_floats(first: Any, second: Any) -> bool:
    # 0.0 differs from -0.0, but the sign of NaN does not count.
    missing = first != first
    signs = np.signbit(first) == np.signbit(second)
    return bool(np.all(((first == second) & signs) | (missing & (second != second))))


def field_names(cls: Any) -> list[str]:
    if attrs.has(cls):
        return [field.name for field in attrs.fields(cls)]
    return list(getattr(cls, "__dataclass_fields__", getattr(cls, "_fields", ())))


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | jax.Array)


def as_plain_number(value: Any) -> Any:
    return value.item() if is_array(value) and value.ndim == 0 else value
