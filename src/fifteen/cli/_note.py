"""`fifteen note`."""

import os
from typing import Annotated

from tyro.conf import arg

from fifteen.experiments import Experiment
from fifteen.experiments._fields import Fields
from fifteen.experiments.storage import Directory

from ._arguments import Texts, shown_path
from ._errors import CommandError, all_succeed
from ._selection import Chosen, Selection, checked


def note(
    selection: Chosen = Selection(),
    tag: Annotated[Texts, arg(metavar="TAG ...", help_behavior_hint="")] = (),
) -> int:
    """Write a note or tags beside experiments, in `notes.yaml`.

    The text comes after the directories: `fifteen note runs/a "the best so far" --tag paper`. It
    replaces the note; an empty one removes it, and the file if nothing else is in it.

    Args:
        selection: the experiments.
        tag: tags to add; `--tag=paper` takes no more than one.
    """
    first = selection.roots[:1]
    if not first and (paths := list(filter(os.path.isdir, tag))):
        raise CommandError(f"--tag: took the directory {paths[0]}; begin with one, such as `.`")
    selection, texts = selection.split()
    if texts and texts[0] in first:
        raise CommandError(
            f"{checked(texts[0])}: expected an experiment, found nothing; the text comes last"
        )
    if not (texts or tag):
        raise CommandError("nothing to write; pass a text after the directory, or --tag NAME")
    if len(texts) > 1:
        raise CommandError(f"expected one text, found {len(texts)}: {', '.join(texts)}; quote it")
    fields, all_done = selection.find_to_change(each=True)

    def annotate(field: Fields) -> None:
        with Experiment(field.path, verbose=False) as experiment:
            experiment.annotate(note=texts[0] if texts else None, tags=list(tag) or None)
        is_left = Directory(field.path).kind_of("notes.yaml")
        done = "Wrote {}/notes.yaml" if is_left else "No notes are left in {}"
        print(done.format(shown_path(field.path)))

    return int(not all_succeed(annotate, fields) or not all_done)
