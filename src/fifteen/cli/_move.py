"""`fifteen move`."""

import dataclasses

from fifteen._text import printable
from fifteen.experiments import Experiment
from fifteen.experiments._fields import Fields
from fifteen.experiments._local_path import local_path
from fifteen.experiments._walk import holds_experiment
from fifteen.experiments.storage import Directory

from ._arguments import shown_path
from ._errors import CommandError, all_succeed
from ._selection import Chosen, Selection, checked, names_in_one_directory


def move(selection: Chosen = Selection()) -> int:
    """Move experiments, also to another file system, and to or from an object store.

    The last path is where to: a new path for one experiment or, if it is there already or ends with
    `/`, a directory to move them into. Parents are made. One that is running stays.
    """
    if len(selection.roots) < 2:
        raise CommandError("expected what to move, and where to: fifteen move SRC DST")
    *sources, last = map(checked, selection.roots)
    target = local_path(last, "DST")
    is_folder = last.endswith("/") or (target.is_dir() and not holds_experiment(target))
    chosen = dataclasses.replace(selection, roots=tuple(sources))
    fields, all_done = chosen.find_to_change(each=True)
    if len(fields) > 1 and not is_folder:
        raise CommandError(
            f"{last}: expected a directory for {len(fields)} experiments; write {last}/ to make it"
        )

    def move_one(field: Fields, name: str) -> None:
        destination = f"{last.rstrip('/')}/{name}" if is_folder else last
        if Directory(field.path).open_state() == "open":
            raise CommandError(f"{field.path}: is running; move it when it has ended")
        Experiment(field.path, verbose=False).move(local_path(destination, "DST"))
        print(f"Moved {shown_path(field.path)} to {printable(destination)}")

    return int(not all_succeed(move_one, fields, names_in_one_directory(fields)) or not all_done)
