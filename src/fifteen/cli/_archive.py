"""`fifteen archive`."""

import pathlib
from typing import Annotated

from tyro.conf import arg

from fifteen._text import printable
from fifteen.experiments.storage import Directory as StoredDirectory
from fifteen.experiments.storage import archive as pack

from ._arguments import Directory, check_output
from ._errors import CommandError
from ._selection import open_experiment


def archive(
    directory: Directory,
    output: Annotated[pathlib.Path, arg(metavar="FILE.tar.zst", help_behavior_hint="")],
) -> None:
    """Pack an experiment into one compressed file, and compare it.

    The experiment stays as it is; `fifteen rm` removes it.

    Args:
        directory: the experiment's directory.
        output: the file to write, which must not be there.
    """
    check_output(output, ".tar.zst")
    experiment = open_experiment(directory)
    if StoredDirectory(experiment.data_dir).open_state() == "open":
        raise CommandError(f"{directory}: is running; archive it when it has ended")
    pack(experiment.data_dir, output.absolute())
    print(printable(f"Archived {directory} as {output}, which was read again and compared"))
