"""`fifteen show`."""

import pathlib
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from ._arguments import Directory, Flag, Names
from ._fields import Fields, matching, statistic
from ._table import Column, iso_time, print_table, printable, show_bytes, show_time

if TYPE_CHECKING:
    from fifteen.experiments._discovery import Summary

_LINES = 40


def show(
    directory: Directory,
    metadata: Names = (),
    tags: Names = (),
    leaves: Flag = False,
    step: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
    prefix: Annotated[str, arg(metavar="PREFIX")] = "checkpoint_",
) -> None:
    """Show what is in an experiment: metadata, checkpoints, and where its scalars stand.

    Args:
        directory: the experiment's directory.
        metadata: show these metadata alone, and whole; by default the first lines of all.
        tags: which scalars to show, by their tags; `*` stands for anything. All by default.
        leaves: list the leaves of a checkpoint, with their dtypes and shapes.
        step: whose leaves to list; the latest checkpoint's by default.
        prefix: what the name of that checkpoint begins with.
    """
    from fifteen.experiments._discovery import summarize

    fields = Fields(directory)
    summary = summarize(fields.experiment.data_dir)
    print(printable(str(directory)))
    print(f"{show_bytes(summary.size)}, changed {show_time(iso_time(summary.modified))}")
    names = matching(metadata, summary.metadata, "metadata") if metadata else summary.metadata
    for name in names:
        _show_metadata(fields.experiment.data_dir / f"{name}.yaml", whole=bool(metadata))
    _show_checkpoints(summary)
    if leaves:
        _show_leaves(fields, step, prefix)
    _show_scalars(fields, tags)


def _show_metadata(path: pathlib.Path, whole: bool) -> None:
    _title(path.name)
    lines = path.read_text(encoding="utf-8", errors="replace").removesuffix("...\n").splitlines()
    shown = lines if whole or len(lines) <= _LINES else lines[: _LINES - 1]
    for line in shown:
        print(printable(line))
    if len(shown) < len(lines):
        print(f"… and {len(lines) - len(shown)} more lines; --metadata {path.stem} shows them")


def _show_checkpoints(summary: "Summary") -> None:
    if not summary.checkpoints:
        return
    _title("checkpoints")
    columns = [
        Column("prefix", is_number=False),
        Column("latest"),
        Column("steps", is_number=False),
    ]
    rows = [
        [prefix, steps[-1], " ".join(map(str, steps))]
        for prefix, steps in summary.checkpoints.items()
    ]
    print_table(columns, rows, "table")


def _show_leaves(fields: Fields, step: int | None, prefix: str) -> None:
    leaves = fields.experiment.checkpoint_leaves(step, prefix)
    _title(f"leaves of {prefix}{'LATEST' if step is None else step}")
    columns = [
        Column("leaf", is_number=False),
        Column("dtype", is_number=False),
        Column("shape", is_number=False),
    ]
    print_table(columns, [[name, leaf.dtype, leaf.shape] for name, leaf in leaves.items()], "table")


def _show_scalars(fields: Fields, patterns: tuple[str, ...]) -> None:
    curves = fields.scalars
    tags = matching(patterns, curves, "scalar") if patterns else list(curves)
    if not tags:
        return
    _title("scalars")
    columns = [Column("scalar", is_number=False)]
    columns += [Column(name) for name in ("points", "step", "last", "min", "max")]
    rows: list[list[Any]] = []
    for tag in tags:
        curve = curves[tag]
        statistics = [statistic(curve, wanted) for wanted in ("last", "min", "max")]
        rows.append([tag, len(curve), int(curve.step[-1]), *statistics])
    print_table(columns, rows, "table")


def _title(text: str) -> None:
    print(f"\n{printable(text)}\n{'-' * len(text)}")
