"""TensorboardLogData: what to log, carried out of transformed functions."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar, cast

import jax
import numpy as np
from jax.core import Tracer

from ._errors import LogDataError

Array: TypeAlias = "jax.Array | np.ndarray[Any, Any]"
Scalar: TypeAlias = "Array | np.generic | float | int | bool"

V = TypeVar("V")


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["scalars", "histograms"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class TensorboardLogData:
    """Hold scalars and histograms by tag; a JAX pytree.

    Return it from functions under `jit`, `grad(..., has_aux=True)`, `vmap`, `scan`, `pmap` and
    `shard_map`, then pass it to `Experiment.log`. Methods return new objects.

    Attributes:
        scalars: a scalar for each tag, of shape `()`, or `(n,)` if `n` steps are stacked.
        histograms: an array of any shape for each tag, whose values are counted.

    Examples:
        >>> TensorboardLogData(scalars={"loss": 0.5}).prefix("train/").scalars
        {'train/loss': 0.5}
    """

    scalars: dict[str, Scalar] = dataclasses.field(default_factory=dict)
    histograms: dict[str, Array] = dataclasses.field(default_factory=dict)

    def prefix(self, prefix: str) -> "TensorboardLogData":
        """Put `prefix`, such as `"train/"`, before every tag.

        TensorBoard groups tags by the part before their first slash. No separator is added.

        Examples:
            >>> TensorboardLogData(scalars={"loss": 0.5}).prefix("b/").prefix("a/").scalars
            {'a/b/loss': 0.5}
        """
        return TensorboardLogData(
            scalars={prefix + tag: value for tag, value in self.scalars.items()},
            histograms={prefix + tag: value for tag, value in self.histograms.items()},
        )

    def merge(self, other: "TensorboardLogData") -> "TensorboardLogData":
        """Return the tags of both.

        Raises:
            LogDataError: a tag is on both sides.

        Examples:
            >>> loss = TensorboardLogData(scalars={"loss": 0.5})
            >>> loss.merge(TensorboardLogData(scalars={"accuracy": 0.9})).scalars
            {'loss': 0.5, 'accuracy': 0.9}
        """
        hint = "merge_scalars() and merge_histograms() take a dict"
        _expect("merge", other, TensorboardLogData, hint)
        return self.merge_scalars(other.scalars).merge_histograms(other.histograms)

    def merge_scalars(self, scalars: Mapping[str, Scalar] = {}) -> "TensorboardLogData":
        """Add a scalar for each tag.

        Raises:
            LogDataError: a tag is on both sides.

        Examples:
            >>> TensorboardLogData().merge_scalars({"loss": 0.5}).scalars
            {'loss': 0.5}
        """
        return TensorboardLogData(_union("scalars", self.scalars, scalars), dict(self.histograms))

    def merge_histograms(self, histograms: Mapping[str, Array] = {}) -> "TensorboardLogData":
        """Add an array of any shape for each tag, whose values are counted.

        Raises:
            LogDataError: a tag is on both sides.

        Examples:
            >>> TensorboardLogData().merge_histograms({"weights": np.zeros(2)}).histograms
            {'weights': array([0., 0.])}
        """
        union = _union("histograms", self.histograms, histograms)
        return TensorboardLogData(dict(self.scalars), union)

    def fix_sharded_scalars(self) -> "TensorboardLogData":
        """Take the first value of each scalar that came back as an array.

        A function under `pmap` or `shard_map` returns one value of each scalar per device. For an
        average, compute it inside the function (`jax.lax.pmean`): all values are then the same.
        Nothing waits for the device.

        Raises:
            LogDataError: a scalar is an empty array.

        Examples:
            >>> TensorboardLogData({"loss": jnp.array([0.5, 0.5])}).fix_sharded_scalars().scalars
            {'loss': Array(0.5, dtype=float32)}
        """
        scalars = {tag: _first_value(tag, value) for tag, value in self.scalars.items()}
        return TensorboardLogData(scalars, dict(self.histograms))


def _expect(where: str, found: Any, expected: type, hint: str) -> None:
    if not isinstance(found, expected):
        raise LogDataError(
            f"{where}: expected a {expected.__name__}, found {type(found).__name__}; {hint}"
        )


def _union(kind: str, left: Mapping[str, V], right: Mapping[str, V]) -> dict[str, V]:
    _expect(kind, right, Mapping, "merge() takes log data")
    repeated = sorted(left.keys() & right.keys())
    if repeated:
        raise LogDataError(
            f"{kind}: on both sides of the merge: {', '.join(map(repr, repeated))}; "
            "rename those on one side, for instance with prefix()"
        )
    return {**left, **right}


def _first_value(tag: str, value: Scalar) -> Scalar:
    if not isinstance(value, jax.Array | np.ndarray) or value.ndim == 0:
        return value
    if value.size == 0:
        raise LogDataError(
            f"scalars[{tag!r}]: an empty array of shape {value.shape} has no first value"
        )
    if isinstance(value, np.ndarray | Tracer):
        return cast(Scalar, value.reshape(-1)[0])
    # Indexing the sharded array itself would gather it across devices, and fails if some shards
    # belong to other processes. The data of one shard is an ordinary array on one device.
    first = min(value.addressable_shards, key=lambda shard: [s.start or 0 for s in shard.index])
    return cast(jax.Array, _take_first(first.data))


@jax.jit
def _take_first(array: jax.Array) -> jax.Array:
    return array.reshape(-1)[0]
