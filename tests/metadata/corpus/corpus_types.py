# ruff: noqa: UP006, UP007, UP035, UP042, UP045 - the writers run on Pythons down to 3.7.
"""The types that the files of this corpus are about.

The writers import this module in their own environments, down to Python 3.7, and the tests
import it in ours. It therefore stands on the standard library alone and stays within 3.7.
"""

import dataclasses
import datetime
import enum
import pathlib
from typing import (
    Any,
    Dict,
    FrozenSet,
    Generic,
    List,
    NamedTuple,
    NewType,
    Optional,
    Sequence,
    Set,
    Tuple,
    TypeVar,
    Union,
)

try:
    from typing import Annotated, Literal
except ImportError:  # Python 3.7 and 3.8
    from typing_extensions import Annotated, Literal

T = TypeVar("T")
Seconds = NewType("Seconds", float)


class Missing:
    """Stands for a value that was required but never given (`dcargs.MISSING`, `!missing`)."""

    def __repr__(self):
        return "MISSING"


MISSING = Missing()


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"
    DARK_BLUE = "dark-blue"


class Numbered(enum.Enum):
    ONE = 1
    TWO = enum.auto()


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(str, enum.Enum):
    TRAIN = "train"
    EVAL = "eval"


class Access(enum.Flag):
    READ = 1
    WRITE = 2
    EXECUTE = 4


class Point(NamedTuple):
    x: int
    y: float = 0.5


@dataclasses.dataclass
class Empty:
    pass


@dataclasses.dataclass
class Scalars:
    integer: int = 3
    number: float = 1e-3
    flag: bool = True
    text: str = "hello"


@dataclasses.dataclass
class Integers:
    values: List[int]


@dataclasses.dataclass
class Floats:
    values: List[float]


@dataclasses.dataclass
class Strings:
    values: List[str]


@dataclasses.dataclass
class Adam:
    learning_rate: float = 1e-3
    betas: Tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass
class Sgd:
    learning_rate: float = 1e-2
    momentum: float = 0.0


@dataclasses.dataclass(frozen=True)
class Frozen:
    name: str
    sizes: Tuple[int, ...] = ()


@dataclasses.dataclass
class Choice:
    optimizer: Union[Adam, Sgd]
    fallback: Union[Sgd, Adam, None] = None


@dataclasses.dataclass
class Left:
    width: int = 1


@dataclasses.dataclass
class Right:
    width: int = 1


@dataclasses.dataclass
class Sides:
    """Its two members have the same fields, so that only a tag tells them apart."""

    first: Union[Left, Right]
    second: Union[Left, Right]


@dataclasses.dataclass
class Shape:
    name: str = "shape"


@dataclasses.dataclass
class Circle(Shape):
    radius: float = 1.0


@dataclasses.dataclass
class Square(Shape):
    side: float = 2.0


@dataclasses.dataclass
class Drawing:
    """Holds subclasses of `Shape` in fields that are declared with the base."""

    main: Shape
    others: List[Shape] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Pair(Generic[T]):
    first: T
    second: T


@dataclasses.dataclass
class GenericHolder:
    numbers: Pair[int]
    models: Pair[Sgd]


@dataclasses.dataclass
class Optionals:
    number: Optional[int] = None
    text: Optional[str] = None
    nested: Optional[Sgd] = None
    pair: Optional[Tuple[int, int]] = None


@dataclasses.dataclass
class Unions:
    a: Union[int, str]
    b: Union[int, float, None]
    c: Union[bool, str]
    d: Union[List[int], Dict[str, int]]


@dataclasses.dataclass
class Containers:
    numbers: List[int]
    names: Sequence[str]
    fixed: Tuple[int, str, float]
    variadic: Tuple[int, ...]
    mapping: Dict[str, float]
    unique: Set[int]


@dataclasses.dataclass
class Frozensets:
    values: FrozenSet[int]


@dataclasses.dataclass
class DeepContainers:
    grid: List[List[int]]
    pairs: List[Tuple[str, int]]
    by_name: Dict[str, List[Tuple[int, int]]]
    by_number: Dict[int, str]
    by_tuple: Dict[Tuple[int, int], str]
    nested: Tuple[Tuple[int, int], Tuple[str, ...]]


@dataclasses.dataclass
class Nests:
    one: Sgd
    many: List[Sgd]
    named: Dict[str, Sgd]
    both: Tuple[Sgd, Adam]


@dataclasses.dataclass
class Network:
    widths: Tuple[int, ...] = (64, 64)
    activation: Literal["relu", "gelu", "on"] = "relu"
    dropout: Optional[float] = None


@dataclasses.dataclass
class Data:
    root: pathlib.Path = pathlib.Path("data/digits")
    batch_size: int = 32
    shuffle: bool = True


@dataclasses.dataclass
class Train:
    """A config as people write them."""

    experiment_name: str
    network: Network = dataclasses.field(default_factory=Network)
    data: Data = dataclasses.field(default_factory=Data)
    optimizer: Union[Adam, Sgd] = dataclasses.field(default_factory=Adam)
    color: Color = Color.RED
    steps: int = 10_000
    seed: int = 0
    notes: Optional[str] = None
    tags: Tuple[str, ...] = ()
    schedule: Dict[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Enums:
    color: Color
    numbered: Numbered
    level: Level
    mode: Mode
    colors: List[Color]
    by_color: Dict[Color, int]
    maybe: Optional[Color] = None


@dataclasses.dataclass
class Flags:
    access: Access


@dataclasses.dataclass
class Paths:
    one: pathlib.Path
    many: List[pathlib.Path]
    pure: pathlib.PurePosixPath
    windows: pathlib.PureWindowsPath
    maybe: Optional[pathlib.Path] = None


@dataclasses.dataclass
class Times:
    day: datetime.date
    moment: datetime.datetime
    span: datetime.timedelta
    zoned: Optional[datetime.datetime] = None


@dataclasses.dataclass
class Blobs:
    data: bytes
    number: complex


@dataclasses.dataclass
class Literals:
    name: Literal["no", "yes", "1"]
    number: Literal[1, 2, 3]
    either: Literal["a", 1, True, None]


@dataclasses.dataclass
class Annotateds:
    rate: Annotated[float, "per second"]


@dataclasses.dataclass
class NewTypes:
    timeout: Seconds


@dataclasses.dataclass
class Untyped:
    """What a program hides behind `Any`, `dict` and `list`."""

    anything: Any
    mapping: dict
    items: list


@dataclasses.dataclass
class Hidden:
    """One field is no argument of `__init__`, another is left to its default."""

    width: int
    area: int = dataclasses.field(init=False, default=0)
    names: List[str] = dataclasses.field(default_factory=lambda: ["a"])

    def __post_init__(self):
        self.area = self.width**2


@dataclasses.dataclass
class Ranges:
    values: range


@dataclasses.dataclass
class NamedTuples:
    point: Point
    points: List[Point]


@dataclasses.dataclass
class Arrays:
    """Numbers and arrays as they come out of NumPy and JAX, in fields of every declaration."""

    number: float
    anything: Any


@dataclasses.dataclass
class Shared:
    """Its fields hold one and the same object, which YAML writes once, with an anchor."""

    first: Sgd
    second: Sgd
    third: List[int]
    fourth: List[int]


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal in type, order and bits, NaN and arrays included."""
    if type(left) is not type(right):
        return False
    if isinstance(left, type):
        return left is right
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return all(same(getattr(left, name), getattr(right, name)) for name in names)
    if isinstance(left, dict):
        return same(sorted_items(left), sorted_items(right))
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, complex):
        return repr(left) == repr(right)
    if hasattr(left, "dtype") and hasattr(left, "shape"):
        import numpy as np

        one, other = np.asarray(left), np.asarray(right)
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype == object:
            return same(one.tolist(), other.tolist())
        return one.tobytes() == other.tobytes()
    return bool(left == right)


def sorted_items(mapping: Dict[Any, Any]) -> List[Tuple[Any, Any]]:
    """The items of a mapping in an order of their own: `yaml.dump` sorts keys where it can."""
    return sorted(mapping.items(), key=lambda item: (type(item[0]).__name__, repr(item[0])))
