"""`fifteen note`."""

from typing import Annotated

from tyro.conf import Positional, arg

from fifteen._text import printable

from ._arguments import Directory, OptionalText, Texts
from ._errors import CommandError
from ._selection import open_experiment


def note(
    directory: Directory,
    text: Annotated[Positional[OptionalText], arg(metavar="[TEXT]", help_behavior_hint="")] = None,
    tag: Annotated[Texts, arg(metavar="TAG ...", help_behavior_hint="")] = (),
) -> None:
    """Write a note or tags beside an experiment, in `notes.yaml`.

    Args:
        directory: the experiment's directory.
        text: replaces the note; an empty one removes it.
        tag: tags to add.
    """
    if text is None and not tag:
        raise CommandError("nothing to write; pass a text, or --tag NAME")
    with open_experiment(directory) as experiment:
        experiment.annotate(note=text, tags=list(tag) or None)
    print(printable(f"Wrote {experiment.data_dir / 'notes.yaml'}"))
