"""`fifteen note`."""

from typing import Annotated

from tyro.conf import arg

from fifteen.experiments import Experiment

from ._arguments import Texts, shown_path
from ._errors import CommandError, succeeds
from ._selection import Chosen, Selection


def note(
    selection: Chosen = Selection(),
    tag: Annotated[Texts, arg(metavar="TAG ...", help_behavior_hint="")] = (),
) -> int:
    """Write a note or tags beside experiments, in `notes.yaml`.

    The text comes after the directories: `fifteen note runs/a "the best so far" --tag paper`. It
    replaces the note; an empty one removes it.

    Args:
        selection: the experiments.
        tag: tags to add.
    """
    selection, texts = selection.split()
    if not (texts or tag):
        raise CommandError("nothing to write; pass a text, or --tag NAME")
    if len(texts) > 1:
        raise CommandError(f"expected one text, found {len(texts)}: {', '.join(texts)}; quote it")
    fields, all_done = selection.find_to_change(each=True)
    for field in fields:
        with Experiment(field.path, verbose=False) as experiment:
            is_written = succeeds(
                experiment.annotate, note=texts[0] if texts else None, tags=list(tag) or None
            )
        if is_written:
            print(f"Wrote {shown_path(field.path / 'notes.yaml')}")
        all_done &= is_written
    return int(not all_done)
