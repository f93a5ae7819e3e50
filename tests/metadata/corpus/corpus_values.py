# ruff: noqa: UP006, UP035 - the writers run on Pythons down to 3.7.
"""What the writers write: the name, type and value of every case, as expressions.

Expressions and not objects, since the manifest repeats them, so that the tests can evaluate them
in another environment. Each is evaluated with `namespace()`.
"""

import collections
import datetime
import decimal
import fractions
import math
import pathlib
import uuid
from typing import Any, Dict, Tuple

import corpus_types

Cases = Dict[str, Tuple[str, str]]


def namespace() -> Dict[str, Any]:
    """Everything that the expressions may name; `np` and `jnp` where they are installed."""
    import typing

    names: Dict[str, Any] = {
        **vars(typing),
        **vars(corpus_types),
        "collections": collections,
        "datetime": datetime,
        "decimal": decimal,
        "fractions": fractions,
        "math": math,
        "nan": math.nan,
        "inf": math.inf,
        "pathlib": pathlib,
        "uuid": uuid,
    }
    try:
        import numpy as np

        names["np"] = np
        import jax
        import jax.numpy as jnp

        names.update(jax=jax, jnp=jnp)
    except ImportError:
        pass
    return names


# Texts that one YAML reader or another takes for something else, and texts that are hard to quote.
TRICKY = (
    "['', ' ', 'no', 'Yes', 'on', 'OFF', 'y', 'N', 'null', '~', 'None', 'true', '1e-3', '0o17', '017', "
    "'0x1F', '1_000', '12:30:00', '190:20:30', '1.10', '.5', '+.inf', '.nan', '=', '<<', '2001-12-14', "
    "' leading', 'trailing ', 'a: b', 'a #b', '- a', '# c', '!tag', '&a', '*a', '%x', '@x', '`x', "
    "'{a}', '[a]', 'a\\nb', 'a\\n', '\\n', 'tab\\there', 'quote\\'s', 'double\"s', 'back\\\\slash', "
    "'\\x00nul', '\\x7f', '\\x85', '\\u2028', 'gr\\xfc\\xdfe', '\\U0001f600', '---', '...', '?', "
    "'long ' * 40, 'line one\\nline two\\n\\n  indented\\n']"
)
INTEGERS = "[0, 1, -1, 7, 255, -2**31, 2**63, -2**63 - 1, 10**40]"
FLOATS = (
    "[0.0, -0.0, 1.0, 0.1, 1e-3, 1e-5, 1.5e-05, 1e-300, 5e-324, 1e16, 1e17, 1e300, 1.7976931348623157e308, "
    "1/3, nan, inf, -inf, 123456789.125]"
)

# Written by `dcargs.to_yaml` and `tyro.extras.to_yaml`, and read back by their `from_yaml`.
DATACLASSES: Cases = {
    "empty": ("Empty", "Empty()"),
    "scalars": ("Scalars", "Scalars()"),
    "scalars_changed": ("Scalars", "Scalars(integer=-5, number=-0.0, flag=False, text='no')"),
    "scalars_int_in_float": ("Scalars", "Scalars(number=3)"),
    "integers": ("Integers", f"Integers({INTEGERS})"),
    "floats": ("Floats", f"Floats({FLOATS})"),
    "strings_tricky": ("Strings", f"Strings({TRICKY})"),
    "adam": ("Adam", "Adam()"),
    "sgd": ("Sgd", "Sgd(learning_rate=5e-5, momentum=0.9)"),
    "frozen": ("Frozen", "Frozen('a', (1, 2, 3))"),
    "frozen_empty_tuple": ("Frozen", "Frozen('a')"),
    "choice_first": ("Choice", "Choice(Adam(1e-4))"),
    "choice_second": ("Choice", "Choice(Sgd(0.1, 0.9), fallback=Adam())"),
    "sides": ("Sides", "Sides(Right(2), Left(3))"),
    "subclasses": ("Drawing", "Drawing(Circle('c', 2.5), [Square(), Shape('s'), Circle()])"),
    "base": ("Drawing", "Drawing(Shape())"),
    "subclass_itself": ("Circle", "Circle(radius=0.5)"),
    "subclass_as_base": ("Shape", "Circle(radius=0.5)"),
    "generic": ("Pair[int]", "Pair(1, 2)"),
    "generic_of_dataclass": ("Pair[Sgd]", "Pair(Sgd(), Sgd(0.5))"),
    "generic_of_tuple": ("Pair[Tuple[int, str]]", "Pair((1, 'a'), (2, 'b'))"),
    "generic_of_enum": ("Pair[Color]", "Pair(Color.RED, Color.DARK_BLUE)"),
    "generic_held": ("GenericHolder", "GenericHolder(Pair(1, 2), Pair(Sgd(), Sgd(0.5)))"),
    "optionals_none": ("Optionals", "Optionals()"),
    "optionals_some": ("Optionals", "Optionals(3, 'null', Sgd(), (1, 2))"),
    "unions": ("Unions", "Unions('3', 2.5, True, [1, 2])"),
    "unions_other": ("Unions", "Unions(3, None, 'true', {'a': 1})"),
    "unions_third": ("Unions", "Unions('a', 3, False, {})"),
    "containers": (
        "Containers",
        "Containers([1, 2], ['a', 'no'], (1, 'b', 2.5), (4, 5, 6), {'x': 1.0, 'y': 1e-5}, {3, 1, 2})",
    ),
    "containers_empty": ("Containers", "Containers([], [], (0, '', 0.0), (), {}, set())"),
    "frozenset": ("Frozensets", "Frozensets(frozenset([3, 1, 2]))"),
    "deep_containers": (
        "DeepContainers",
        "DeepContainers([[1, 2], [], [3]], [('a', 1), ('b', 2)], {'p': [(1, 2), (3, 4)], 'q': []}, "
        "{10: 'ten', -1: 'minus'}, {(0, 1): 'edge', (1, 2): 'other'}, ((1, 2), ('x', 'y', 'z')))",
    ),
    "nests": ("Nests", "Nests(Sgd(), [Sgd(0.1), Sgd(0.2)], {'a': Sgd(0.3)}, (Sgd(0.4), Adam()))"),
    "train": ("Train", "Train('digits')"),
    "train_changed": (
        "Train",
        "Train('1e-3', Network((8,), 'on', 0.1), Data(pathlib.Path('/data'), 8, False), Sgd(1.0), "
        "Color.DARK_BLUE, 5, 2**40, 'first line\\nsecond line', ('a', 'b'), {0: 1e-3, 1000: 1e-4})",
    ),
    "enums": (
        "Enums",
        "Enums(Color.GREEN, Numbered.TWO, Level.HIGH, Mode.EVAL, [Color.RED, Color.DARK_BLUE], "
        "{Color.RED: 1, Color.GREEN: 2}, Color.RED)",
    ),
    "flag_member": ("Flags", "Flags(Access.WRITE)"),
    "flag_combination": ("Flags", "Flags(Access.READ | Access.EXECUTE)"),
    "paths": (
        "Paths",
        "Paths(pathlib.Path('runs/digits'), [pathlib.Path('/'), pathlib.Path('.'), pathlib.Path('a b/c')], "
        "pathlib.PurePosixPath('x/y'), pathlib.PureWindowsPath('c:/x/y'), None)",
    ),
    "times": (
        "Times",
        "Times(datetime.date(2022, 10, 3), datetime.datetime(2022, 10, 3, 12, 30, 1, 250), "
        "datetime.timedelta(days=1, seconds=2, microseconds=3), "
        "datetime.datetime(2022, 10, 3, tzinfo=datetime.timezone.utc))",
    ),
    "times_zone": (
        "Times",
        "Times(datetime.date(1, 1, 1), datetime.datetime(2022, 10, 3), datetime.timedelta(seconds=-1), "
        "datetime.datetime(2022, 10, 3, 1, 2, 3, tzinfo=datetime.timezone(datetime.timedelta(hours=5.5))))",
    ),
    "blobs": ("Blobs", "Blobs(bytes(range(256)), 1.5-2j)"),
    "blobs_empty": ("Blobs", "Blobs(b'', complex(0, inf))"),
    "literals": ("Literals", "Literals('no', 2, None)"),
    "literals_other": ("Literals", "Literals('1', 3, True)"),
    "annotateds": ("Annotateds", "Annotateds(0.5)"),
    "new_types": ("NewTypes", "NewTypes(Seconds(30.0))"),
    "untyped": (
        "Untyped",
        "Untyped((1, 'a', None), {'t': (1, 2), 'p': pathlib.Path('x'), 's': {1, 2}, 3: 4.0}, "
        "[(), b'raw', 1+2j, [None, True]])",
    ),
    "untyped_plain": ("Untyped", "Untyped(None, {}, [])"),
    "hidden": ("Hidden", "Hidden(3)"),
    "range": ("Ranges", "Ranges(range(2, 20, 3))"),
    "named_tuples": ("NamedTuples", "NamedTuples(Point(1), [Point(2, 0.25), Point(3)])"),
    "missing": ("Scalars", "Scalars(number=MISSING)"),
    "missing_nested": ("Choice", "Choice(Sgd(momentum=MISSING))"),
    "shared": ("Shared", "(lambda a, b: Shared(a, a, b, b))(Sgd(0.25), [1, 2])"),
}

# NumPy inside a dataclass.
DATACLASSES_NUMPY: Cases = {
    "numpy_float64": ("Arrays", "Arrays(np.float64(1e-3), np.float64(2.5))"),
    "numpy_float32": ("Arrays", "Arrays(np.float32(1e-3), [np.float32(0.1), np.float32(nan)])"),
    "numpy_float16": ("Arrays", "Arrays(np.float16(0.5), {'a': np.float16(inf)})"),
    "numpy_ints": (
        "Arrays",
        "Arrays(np.int32(7), (np.int64(-2**63), np.uint8(255), np.bool_(True)))",
    ),
    "numpy_array": ("Arrays", "Arrays(0.5, np.arange(6, dtype=np.int32).reshape(2, 3))"),
    "numpy_array_in_float": ("Arrays", "Arrays(np.array(1e-3), np.array([0.5, nan, -inf]))"),
}

# JAX inside a dataclass.
DATACLASSES_JAX: Cases = {
    "jax_float32": ("Arrays", "Arrays(jnp.float32(1e-3), jnp.float32(0.1))"),
    "jax_bfloat16": ("Arrays", "Arrays(jnp.bfloat16(1e-3), [jnp.bfloat16(0.1)])"),
    "jax_array": ("Arrays", "Arrays(jnp.asarray(0.5), jnp.arange(6).reshape(2, 3))"),
}

# Written by plain `yaml.dump` and read back by `yaml.load(..., Loader=yaml.UnsafeLoader)`.
PLAIN: Cases = {
    "int": ("int", "3"),
    "int_big": ("int", "10**40"),
    "int_negative": ("int", "-17"),
    "float": ("float", "1e-3"),
    "float_small": ("float", "1e-300"),
    "float_nan": ("float", "nan"),
    "float_inf": ("float", "-inf"),
    "float_negative_zero": ("float", "-0.0"),
    "bool": ("bool", "False"),
    "none": ("None", "None"),
    "str": ("str", "'hello'"),
    "str_empty": ("str", "''"),
    "str_lines": ("str", "'first line\\nsecond line\\n\\n  third\\n'"),
    "str_no": ("str", "'no'"),
    "str_number": ("str", "'1e-3'"),
    "str_emoji": ("str", "'\\U0001f600 gr\\xfc\\xdfe'"),
    "bytes": ("bytes", "b'\\x00\\xff raw'"),
    "complex": ("complex", "1.5-2j"),
    "complex_nan": ("complex", "complex(nan, -inf)"),
    "date": ("datetime.date", "datetime.date(2022, 10, 3)"),
    "datetime": ("datetime.datetime", "datetime.datetime(2022, 10, 3, 12, 30, 1, 250)"),
    "datetime_utc": (
        "datetime.datetime",
        "datetime.datetime(2022, 10, 3, 12, 30, tzinfo=datetime.timezone.utc)",
    ),
    "timedelta": ("datetime.timedelta", "datetime.timedelta(days=1, microseconds=3)"),
    "integers": ("list", INTEGERS),
    "integers_typed": ("List[int]", INTEGERS),
    "floats": ("List[float]", FLOATS),
    "strings_tricky": ("List[str]", TRICKY),
    "keys_tricky": ("Dict[str, int]", f"dict(zip({TRICKY}, range(100)))"),
    "list_empty": ("list", "[]"),
    "list_mixed": ("list", "[1, 'a', 2.5, None, True, [1, [2]], {'a': []}]"),
    "list_of_lists": ("List[List[int]]", "[[1, 2], [], [3]]"),
    "list_of_tuples": ("List[Tuple[int, str]]", "[(1, 'a'), (2, 'b')]"),
    "tuple": ("tuple", "(1, 'a', 2.5)"),
    "tuple_typed": ("Tuple[int, str, float]", "(1, 'a', 2.5)"),
    "tuple_variadic": ("Tuple[int, ...]", "(1, 2, 3)"),
    "tuple_empty": ("tuple", "()"),
    "tuple_nested": ("Tuple[Tuple[int, int], Tuple[str, ...]]", "((1, 2), ('x', 'y'))"),
    "set": ("set", "{1, 2, 3}"),
    "set_of_str": ("Set[str]", "{'a', 'no', 'c'}"),
    "set_empty": ("set", "set()"),
    "frozenset": ("FrozenSet[int]", "frozenset([1, 2, 3])"),
    "dict": ("dict", "{'b': 1, 'a': 2}"),
    "dict_empty": ("dict", "{}"),
    "dict_typed": ("Dict[str, float]", "{'lr': 1e-5, 'decay': 0.5, 'steps': 100}"),
    "dict_int_keys": ("Dict[int, str]", "{3: 'c', 1: 'a', -2: 'z'}"),
    "dict_tuple_keys": ("Dict[Tuple[int, int], str]", "{(0, 1): 'edge', (1, 2): 'other'}"),
    "dict_mixed_keys": ("dict", "{True: 'yes', None: 'nothing', 2.5: 'number', 'no': 'text'}"),
    "dict_nested": ("dict", "{'a': {'b': {'c': [1, (2, 3)]}}, 'd': {}}"),
    "dict_bytes_values": ("Dict[str, bytes]", "{'a': b'', 'b': b'abc'}"),
    "dict_as_config": (
        "Dict[str, Any]",
        "{'lr': 3e-4, 'layers': [64, 64], 'shape': (28, 28, 1), 'root': pathlib.Path('data'), 'name': None}",
    ),
    "union": ("Union[int, str, List[int]]", "'5'"),
    "optional": ("Optional[Dict[str, int]]", "{'a': 1}"),
    "optional_none": ("Optional[int]", "None"),
    "any": ("Any", "[(1, 2), {'a': {3}}, b'x']"),
    "path": ("pathlib.Path", "pathlib.Path('runs/digits')"),
    "path_root": ("pathlib.Path", "pathlib.Path('/')"),
    "path_dot": ("pathlib.Path", "pathlib.Path('.')"),
    "path_absolute": ("pathlib.Path", "pathlib.Path('/data/gr\\xfc\\xdfe/a b')"),
    "path_pure": ("pathlib.PurePosixPath", "pathlib.PurePosixPath('a/b')"),
    "path_windows": ("pathlib.PureWindowsPath", "pathlib.PureWindowsPath('c:/data/x')"),
    "paths": ("Dict[str, pathlib.Path]", "{'a': pathlib.Path('a'), 'b': pathlib.Path('b/c')}"),
    "range": ("range", "range(2, 20, 3)"),
    "enum": ("Color", "Color.DARK_BLUE"),
    "enum_int": ("Level", "Level.HIGH"),
    "enum_str": ("Mode", "Mode.EVAL"),
    "enum_flag": ("Access", "Access.READ | Access.WRITE"),
    "enums": ("Dict[str, Color]", "{'a': Color.RED, 'b': Color.GREEN}"),
    "enum_keys": ("Dict[Color, int]", "{Color.RED: 1, Color.GREEN: 2}"),
    "named_tuple": ("Point", "Point(1, 0.25)"),
    "named_tuples": ("List[Point]", "[Point(1), Point(2, 0.25)]"),
    "dataclass": ("Sgd", "Sgd(0.1, 0.9)"),
    "dataclasses": ("List[Sgd]", "[Sgd(0.1), Sgd(0.2, 0.9)]"),
    "dataclass_nested": ("Train", "Train('digits', tags=('a', 'b'), schedule={0: 1e-3})"),
    "ordered_dict": ("collections.OrderedDict", "collections.OrderedDict([('b', 1), ('a', 2)])"),
    "shared_list": ("List[List[int]]", "(lambda a: [a, a])([1, 2])"),
    "shared_dict": ("Dict[str, dict]", "(lambda a: {'x': a, 'y': a})({'k': (1, 2)})"),
    "decimal": ("decimal.Decimal", "decimal.Decimal('1.10')"),
    "fraction": ("fractions.Fraction", "fractions.Fraction(1, 3)"),
    "uuid": ("uuid.UUID", "uuid.UUID(int=5)"),
}

PLAIN_NUMPY: Cases = {
    **{
        f"numpy_{name}": (f"np.{name}", f"np.{name}({value})")
        for name, value in {
            "float64": "1e-3",
            "float32": "1e-3",
            "float16": "0.1",
            "int8": "-5",
            "int16": "-500",
            "int32": "7",
            "int64": "-2**63",
            "uint8": "255",
            "uint16": "65535",
            "uint32": "2**32 - 1",
            "uint64": "2**64 - 1",
            "bool_": "True",
            "complex64": "1.5-2j",
            "complex128": "1.5-2j",
        }.items()
    },
    "numpy_float64_as_float": ("float", "np.float64(0.1)"),
    "numpy_float64_nan": ("np.float64", "np.float64(nan)"),
    "numpy_float32_as_float": ("float", "np.float32(0.1)"),
    "numpy_int64_as_int": ("int", "np.int64(10)"),
    "numpy_bool_as_bool": ("bool", "np.bool_(False)"),
    "numpy_str": ("np.str_", "np.str_('text')"),
    "numpy_bytes": ("np.bytes_", "np.bytes_(b'raw')"),
    "numpy_scalars_in_dict": (
        "Dict[str, Any]",
        "{'loss': np.float64(0.25), 'best': np.float64(0.125), 'step': np.int64(3), 'ok': np.bool_(True)}",
    ),
    "numpy_scalars_typed_dict": (
        "Dict[str, float]",
        "{'loss': np.float64(0.25), 'acc': np.float32(0.1)}",
    ),
    "numpy_scalars_in_list": ("List[float]", "[np.float32(0.5), np.float32(0.25), 3.0]"),
    "numpy_keys": ("Dict[int, str]", "{np.int64(3): 'three', np.int64(4): 'four'}"),
    "numpy_array_0d": ("np.ndarray", "np.array(1.5)"),
    "numpy_array_float64": ("np.ndarray", "np.array([[0.1, nan], [-inf, 2.0]])"),
    "numpy_array_float32": ("np.ndarray", "np.linspace(0, 1, 5, dtype=np.float32)"),
    "numpy_array_float16": ("np.ndarray", "np.array([0.1, 65504.0], np.float16)"),
    "numpy_array_int64": ("np.ndarray", "np.arange(24).reshape(2, 3, 4)"),
    "numpy_array_uint8": ("np.ndarray", "np.arange(256, dtype=np.uint8).reshape(16, 16)"),
    "numpy_array_bool": ("np.ndarray", "np.array([True, False, True])"),
    "numpy_array_complex64": ("np.ndarray", "np.array([1+2j, 3j], np.complex64)"),
    "numpy_array_empty": ("np.ndarray", "np.zeros((0, 3), np.float32)"),
    "numpy_array_fortran": (
        "np.ndarray",
        "np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3))",
    ),
    "numpy_array_strided": ("np.ndarray", "np.arange(10, dtype=np.int32)[::2]"),
    "numpy_array_str": ("np.ndarray", "np.array(['a', 'bcd'])"),
    "numpy_arrays_in_dict": (
        "Dict[str, np.ndarray]",
        "{'mean': np.array([0.5, 0.25]), 'std': np.array([1.0, 2.0])}",
    ),
    "numpy_dtype_float32": ("np.dtype", "np.dtype('float32')"),
    "numpy_dtype_int64": ("np.dtype", "np.dtype('int64')"),
    "numpy_dtype_bool": ("np.dtype", "np.dtype('bool')"),
    "numpy_class_float32": ("type", "np.float32"),
}

PLAIN_JAX: Cases = {
    "jax_float32": ("jax.Array", "jnp.float32(1e-3)"),
    "jax_float32_as_float": ("float", "jnp.float32(1e-3)"),
    "jax_float16": ("jax.Array", "jnp.float16(0.1)"),
    "jax_bfloat16": ("jax.Array", "jnp.bfloat16(1e-3)"),
    "jax_bfloat16_as_float": ("float", "jnp.bfloat16(1e-3)"),
    "jax_int32": ("jax.Array", "jnp.int32(-7)"),
    "jax_int32_as_int": ("int", "jnp.int32(-7)"),
    "jax_uint32": ("jax.Array", "jnp.uint32(2**32 - 1)"),
    "jax_bool": ("jax.Array", "jnp.bool_(True)"),
    "jax_bool_as_bool": ("bool", "jnp.bool_(True)"),
    "jax_complex64": ("jax.Array", "jnp.complex64(1-2j)"),
    "jax_weak": ("jax.Array", "jnp.asarray(0.5)"),
    "jax_nan": ("jax.Array", "jnp.float32(nan)"),
    "jax_array_float32": ("jax.Array", "jnp.linspace(0, 1, 5)"),
    "jax_array_bfloat16": ("jax.Array", "jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3)"),
    "jax_array_float8": ("jax.Array", "jnp.arange(4, dtype=jnp.float8_e4m3fn)"),
    "jax_array_int8": ("jax.Array", "jnp.arange(-3, 3, dtype=jnp.int8)"),
    "jax_array_bool": ("jax.Array", "jnp.asarray([True, False])"),
    "jax_array_empty": ("jax.Array", "jnp.zeros((0, 3))"),
    "jax_key": ("jax.Array", "jax.random.PRNGKey(5)"),
    "jax_scalars_in_dict": (
        "Dict[str, Any]",
        "{'loss': jnp.float32(0.25), 'acc': jnp.float32(0.5), 'step': jnp.int32(3)}",
    ),
    "jax_scalars_typed_dict": (
        "Dict[str, float]",
        "{'loss': jnp.float32(0.25), 'acc': jnp.bfloat16(0.5)}",
    ),
    "jax_numpy_bfloat16": ("np.ndarray", "np.asarray(jnp.bfloat16(0.5))"),
    "jax_numpy_bfloat16_array": ("np.ndarray", "np.asarray(jnp.arange(3, dtype=jnp.bfloat16))"),
    "jax_dtype": ("np.dtype", "np.dtype(jnp.bfloat16)"),
    "jax_dtype_float32": ("np.dtype", "jnp.dtype('float32')"),
}
