"""Directories and their files: the only code that touches a file system.

The rooms for metadata, checkpoints and events get a `Directory` and use nothing else, so that a
directory in an object store can take its place. Names are relative, and `/` leads into
sub-directories.
"""

from ._archive import archive as archive
from ._archive import unarchive as unarchive
from ._directory import Directory as Directory
from ._directory import Entry as Entry
from ._directory import Kind as Kind
from ._directory import Usage as Usage
from ._files import AppendedFile as AppendedFile
from ._files import NewFile as NewFile
from ._files import ReadableFile as ReadableFile
from ._open_mark import OpenMark as OpenMark
from ._open_mark import OpenState as OpenState
