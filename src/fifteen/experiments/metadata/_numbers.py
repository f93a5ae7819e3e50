"""NumPy and JAX values as plain Python: numbers, arrays as dicts of lists, dtypes by name.

JAX is imported only if a file has one of its dtypes or arrays: a program with a JAX value has
imported it already.
"""

import base64
import sys
from typing import Any

import ml_dtypes
import numpy as np

from ._fields import UNSET
from ._problems import Problem, did_you_mean
from ._scalars import shorten

MAX_ARRAY_BYTES = 2**20
_MAX_LISTED = 10_000
"""A larger array is written as base64, which is no less readable."""


def is_jax_array(value: Any) -> bool:
    """Return whether a value is an array of JAX, without importing it."""
    return isinstance(value, getattr(sys.modules.get("jax"), "Array", ()))


def is_jax_scalar_type(value: Any) -> bool:
    """Return whether a value is one of JAX's scalar types, such as `jnp.float32`."""
    return type(value).__name__ == "_ScalarMeta" and type(value).__module__.startswith("jax.")


def jax_scalar_type(name: str) -> Any:
    """Return the scalar type of a name such as `bfloat16`, or None."""
    import jax.numpy as jnp

    value = vars(jnp).get(name)
    return value if is_jax_scalar_type(value) else None


def numpy_scalar_type(name: str) -> Any:
    """Return the scalar class of a name in NumPy or ml_dtypes, or None."""
    # Not getattr, which would import a submodule of that name.
    found = vars(np).get(name, vars(ml_dtypes).get(name))
    return found if isinstance(found, type) and issubclass(found, np.generic) else None


def _name_of(dtype: Any) -> str:
    """Return a dtype's name, or NumPy's code if the name is ambiguous."""
    if dtype.names is None and dtype.isnative and dtype.kind not in "SU":
        return dtype.name
    return dtype.str


def is_extended(dtype: Any) -> bool:
    """Return whether a dtype is one of those that JAX adds to NumPy, such as bfloat16."""
    return dtype.type.__module__ == "ml_dtypes"


def parse_dtype(text: str) -> np.dtype[Any]:
    """Return the dtype of a name such as `bfloat16` or `<f4`, or raise ValueError."""
    try:
        dtype = np.dtype(text)
    except (TypeError, SyntaxError) as error:
        hint = did_you_mean(text, map(str, np.sctypeDict))
        raise ValueError(f"no dtype {text!r}{hint}") from error
    if dtype.hasobject:
        raise ValueError("objects are not read")
    if dtype.names or dtype.subdtype or dtype.itemsize > MAX_ARRAY_BYTES:
        # One value in a file could become gigabytes of zeros in memory.
        raise ValueError(f"{shorten(text)} is not a dtype of numbers or of short text")
    return dtype


def is_dtype(value: Any) -> bool:
    """Return whether a value is a dtype, or a class for one (`jnp.bfloat16`)."""
    is_class = isinstance(value, type) and issubclass(value, np.generic)
    return is_class or isinstance(value, np.dtype) or is_jax_scalar_type(value)


def dtype_text(value: Any) -> str:
    """Return a dtype's text, which distinguishes `jnp.float32`, `np.float32` and its dtype."""
    if is_jax_scalar_type(value):
        text = f"jnp.{value.dtype.name}"
    else:
        text = f"np.{value.__name__}" if isinstance(value, type) else _name_of(value)
    try:
        parsed = parse_dtype_text(text)
    except ValueError:
        parsed = UNSET
    if type(parsed) is not type(value) or parsed != value:
        raise Problem(f"the dtype {value}, which cannot be written by its name")
    return text


def parse_dtype_text(text: str) -> Any:
    """Return the dtype or class of a text that `dtype_text` made, or raise ValueError."""
    module, _, name = text.rpartition(".")
    if module == "jnp":
        found = jax_scalar_type(name)
        return parse_dtype(text) if found is None else found
    if module == "np":
        return numpy_scalar_type(name) or parse_dtype(name).type
    return parse_dtype(text)


def is_array(value: Any) -> bool:
    """Return whether a value is a NumPy or JAX array or scalar."""
    return isinstance(value, np.ndarray | np.generic) or is_jax_array(value)


def as_plain_number(value: Any) -> Any:
    """Return the plain number or text that equals a NumPy or JAX scalar, or the value itself."""
    kind = type(value)
    if kind is int or kind is float or kind is str or kind is bool:
        return value
    array = _fetch(value) if is_jax_array(value) and not value.ndim else value
    if not isinstance(array, np.generic | np.ndarray) or array.ndim:
        return value
    kind, name = array.dtype.kind, array.dtype.name
    if is_extended(array.dtype):
        kind = "f" if "float" in name else "i" if "int" in name else ""
    if kind not in _PLAIN:
        return value
    plain = _PLAIN[kind](array)
    is_nan = plain != plain
    if is_nan and kind == "c":
        parts = (plain.real, array.real), (plain.imag, array.imag)
        is_nan = all(part == own or part != part for part, own in parts)
    # A long double may have no equal.
    return plain if plain == array or is_nan else value


_PLAIN: dict[str, Any] = {"b": bool, "i": int, "u": int, "f": float, "c": complex, "U": str}


def _fetch(value: Any) -> np.ndarray[Any, Any]:
    jax = sys.modules["jax"]
    if isinstance(value, jax.core.Tracer):
        raise Problem("a value inside jit, which has no number yet; return it from jit")
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        raise Problem("a PRNG key; use save_checkpoint, or write the integer that it was made from")
    if value.is_deleted():
        raise Problem("an array that has been deleted or donated")
    if not value.is_fully_addressable and not value.is_fully_replicated:
        raise Problem("an array spread over several processes; use save_checkpoint")
    return np.asarray(value)


def array_to_dict(value: Any) -> dict[str, Any]:
    """Return an array's dtype, its values as nested lists or base64, and its shape if needed."""
    is_jax = is_jax_array(value)
    if value.nbytes > MAX_ARRAY_BYTES:
        raise Problem(
            f"an array of {value.nbytes:,} bytes, more than the {MAX_ARRAY_BYTES:,} that "
            "metadata takes; use save_checkpoint"
        )
    if type(value) is not np.ndarray and not is_jax:
        raise Problem(f"a {type(value).__name__}; use numpy.asarray(it)")
    array = _fetch(value) if is_jax else value
    if array.dtype.hasobject or array.dtype.names:
        raise Problem(f"an array of dtype {array.dtype}; only numbers and text are written")
    # Extended dtypes are void to NumPy.
    has_numbers = array.dtype.kind not in "mMSV" or is_extended(array.dtype)
    is_listed = has_numbers and array.size <= _MAX_LISTED
    parts: dict[str, Any] = {"dtype": _name_of(array.dtype)}
    if array.size == 0 or not is_listed:
        parts["shape"] = list(array.shape)
    if is_listed:
        parts["values"] = _nest(array)
    else:
        parts["base64"] = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return parts


def _nest(array: Any) -> Any:
    if array.ndim:
        return [_nest(array[i, ...]) for i in range(len(array))]
    if array.dtype == np.float32:
        # The shortest text of a float32 is shorter than that of the float64 that equals it.
        short = float(str(np.float32(array)))
        return short if np.float32(short) == array else float(array)
    number = as_plain_number(array)
    if isinstance(number, complex):
        return str(number)
    if not isinstance(number, bool | int | float | str):
        raise Problem(f"an array of dtype {array.dtype}, which no plain number equals")
    return number


def array_from_list(values: Any, dtype: Any = None) -> Any:
    """Return the NumPy array of nested lists, or raise an error of NumPy."""
    # An array of text stores each element with the length of the longest.
    leaves = np.asarray(values, object).ravel()
    width = dtype.itemsize if dtype is not None and dtype.kind in "SU" else 0
    if dtype is None:
        width = max((4 * len(leaf) for leaf in leaves if isinstance(leaf, str)), default=0)
    if width * len(leaves) > MAX_ARRAY_BYTES:
        raise ValueError(f"more than {MAX_ARRAY_BYTES:,} bytes of text")
    array = np.asarray(values, dtype)
    if array.dtype.hasobject:
        raise ValueError("values that are neither numbers of at most 64 bits nor text")
    return array


def array_from_dict(parts: dict[str, Any]) -> Any:
    """Return the NumPy array that `array_to_dict` described, or raise an error of NumPy."""
    if not {"dtype"} < parts.keys() <= {"dtype", "shape", "values", "base64"}:
        raise ValueError(f"an array has 'dtype', 'shape' and 'values', not {list(parts)}")
    dtype = parse_dtype(parts["dtype"])
    if "base64" in parts:
        array = np.frombuffer(base64.b64decode(parts["base64"]), dtype).copy()
    else:
        array = array_from_list(parts.get("values"), dtype)
    return array.reshape(parts["shape"]) if "shape" in parts else array


def as_jax(array: Any) -> Any:
    """Return an array or a number as an array of JAX, with its dtype, or raise ValueError."""
    import jax

    dtype = getattr(array, "dtype", None)
    if dtype is not None and (narrow := jax.dtypes.canonicalize_dtype(dtype)) != dtype:
        raise ValueError(
            f"an array of dtype {dtype}, which JAX would cut to {narrow}: "
            "set jax_enable_x64, or declare np.ndarray"
        )
    return jax.numpy.asarray(array)
