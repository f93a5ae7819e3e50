"""`fifteen show`."""

import itertools
import operator
import pathlib
import re
from typing import Annotated

from tyro.conf import arg

from fifteen._text import counted, printable
from fifteen.experiments import Experiment, LeafInfo
from fifteen.experiments._fields import PROVENANCE, SHOWN_STATISTICS, Fields
from fifteen.experiments._names import matching
from fifteen.view._columns import Column, show_briefly, show_bytes, show_pace

from ._arguments import Flag, Names, OptionalInt, shown_path
from ._errors import all_succeed, print_message
from ._selection import Chosen, Selection
from ._table import STEPS, print_table, show_time, text_column

_LINES = 40
_LONG_FIELDS = re.compile(r"^(?:packages|git_diff):.*(?:\n(?:[ -].*)?$)*\n?", re.MULTILINE)
"""What a provenance mostly consists of."""


def show(
    selection: Chosen = Selection(),
    metadata: Names = (),
    tags: Names = (),
    leaves: Flag = False,
    step: Annotated[OptionalInt, arg(metavar="INT", help_behavior_hint="")] = None,
    prefix: Annotated[str, arg(metavar="PREFIX")] = "checkpoint_",
) -> int:
    """Show what is in experiments: metadata, checkpoints, and their scalars.

    Args:
        metadata: show these metadata alone, and whole; by default the first lines of all.
        tags: show these scalars alone, by their tags; `*` matches any text.
        leaves: list the leaves of a checkpoint alone, with their dtypes and shapes.
        step: whose leaves to list; the latest checkpoint's by default.
        prefix: what the name of that checkpoint begins with.
    """
    fields = selection.find_some(each=True).fields
    is_all = not (metadata or tags or leaves)
    # A mistake is reported before anything is shown.
    known = itertools.chain.from_iterable
    names = metadata and matching(metadata, known(f.metadata_names for f in fields), "metadata")
    shown_tags = tags and matching(tags, known(field.scalars for field in fields), "scalar")
    checkpoints: dict[Fields, tuple[str, dict[str, LeafInfo]]] = {}

    def read_leaves(field: Fields) -> None:
        checkpoints[field] = _leaves_of(field, step, prefix)

    all_done = True
    if leaves:
        all_done = all_succeed(read_leaves, fields)
        fields = list(checkpoints)
    for number, field in enumerate(fields):
        if number:
            print("\n")
        _show_head(field)
        for name in field.metadata_names if is_all else names:
            if name in field.metadata_names:
                all_done &= _show_metadata(field.path / f"{name}.yaml", name, limited=is_all)
        if is_all and field.summary and field.summary.checkpoints:
            _show_checkpoints(field.summary.checkpoints)
        if leaves:
            _show_leaves(*checkpoints[field])
        if own := [tag for tag in field.scalars if is_all or tag in shown_tags]:
            _show_scalars(field, own)
    return int(not all_done)


def _leaves_of(field: Fields, step: int | None, prefix: str) -> tuple[str, dict[str, LeafInfo]]:
    """Return the name of a checkpoint and its leaves."""
    experiment = Experiment(field.path, verbose=False)
    leaves = experiment.checkpoint_leaves(step, prefix)
    return f"{prefix}{experiment.checkpoint_steps(prefix)[-1] if step is None else step}", leaves


def _show_head(field: Fields) -> None:
    print(shown_path(field.path))
    if field.summary:
        print(f"{show_bytes(field.summary.size)}, changed {show_time(field.summary.modified)}")
    print(printable(str(field.status)))
    if pace := show_pace(field):
        print(", ".join(pace))


def _show_metadata(path: pathlib.Path, name: str, limited: bool) -> bool:
    """Show a file, and return whether it could be read."""
    _title(f"{name}.yaml")
    try:
        if path.exists() and not path.is_file():
            raise OSError(f"{path}: not a file")  # A pipe would keep us waiting.
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        print("[unreadable]")
        print_message("error", error)
        return False
    text = text.removesuffix("\n").removesuffix("\n...")
    lines = text.split("\n")
    if limited and name == PROVENANCE:
        text = _LONG_FIELDS.sub("", text).removesuffix("\n")
    shown = text.split("\n")
    if limited and len(shown) > _LINES:
        shown = shown[: _LINES - 1]
    show_line = show_briefly if limited else printable
    for line in shown:
        print(show_line(line.expandtabs()))
    if left := len(lines) - len(shown):
        print(printable(f"[{counted(left, 'more line')}; --metadata {name} shows all]"))
    return True


def _show_checkpoints(checkpoints: dict[str, list[int]]) -> None:
    _title("checkpoints")
    columns = [text_column("prefix"), Column("latest"), STEPS]
    print_table(columns, [[prefix, steps[-1], steps] for prefix, steps in checkpoints.items()])


def _show_leaves(checkpoint: str, leaves: dict[str, LeafInfo]) -> None:
    _title(f"leaves of {checkpoint}")
    columns = [text_column("leaf"), text_column("dtype"), text_column("shape")]
    print_table(columns, [[name, leaf.dtype, leaf.shape] for name, leaf in leaves.items()])


def _show_scalars(fields: Fields, tags: list[str]) -> None:
    _title("scalars")
    columns = [text_column("scalar"), *map(Column, ("points", "step", *SHOWN_STATISTICS))]
    values = operator.attrgetter("len", "step", *SHOWN_STATISTICS)
    print_table(columns, [[tag, *values(fields.scalars[tag])] for tag in tags])


def _title(text: str) -> None:
    text = printable(text)
    print(f"\n{text}\n{'-' * len(text)}")
