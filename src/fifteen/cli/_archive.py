"""`fifteen archive` and `fifteen unarchive`."""

import pathlib
from typing import Annotated

from tyro.conf import Positional, arg

from fifteen._text import printable
from fifteen.experiments._fields import Fields
from fifteen.experiments.storage import Directory
from fifteen.experiments.storage import archive as pack
from fifteen.experiments.storage import unarchive as unpack

from ._arguments import Texts, check_on_a_disk, check_output, shown_path
from ._errors import CommandError, all_succeed
from ._selection import Chosen, Selection, names_in_one_directory

_SUFFIX = ".tar.zst"


def archive(
    output: Annotated[pathlib.Path, arg(metavar="FILE.tar.zst|DIR", help_behavior_hint="")],
    selection: Chosen = Selection(),
) -> int:
    """Pack each experiment into one compressed file, and compare it.

    The experiments stay as they are; `fifteen rm` removes them.

    Args:
        output: the file to write, which must not be there, or a directory for files that are
            called like the experiments.
    """
    is_folder = Directory(output).kind_of() == "directory" and not output.name.endswith(_SUFFIX)
    if not is_folder:
        check_output(output, _SUFFIX)
    fields = selection.find_some(each=True).fields
    if len(fields) > 1 and not is_folder:
        raise CommandError(f"--output: expected a directory for {len(fields)} files; make it first")

    def pack_one(field: Fields, name: str) -> None:
        if Directory(field.path).open_state() == "open":
            raise CommandError(f"{field.path}: is running; archive it when it has ended")
        file = output / f"{name}{_SUFFIX}" if is_folder else output
        pack(field.path, file.absolute())
        archived = f"Archived {shown_path(field.path)} as {printable(str(file))}"
        print(f"{archived}, which was read again and compared")

    return int(not all_succeed(pack_one, fields, names_in_one_directory(fields)))


def unarchive(
    file: Annotated[Positional[pathlib.Path], arg(metavar="FILE", help_behavior_hint="")],
    more: Annotated[Positional[Texts], arg(metavar="[FILE ...]", help_behavior_hint="")] = (),
    into: Annotated[pathlib.Path, arg(metavar="ROOT", help_behavior_hint="")] = pathlib.Path(),
) -> int:
    """Unpack what `archive` has written, once all of it is verified.

    Args:
        file: the archive.
        more: other archives; one that cannot be unpacked does not keep the others from it.
        into: the directory in which the experiments appear; the current one by default.
    """
    files = [file, *map(pathlib.Path, more)]
    for path in (*files, into):
        check_on_a_disk(path)

    def unpack_one(file: pathlib.Path) -> None:
        path = unpack(file.absolute(), into.absolute())
        print(f"Unpacked {printable(str(file))} to {shown_path(path)}")

    return int(not all_succeed(unpack_one, files))
