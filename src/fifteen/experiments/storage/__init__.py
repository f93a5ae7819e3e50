"""Directories and their files: the only code that touches a file system.

Everything else uses a `Directory` and the files that it opens, so that a directory in an object
store can take its place. Names are relative, and `/` leads into sub-directories. What such a
directory has to supply:

- paths: `/`, `checked_name`, `real_path`, `is_link`, `is_remote`
- list: `is_present`, `names`, `entries`, `kind_of`, `usage`; and for many directories `listed`,
  `fetched`
- read: `read`, and `open` for ranges: `size`, `modified_ns`, `identity`, `read`, `read_into`
- write a file in one step: `make`; `replace` with `write` and `write_each`; on a disk also `skip`
  and `write_at`, and for many files at once `temporary`, `replace_directory`
- append: `append` with `write`, `flush`, `is_gone`
- remove: `remove`, `remove_in_background`, `wait_for_removals`, `remove_leftovers`,
  `check_removable`, `delete`
- move: `check_movable`, `move`, by `files`, `arriving`, `copy` and `has_equal`
- lock: `mark_open`, `open_state`
"""

from ._archive import archive as archive
from ._archive import unarchive as unarchive
from ._directory import Directory as Directory
from ._directory import Entry as Entry
from ._directory import Kind as Kind
from ._files import AppendedFile as AppendedFile
from ._files import NewFile as NewFile
from ._files import ReadableFile as ReadableFile
from ._open_mark import OpenMark as OpenMark
from ._open_mark import OpenState as OpenState
from ._os_errors import suppressed_os_errors as suppressed_os_errors
