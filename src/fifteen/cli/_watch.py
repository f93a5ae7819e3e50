"""`fifteen watch`."""

import contextlib
import dataclasses
import math
import pathlib
import sys
import time
from typing import Annotated, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text
from tyro.conf import arg

from fifteen._text import printable
from fifteen.experiments import Experiments, ExpressionError, FifteenError
from fifteen.experiments._console import quiet
from fifteen.experiments._experiments import experiments_of
from fifteen.experiments._fields import Fields
from fifteen.experiments._missing import ABSENT
from fifteen.experiments._names import ending_in
from fifteen.experiments._status import show_duration
from fifteen.view._columns import (
    MAX_SCALARS,
    Column,
    informative_scalars,
    show_value,
    sparkline,
    tabulate,
)
from fifteen.view._follower import Follower, read_scalars

from ._arguments import Flag, Names, OptionalFloat, check_total
from ._errors import CommandError, as_line, print_problems, problems_of
from ._selection import Chosen, Selection, find_all
from ._table import print_table, terminal_table

_BAR_WIDTH = 10
_RECENT_SECONDS = 300
"""What has no lock counts as running if it was written to that lately."""


def watch(
    selection: Chosen = Selection(),
    columns: Annotated[Names, arg(metavar="NAME ...")] = (),
    all: Flag = False,
    total: Annotated[OptionalFloat, arg(metavar="STEPS", help_behavior_hint="")] = None,
    interval: Annotated[float, arg(metavar="SECONDS")] = 1,
) -> int:
    """Show the running experiments live: progress, speed, the last values of scalars.

    Ctrl-C ends it. If stdout is not a terminal, one table is printed.

    Args:
        columns: fields, scalars and expressions to show instead of the most informative scalars.
        all: also show what has ended.
        total: how many steps are planned, if no field such as `steps` says it.
        interval: how long to wait between two updates.
    """
    if not 0 < interval < math.inf:
        raise CommandError(f"--interval: expected a number of seconds, found {interval:g}")
    check_total(total)
    watched = _Watched(selection, columns, all, total)
    # A mistake ends the command now, and is shown in place of the table later on.
    found = watched.look()
    console = Console(highlight=False)
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        return watched.print(found)
    # What is to be warned of was said at the first look.
    live = Live(console=console, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), quiet(), live:
        while True:
            start = time.monotonic()
            try:
                shown = watched.render(watched.look(), console.width)
            except (CommandError, FifteenError, OSError) as error:
                shown = Text(as_line("error", error))
            live.update(shown, refresh=True)
            time.sleep(max(interval, 4 * (time.monotonic() - start)))
    return 0


@dataclasses.dataclass
class _Watched:
    """The experiments to show: those that are running, or were when they were looked at."""

    selection: Selection
    columns: tuple[str, ...]
    is_all: bool
    total: float | None
    _follower: Follower = dataclasses.field(default_factory=Follower)
    _shown: set[pathlib.Path] = dataclasses.field(default_factory=set)

    def look(self) -> Experiments:
        """Return them as they are now; only what is new is read."""
        found = find_all(self.selection.roots).fields
        with self._follower.looking(found) as runs:
            shown = [run for run in map(self._read, runs, found) if run is not None]
        return self.selection.choose(experiments_of(shown))

    def _read(self, run: Fields | None, found: Fields) -> Fields | None:
        if run is found:
            found.total = self.total
            if found.path in self._shown or _is_growing(found):
                read_scalars(found, self._follower.reader(found))
                self._shown.add(found.path)
        return run if self.is_all or found.path in self._shown else None

    def print(self, found: Experiments) -> int:
        """Print them once; return the exit code."""
        if found:
            print_table(*self._tabulate(found))
        else:
            print(f"fifteen: {printable(self._advice())}", file=sys.stderr)
        return int(print_problems(found.fields))

    def render(self, found: Experiments, width: int) -> RenderableType:
        if not found:
            return Text(f"{printable(self._advice())}; Ctrl-C ends this")
        problems = [Text(as_line("error", problem)) for problem in problems_of(found.fields)]
        return Group(terminal_table(*self._tabulate(found), width), *problems)

    def _advice(self) -> str:
        if self.is_all or self.selection.where is not None:
            return self.selection.advice()
        return (
            f"nothing is running below {self.selection}; "
            "start a script, or pass --all to see what has ended"
        )

    def _tabulate(self, found: Experiments) -> tuple[list[Column], list[list[Any]]]:
        asked = [name for name in (*self.columns, self.selection.sort) if name and name != "eta"]
        informative = [] if self.columns else informative_scalars(found)[:MAX_SCALARS]
        kept, last = ("name", "status", "progress"), ("speed", "elapsed")
        names = (*kept, "step", *asked, *informative, *last)
        # What is left out of a terminal that is too narrow, the last one first.
        ranks = {name: rank for rank, name in enumerate((*informative, "step", *last), 1)}
        ranks |= dict.fromkeys((*kept, *asked), 0)
        columns, rows = tabulate(found, names, ranks, {*names}.difference(asked))
        for field, row in zip(found.fields, rows, strict=True):
            for number, column in enumerate(columns):
                row[number] = _with_trend(field, column.name, row[number])
        columns = [
            dataclasses.replace(c, show=_bar if c.name == "progress" else c.show, best=None)
            for c in columns
        ]
        left = [field.remaining for field in found.fields]
        if any(seconds is not None for seconds in left):
            columns.append(Column("eta", show_duration))
            for row, seconds in zip(rows, left, strict=True):
                row.append(ABSENT if seconds is None else seconds)
        return columns, rows


def _is_growing(found: Fields) -> bool:
    """Return whether a script runs, or another library, which takes no lock, is logging."""
    status = found.status
    is_recent = time.time() - status.written < _RECENT_SECONDS
    is_written = is_recent and found.timeline.last_time is not None
    return status.state == "running" or (status.state == "unknown" and is_written)


def _with_trend(field: Fields, name: str, value: Any) -> Any:
    """Return a value; the last one of a scalar with a sparkline."""
    with contextlib.suppress(ExpressionError):
        tag = ending_in(name, field.last, "/")
        if tag and show_value(value) == show_value(field.last[tag]):
            return f"{show_value(value)} {sparkline(field.ends.curves[tag].value)}"
    return value


def _bar(part: float) -> str:
    return f"{'━' * round(part * _BAR_WIDTH):─<{_BAR_WIDTH}} {part:4.0%}"
