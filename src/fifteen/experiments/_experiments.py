"""Experiments: filter, sort and tabulate many experiments."""

import contextlib
import itertools
import operator
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from fifteen._progress import track
from fifteen._text import counted, printable

from . import _console
from ._errors import ExpressionError, import_extra
from ._experiment import Experiment
from ._expression import Expression, Lookup
from ._fields import BUILT_IN, Fields, lookups_of
from ._loading import listed, load, load_remote
from ._local_path import local_path
from ._missing import ABSENT, UNREADABLE, Missing
from ._names import enumerate_names, known_names
from ._tables import columns_of, tables_of
from ._values import differ, in_order, to_plain
from ._walk import find_paths
from .storage import Directory

if TYPE_CHECKING:
    import pandas


def find_experiments(root: pathlib.Path | str) -> "Experiments":
    """Find every experiment under a root, the root itself included.

    An experiment is a directory that directly holds metadata, a checkpoint or an event file.
    Hidden directories and virtual environments are not entered, and no directory is entered twice.

    Returns:
        The experiments in natural order (`run_2` before `run_10`), none of them verbose.

    Raises:
        ExperimentNotFoundError: the root does not exist.
        NotADirectoryError: the root is a file.

    Examples:
        >>> experiment.write_metadata("config", {"lr": 0.1})
        >>> find_experiments("runs")
        <1 experiment: a>
    """
    top = local_path(root, "root")
    with Directory(top).listed():
        paths = find_paths(top)
    # `os.path.relpath` takes 10 us.
    names = [str(path).removeprefix(str(top)).lstrip("/") or os.curdir for path in paths]
    fields = list(map(Fields, paths, names))
    for field in fields:
        field.root = top
    return experiments_of(fields)


def experiments_of(fields: Iterable[Fields]) -> "Experiments":
    found = Experiments(())
    found._fields = list(fields)  # pyright: ignore[reportPrivateUsage]
    return found


class Experiments(Sequence[Experiment]):
    """Hold many experiments as a sequence, and query all of them together.

    You ask for values by name: a field of the metadata (`config.optimizer.lr`, or the end of the
    name, `lr`), a scalar (`train/loss`, `loss`), of which the last value counts, or one of
    `name`, `status` (`running`, `finished`, `failed`, `killed`, `diverged` or `unknown`), `step`,
    `progress` (from 0 to 1), `elapsed` (seconds), `speed` (steps per second), `diverged_at` (a
    step), `checkpoints`, `size` (bytes), `age` (seconds), `tags` and `note`. They are read when
    they are first asked for, and kept: find the experiments again to see what came later.

    Args:
        experiments: the experiments.
        root: the directory below which they are named; by default their common parent.

    Examples:
        >>> for rate in (0.1, 0.01):
        ...     with Experiment(f"runs/lr_{rate}", verbose=False) as experiment:
        ...         experiment.write_metadata("config", {"lr": rate})
        ...         experiment.log(TensorboardLogData(scalars={"train/loss": 1 - rate}), step=1)
        >>> find_experiments("runs").where("lr < 0.05 and min(train/loss) < 1").sort("loss")
        <1 experiment: lr_0.01>
    """

    def __init__(
        self, experiments: Iterable[Experiment], root: pathlib.Path | str | None = None
    ) -> None:
        held = list(experiments)
        paths = [experiment.data_dir for experiment in held]
        names = list(map(str, paths))
        if root is None:
            # An address and a local directory have none.
            with contextlib.suppress(ValueError):
                root = os.path.commonpath([path.parent for path in paths])
        if root:
            names = [os.path.relpath(path, root) for path in paths]
        self._fields = list(map(Fields, paths, names, held))

    # A sequence

    @overload
    def __getitem__(self, index: int) -> Experiment: ...
    @overload
    def __getitem__(self, index: slice) -> "Experiments": ...
    def __getitem__(self, index: int | slice) -> "Experiment | Experiments":
        if isinstance(index, slice):
            return experiments_of(self._fields[index])
        field = self._fields[operator.index(index)]
        # Created on demand: creating thousands takes a while.
        field.experiment = field.experiment or Experiment(field.path, verbose=False)
        return field.experiment

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has equal experiments in the same order."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # As a list's.

    def __add__(self, other: Iterable[Experiment]) -> "Experiments":
        """Return these experiments and those after them."""
        more = other._fields if isinstance(other, Experiments) else Experiments(other)._fields
        return experiments_of([*self._fields, *more])

    def __repr__(self) -> str:
        names = ", ".join(printable(field.name) for field in self._fields[:3])
        more = ", ..." if len(self) > 3 else ""
        count = counted(len(self), "experiment")
        return f"<{count}: {names}{more}>" if names else f"<{count}>"

    def _repr_html_(self) -> str:
        from fifteen.view._notebook import table

        return table(self)

    @property
    def fields(self) -> list[Fields]:
        """The values of each experiment by name, in their order.

        Examples:
            >>> experiment.write_metadata("config", {"lr": 0.1})
            >>> find_experiments("runs").fields[0].value("lr")
            0.1
        """
        return list(self._fields)

    def load(self) -> "Experiments":
        """Read now what most queries need, in several processes if there is much; return self.

        It does nothing in a process that has imported JAX or has threads, which must not be forked.

        Examples:
            >>> experiment.write_metadata("config", {"lr": 0.1})
            >>> find_experiments("runs").load().values("lr")
            [0.1]
        """
        load(self._fields)
        return self

    # Queries

    def where(self, expression: str) -> "Experiments":
        """Return the experiments for which an expression is true.

        Args:
            expression: comparisons of values by their names, such as
                `config.lr < 0.1 and min(train/loss) < 0.5`. A comparison with what an experiment
                lacks is false. The guide on the command line has all of the language.

        Raises:
            ExpressionError: the expression cannot be read, or names what no experiment has.

        Examples:
            >>> experiment.write_metadata("config", {"lr": 0.1})
            >>> len(find_experiments("runs").where("lr < 0.05"))
            0
        """
        parsed = Expression(expression)
        is_true = map(parsed.is_true, track(self._lookups(parsed.names), "Reading"))
        return experiments_of(itertools.compress(self._fields, is_true))

    def sort(
        self, key: str | Callable[[Experiment], Any] = "name", *, reverse: bool = False
    ) -> "Experiments":
        """Return the experiments in the order of a value; numbers are sorted by value.

        Either way NaN, None and experiments that lack the value come last.

        Args:
            key: a name, an expression such as `min(train/loss)`, or a function of an experiment.
            reverse: sort in descending order.

        Raises:
            ExpressionError: the key cannot be read, or names what no experiment has.

        Examples:
            >>> experiment.write_metadata("config", {"lr": 0.1})
            >>> find_experiments("runs").sort("lr", reverse=True)
            <1 experiment: a>
        """
        values = list(map(key, self)) if callable(key) else self.values(key)
        return experiments_of(
            self._fields[number] for number in itertools.chain(*in_order(values, reverse))
        )

    def values(self, name: str) -> list[Any]:
        """Return a value of each experiment; a `Missing` for one that lacks it.

        Args:
            name: a name, or an expression such as `min(train/loss)`.

        Raises:
            ExpressionError: no experiment has what is named, or the expression cannot be read.

        Examples:
            >>> experiment.write_metadata("config", {"lr": 0.1})
            >>> find_experiments("runs").values("lr * 2")
            [0.2]
        """
        values = [lookup(name, "value") for lookup in track(self._lookups(()), "Reading")]
        if not values or name in BUILT_IN or not all(isinstance(v, Missing) for v in values):
            return values
        try:
            parsed = Expression(name)
        except ExpressionError:
            if {*name} & {*"()<>="}:
                raise
            parsed = None
        if parsed is None or parsed.names == (name,):
            self._check_known(name, values)
            return values
        return list(map(parsed.evaluate, track(self._lookups(parsed.names), "Reading")))

    def _lookups(self, names: Iterable[str]) -> list[Lookup]:
        """Check that the names exist; return a lookup function for each experiment."""
        load_remote(self._fields)
        lookups = lookups_of(self._fields)
        for name in {*names} - {*BUILT_IN}:
            self._check_known(name, (lookup(name, "value") for lookup in lookups))
        return lookups

    def _check_known(self, name: str, values: Iterable[Any]) -> None:
        """Raise if no experiment has a value; warn if only one that cannot be read may have it."""
        missing = list(itertools.takewhile(lambda value: isinstance(value, Missing), values))
        if len(missing) < len(self) or ABSENT not in missing:
            return
        named = zip(self._fields, missing, strict=True)
        unreadable = [field.name for field, value in named if value is UNREADABLE]
        known = dict.fromkeys(name for field in self._fields[:20] for name in field.names())
        readable = " whose files can be read" if unreadable else ""
        message = (
            f"no experiment{readable} has metadata or a scalar called {name!r}; "
            f"{known_names(list(known), name)}"
        )
        if not unreadable:
            raise ExpressionError(message)
        _console.warn(f"{message}; unreadable: {enumerate_names(unreadable)}")

    # Tables

    def differing_fields(self) -> list[str]:
        """Return the names of the fields of metadata that are not the same in all experiments.

        Examples:
            >>> for seed in (0, 1):
            ...     config = {"lr": 0.1, "seed": seed}
            ...     Experiment(f"runs/{seed}", verbose=False).write_metadata("config", config)
            >>> find_experiments("runs").differing_fields()
            ['config.seed']
        """
        load_remote(self._fields)
        columns = columns_of([field.metadata() for field in self._fields])
        return [name for name, values in columns.items() if differ(values)]

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a data frame with one row per experiment.

        Its columns are those values (see `Experiments`), with `changed` (seconds since the epoch)
        instead of `age`, `problem` (what cannot be read), the fields of the metadata by
        their full names, and of each scalar `train/loss:last`, `train/loss:min`, `train/loss:max`.

        Raises:
            MissingExtraError: pandas is not installed.

        Examples:
            >>> experiment.write_metadata("config", {"lr": 0.1})
            >>> find_experiments("runs").to_pandas().loc["a", "config.lr"].item()
            0.1
        """
        pandas = import_extra("pandas", "to_pandas()")
        load_remote(self._fields)
        tables = tables_of(self._fields)
        columns = tables["built-in"] | tables["field"] | tables["scalar"]
        columns["problem"] = ["; ".join(field.problems) or None for field in self._fields]
        plain = {
            name: [None if isinstance(value, Missing) else to_plain(value) for value in values]
            for name, values in columns.items()
        }
        return pandas.DataFrame(plain, index=[field.name for field in self._fields])

    def scalars(self, tags: Iterable[str] | None = None) -> "pandas.DataFrame":
        """Return every logged point of all experiments as one long data frame.

        Its columns are `name`, the fields of the metadata that differ, `tag`, `step`, `wall_time`
        (seconds since the epoch) and `value`.

        Args:
            tags: which scalars, by their tags; `*` matches any text. All by default.

        Raises:
            MissingExtraError: pandas is not installed.
            LogDataError: `tags` is a single string.

        Examples:
            >>> experiment.log(TensorboardLogData(scalars={"train/loss": 0.5}), step=1)
            >>> experiment.flush()
            >>> find_experiments("runs").scalars(["train/*"])["value"].tolist()
            [0.5]
        """
        pandas = import_extra("pandas", "scalars()")
        tags = tags if tags is None or isinstance(tags, str) else tuple(tags)
        differing = self.differing_fields()
        with listed(self._fields):
            points = [
                (field, tag, curve)
                for field in track(self._fields, "Reading")
                for tag, curve in field.read_scalars(tags).items()
            ]
        lengths = [len(curve) for *_, curve in points]

        def repeated(values: Iterable[Any]) -> Any:
            return pandas.Series(list(values)).repeat(lengths).reset_index(drop=True)

        columns: dict[str, Any] = {"name": repeated(field.name for field, *_ in points)}
        for name in differing:
            columns[name] = repeated(to_plain(field.metadata().get(name)) for field, *_ in points)
        columns["tag"] = repeated(tag for _, tag, _ in points)
        for name, dtype in (("step", np.int64), ("wall_time", np.float64), ("value", np.float64)):
            arrays = [getattr(curve, name) for *_, curve in points]
            columns[name] = np.concatenate([np.zeros(0, dtype), *arrays])
        return pandas.DataFrame(columns)
