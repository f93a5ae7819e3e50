"""`fifteen prune` and `fifteen rm`."""

import pathlib
from typing import Annotated

from tyro.conf import arg

from fifteen._progress import track
from fifteen.experiments import Experiment, find_experiments
from fifteen.experiments.checkpoints import Retention
from fifteen.experiments.checkpoints._opening import Pruning, prunings
from fifteen.experiments.storage import Directory

from ._arguments import Flag, OptionalInt
from ._errors import CommandError, all_succeed, print_message
from ._selection import Chosen, Selection, place_of
from ._table import STEPS, Format, print_removal, text_column


def prune(
    selection: Chosen = Selection(),
    keep: int = 1,
    keep_every: Annotated[OptionalInt, arg(metavar="N", help_behavior_hint="")] = None,
    yes: Flag = False,
    format: Format = "table",
) -> int:
    """Remove old checkpoints; without `--yes`, only say which.

    The newest of each prefix stay, and all of a prefix whose newest checkpoint is damaged. Other
    files and running experiments are never touched.

    Args:
        keep: how many of the newest checkpoints of each prefix to keep, at least 1.
        keep_every: also keep older checkpoints that are at least this many steps apart.
        yes: remove them.
        format: a table for people, or exact values for other programs.
    """
    for option, value, least in (("--keep", keep, 1), ("--keep-every", keep_every or 0, 0)):
        if value < least:
            raise CommandError(f"{option}: expected at least {least}, found {value}")
    retention = Retention(keep, keep_every_n_steps=keep_every)
    fields, all_done = selection.find_to_change()
    may_change = selection.reach()
    rows: list[list[object]] = []
    for field in track(fields, "Pruning"):
        path = field.path
        if not may_change(Directory(path).real_path()):
            print_message("note", f"{path}: is reached through a link, and stays as it is")
            continue
        for pruning in prunings(path, retention):
            if pruning.problem:
                all_done = False
                print_message("error", f"{path}: {pruning.problem}")
                continue
            # Asked as late as possible: it may have begun meanwhile.
            if Directory(path).open_state() == "open":
                print_message("note", f"{path}: is running, and stays as it is")
                break
            size = pruning.size
            if not yes or all_succeed(Pruning.remove, [pruning]):
                rows.append([field.name, pruning.history.prefix, list(pruning.doomed), size])
            else:
                all_done = False
    Directory.wait_for_removals()
    columns = text_column("name"), text_column("prefix"), STEPS
    print_removal(columns, rows, yes, format)
    return int(not all_done)


def rm(
    selection: Chosen = Selection(),
    yes: Flag = False,
    format: Format = "table",
) -> int:
    """Remove experiments with all that is in them; without `--yes`, only say which.

    One that is running stays, and so does one with others below it that were not chosen. Links are
    removed, never followed.

    Args:
        yes: remove them.
        format: a table for people, or exact values for other programs.
    """
    if not selection.roots:
        raise CommandError("name what to remove: a directory, a root or a glob")
    fields, all_done = selection.find_to_change()
    chosen = {field.path for field in fields}
    may_change = selection.reach()
    rows: list[list[object]] = []
    removed: set[pathlib.Path] = set()
    for field in track(fields, "Removing"):
        path = field.path
        # A link may lead to what has been removed.
        if not removed.isdisjoint(path.parents) or not Directory(path).is_present():
            continue
        if not may_change(place_of(path)):
            print_message("note", f"{path}: is reached through a link, and stays as it is")
            continue
        others = [other.data_dir for other in find_experiments(path)]
        left = [other for other in others if other not in chosen]
        if left:
            all_done = False
            print_message("error", f"{path}: stays, since {left[0]} below it is not to be removed")
        elif any(Directory(other).open_state() == "open" for other in [path, *others]):
            print_message("note", f"{path}: is running, and stays as it is")
        else:
            # Of a link, only the link is removed.
            size = 0 if Directory(path).is_link() else Directory(path).usage().size
            if not yes or all_succeed(Experiment.clear, [Experiment(path, verbose=False)]):
                removed.add(path)
                rows.append([field.name, size])
            else:
                all_done = False
    print_removal([text_column("name")], rows, yes, format)
    return int(not all_done)
