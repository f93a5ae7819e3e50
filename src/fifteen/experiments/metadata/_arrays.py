"""NumPy and JAX: scalars as plain numbers, small arrays as lists, and dtypes by name."""

import base64
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from yaml.nodes import MappingNode, Node, ScalarNode

from ._codec import Codec, Writing, undeclared
from ._dtypes import MAX_ARRAY_BYTES, name_of, parse_dtype
from ._problems import Reading, Refusal
from ._scalars import format_float, format_int, quote, shorten
from ._tree import Mapping, Sequence, Tree
from ._types import UNSET

_MAX_LISTED = 10_000
"""Elements up to which an array is a list; a larger one is base64, which is no less readable."""


def is_array(value: Any) -> bool:
    """Tell whether a value is a NumPy or JAX array or scalar."""
    return isinstance(value, np.ndarray | np.generic | jax.Array)


def as_plain_number(value: Any) -> Any:
    """Return the bool, int, float or complex that a NumPy or JAX scalar equals; others as they are.

    Raises:
        Refusal: it has no value yet, or none any more.
    """
    kind = type(value)
    if kind is int or kind is float or kind is str or kind is bool:
        return value
    if isinstance(value, np.generic):
        array: Any = value
    elif isinstance(value, jax.Array) and value.ndim == 0:
        array = _fetch(value)
    elif isinstance(value, np.ndarray) and value.ndim == 0:
        array = value
    else:
        return value
    if array.dtype.kind == "U":
        return str(array)
    if array.dtype.kind == "m":
        # NumPy counts a duration among the integers.
        return value
    for wanted, plain in ((np.bool_, bool), (np.integer, int)):
        if np.issubdtype(array.dtype, wanted):
            return plain(array)
    if np.issubdtype(array.dtype, np.complexfloating):
        whole = complex(array)
        parts = ((whole.real, array.real), (whole.imag, array.imag))
        exact = all(narrow == wide or narrow != narrow for narrow, wide in parts)
        return whole if exact else value
    if jnp.issubdtype(array.dtype, np.integer):
        return int(array)
    if jnp.issubdtype(array.dtype, np.floating):
        number = float(array)
        return number if number == array or number != number else value
    return value


def _fetch(value: jax.Array) -> np.ndarray[Any, Any]:
    if isinstance(value, jax.core.Tracer):
        raise Refusal.because("a value inside jit, which has no number yet; return it from jit")
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        raise Refusal.because(
            "a PRNG key; use save_checkpoint, or write the integer that it was made from"
        )
    if value.is_deleted():
        raise Refusal.because("an array that has been deleted or donated")
    if not value.is_fully_addressable and not value.is_fully_replicated:
        raise Refusal.because("an array of several processes; use save_checkpoint")
    return np.asarray(value)


def encode_array(value: Any, tagged: bool) -> Tree:
    """Return an array's tree: its dtype, its values as nested lists, and its shape if needed."""
    is_jax = isinstance(value, jax.Array)
    if is_jax and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        _fetch(value)
    if value.nbytes > MAX_ARRAY_BYTES:
        raise Refusal.because(
            f"an array of {value.nbytes:,} bytes, more than the {MAX_ARRAY_BYTES:,} that "
            "metadata takes; use save_checkpoint"
        )
    array = _fetch(value) if is_jax else np.asarray(value)
    if type(value) is not np.ndarray and not is_jax:
        raise Refusal.because(f"a {type(value).__name__}; use numpy.asarray(it)")
    if array.dtype.hasobject or array.dtype.names:
        raise Refusal.because(f"an array of dtype {array.dtype}; only numbers and text are written")
    pairs: list[tuple[Tree, Tree]] = [("dtype", quote(name_of(array.dtype)))]
    listed = array.size <= _MAX_LISTED and array.dtype.kind not in "mMSV"
    listed = listed or (_is_extended(array.dtype) and array.size <= _MAX_LISTED)
    if array.size == 0 or not listed:
        pairs.append(("shape", Sequence([str(n) for n in array.shape])))
    if listed:
        pairs.append(("values", _nest(array)))
    else:
        data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        pairs.append(("base64", f"'{data}'"))
    return Mapping(pairs, ("!jax_array" if is_jax else "!array") if tagged else "")


def _is_extended(dtype: Any) -> bool:
    """Tell whether a dtype is one of those that JAX adds to NumPy, such as bfloat16."""
    return dtype.kind == "V" and hasattr(jnp, dtype.name)


def _nest(array: Any) -> Tree:
    if array.ndim:
        return Sequence([_nest(array[i, ...]) for i in range(len(array))])
    if array.dtype == np.float32:
        # The shortest text of a float32 is shorter than that of the float64 that equals it.
        short = float(str(np.float32(array)))
        if np.float32(short) == array:
            return format_float(short)
    number = as_plain_number(array)
    if type(number) is bool:
        return "true" if number else "false"
    if type(number) is int:
        return format_int(number)
    if type(number) is float:
        return format_float(number)
    if isinstance(number, complex | str):
        return quote(str(number))
    raise Refusal.because(f"an array of dtype {array.dtype}, which no plain number equals")


def decode_array(node: Node, reading: Reading) -> Any:
    """Return the NumPy array of a node: a mapping as above, or lists of numbers."""
    try:
        if type(node) is not MappingNode:
            return np.asarray(undeclared.decode(node, reading))
        parts = {key.value: value for key, value in node.value if type(key) is ScalarNode}
        dtype = parse_dtype(parts.pop("dtype").value)
        shape = undeclared.decode(parts.pop("shape"), reading) if "shape" in parts else None
        if "base64" in parts:
            array = np.frombuffer(base64.b64decode(parts.pop("base64").value), dtype).copy()
        else:
            values = undeclared.decode(parts.pop("values"), reading)
            if dtype.kind in "SU" and dtype.itemsize * _count(values) > MAX_ARRAY_BYTES:
                raise ValueError(f"more than {MAX_ARRAY_BYTES:,} bytes of {dtype}")
            array = np.asarray(_each_complex(values) if dtype.kind == "c" else values, dtype)
        if parts:
            return reading.error(node, f"an array has no {', '.join(map(repr, parts))}")
        return array if shape is None else array.reshape(shape)
    except KeyError as error:
        return reading.error(node, f"expected an array, with 'dtype' and 'values': no {error}")
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        return reading.error(node, f"expected an array: {shorten(str(error), 200)}")


def _count(values: Any) -> int:
    return sum(map(_count, values)) if isinstance(values, list) else 1


def _each_complex(values: Any) -> Any:
    return [_each_complex(v) for v in values] if isinstance(values, list) else complex(values)


def make_array(expression: Any, origin: Any, arguments: tuple[Any, ...]) -> Codec | None:
    """Make the codec of NumPy and JAX arrays, and of NumPy's scalar classes."""
    origin = getattr(origin, "array_type", origin)  # jaxtyping's Float[Array, "..."]
    if not isinstance(origin, type):
        return None
    if issubclass(origin, np.generic):
        return _make_scalar(origin)
    if not issubclass(origin, np.ndarray | jax.Array):
        return None
    is_jax = issubclass(origin, jax.Array)
    tag = "!jax_array" if is_jax else "!array"

    def accepts(value: Any) -> bool:
        return isinstance(value, jax.Array) if is_jax else type(value) is np.ndarray

    def adopt(value: Any) -> Any:
        if not is_array(value) and type(value) not in (bool, int, float, complex):
            return UNSET
        try:
            return finish(value, is_jax)
        except ValueError:
            return UNSET

    def encode(value: Any, writing: Writing) -> Tree:
        if accepts(value):
            return encode_array(value, tagged=False)
        return undeclared.encode_off_type(value, writing, codec)

    def decode(node: Node, reading: Reading) -> Any:
        before = len(reading.errors)
        array = decode_array(node, reading)
        if len(reading.errors) > before:
            return None
        if is_jax and type(node) is not MappingNode:
            # No dtype is given, so it is the one that JAX gives such numbers.
            return jnp.asarray(array.tolist())
        try:
            return finish(array, is_jax)
        except ValueError as error:
            return reading.error(node, str(error))

    codec = Codec("jax.Array" if is_jax else "numpy.ndarray", frozenset(["map", "seq"]),
                  accepts, encode, decode,
                  lenient=frozenset(["int", "float", "bool"]), tags=frozenset([tag]),
                  tagged=lambda v, w: encode_array(v, tagged=True), adopt=adopt)  # fmt: skip
    return codec


def finish(array: Any, is_jax: bool) -> Any:
    """Return an array as the library that is declared has it, with its dtype.

    Raises:
        ValueError: JAX would take another dtype, since 64 bits are switched off.
    """
    if not is_jax:
        return np.asarray(array)
    wide = getattr(array, "dtype", None)
    narrow = wide if wide is None else jax.dtypes.canonicalize_dtype(wide)
    if narrow != wide:
        raise ValueError(
            f"an array of dtype {wide}, which JAX would cut to {narrow}: "
            "set jax_enable_x64, or declare np.ndarray"
        )
    return jnp.asarray(array)


def _make_scalar(cls: Any) -> Codec:
    def adopt(value: Any) -> Any:
        number = as_plain_number(value)
        if not isinstance(number, bool | int | float | complex):
            return UNSET
        try:
            # An abstract class, such as np.floating, leaves open which of its own to make.
            made = cls(number) if cls.__subclasses__() == [] else number
        except (TypeError, ValueError, OverflowError):
            return UNSET
        return made if made == number or number != number else UNSET

    def accepts(value: Any) -> bool:
        return isinstance(value, cls)

    def encode(value: Any, writing: Writing) -> Tree:
        made = adopt(value)
        if accepts(value) or type(as_plain_number(made)) is type(as_plain_number(value)):
            return undeclared.encode(value, writing)
        return undeclared.encode_off_type(value, writing, codec)

    def decode(node: Node, reading: Reading) -> Any:
        before = len(reading.errors)
        value = undeclared.decode(node, reading)
        made = adopt(value)
        if made is UNSET and len(reading.errors) == before:
            return reading.expected(node, cls.__name__)
        return made

    kinds = frozenset(["bool", "int", "float"])
    codec = Codec(cls.__name__, kinds, accepts, encode, decode, adopt=adopt)
    return codec
