"""`fifteen show`."""

import pathlib
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from ._arguments import Directory, Flag, Names
from ._fields import STATISTICS, Fields, matching, statistic
from ._table import Column, print_table, printable, show_bytes, show_time

if TYPE_CHECKING:
    from fifteen.experiments import LeafInfo, Summary

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
    from fifteen.experiments import summarize

    fields = Fields(directory)
    summary = summarize(fields.experiment.data_dir)
    # All that may fail comes first, so that nothing is shown where something is missing.
    names = matching(metadata, summary.metadata, "metadata") if metadata else summary.metadata
    shown_tags = matching(tags, fields.scalars, "scalar") if tags else list(fields.scalars)
    shown_leaves = fields.experiment.checkpoint_leaves(step, prefix) if leaves else None
    if step is None and leaves:
        step = fields.experiment.checkpoint_steps(prefix)[-1]

    print(printable(str(directory)))
    print(f"{show_bytes(summary.size)}, changed {show_time(summary.modified)}")
    for name in names:
        _show_metadata(fields.experiment.data_dir / f"{name}.yaml", name, whole=bool(metadata))
    _show_checkpoints(summary)
    if shown_leaves is not None:
        _show_leaves(shown_leaves, f"{prefix}{step}")
    _show_scalars(fields, shown_tags)


def _show_metadata(path: pathlib.Path, name: str, whole: bool) -> None:
    _title(f"{name}.yaml")
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.removesuffix("\n").removesuffix("\n...").split("\n")
    shown = lines if whole or len(lines) <= _LINES else lines[: _LINES - 1]
    for line in shown:
        print(printable(line.expandtabs()))
    if len(shown) < len(lines):
        print(f"[{len(lines) - len(shown)} more lines; --metadata {name} shows them]")


def _show_checkpoints(summary: "Summary") -> None:
    if not summary.checkpoints:
        return
    _title("checkpoints")
    columns = [_text("prefix"), Column("latest"), _text("steps")]
    rows = [
        [prefix, steps[-1], " ".join(map(str, steps))]
        for prefix, steps in summary.checkpoints.items()
    ]
    print_table(columns, rows, "table")


def _show_leaves(leaves: "dict[str, LeafInfo]", checkpoint: str) -> None:
    _title(f"leaves of {checkpoint}")
    columns = [_text("leaf"), _text("dtype"), _text("shape")]
    print_table(columns, [[name, leaf.dtype, leaf.shape] for name, leaf in leaves.items()], "table")


def _show_scalars(fields: Fields, tags: list[str]) -> None:
    if not tags:
        return
    _title("scalars")
    columns = [_text("scalar"), *map(Column, ("points", "step", *STATISTICS))]
    rows: list[list[Any]] = []
    for tag in tags:
        curve = fields.scalars[tag]
        statistics = [statistic(curve, wanted) for wanted in STATISTICS]
        rows.append([tag, len(curve), int(curve.step[-1]), *statistics])
    print_table(columns, rows, "table")


def _text(name: str) -> Column:
    return Column(name, is_number=False)


def _title(text: str) -> None:
    text = printable(text)
    print(f"\n{text}\n{'-' * len(text)}")
