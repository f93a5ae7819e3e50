"""`fifteen list`."""

import pathlib
import sys
from typing import Annotated

from tyro.conf import arg

from fifteen._gc import gc_paused
from fifteen._text import counted, printable
from fifteen.experiments.storage import Directory
from fifteen.view._columns import informative_scalars, most_informative, overview

from ._arguments import Flag, Names, OptionalFloat, check_total
from ._errors import CommandError, print_message, print_problems
from ._selection import Chosen, Selection
from ._table import Format, print_table


@gc_paused()
def list_experiments(
    selection: Chosen = Selection(),
    columns: Annotated[Names, arg(metavar="NAME ...")] = (),
    all: Flag = False,
    total: Annotated[OptionalFloat, arg(metavar="STEPS", help_behavior_hint="")] = None,
    format: Format = "table",
) -> int:
    """List experiments: status, the fields that differ, values of scalars.

    Args:
        selection: which experiments.
        columns: fields (`config.opt.lr`, `lr`), scalars (`loss`, `loss:min`) and expressions
            (`max(accuracy)`) to show instead of the most informative ones.
        all: show all fields that differ, and all scalars.
        total: how many steps are planned, if no field such as `steps` says it.
        format: a table for people, or exact values for other programs.
    """
    check_total(total)
    if "name" in columns:
        raise CommandError("'name' is a column already; write more of the name: config.name")
    # Between finding and reading, no directory is listed again.
    with Directory(pathlib.Path()).listed():
        found = selection.find().load()
    for field in found.fields:
        field.total = total
    if not found and format == "table":
        print(f"fifteen: {printable(selection.advice())}", file=sys.stderr)
        return 0
    asked = [name for name in (*columns, selection.sort) if name and name != "name"]
    if all:
        asked += [*found.differing_fields(), *informative_scalars(found)]
    informative, left = ({}, 0) if columns or all else most_informative(found)
    if left:
        print_message(
            "note",
            f"--all shows {counted(left, 'more differing field')}, and --columns chooses",
        )
    print_table(*overview(found, asked, informative, format in ("table", "md")), format)
    return int(print_problems(found.fields))
