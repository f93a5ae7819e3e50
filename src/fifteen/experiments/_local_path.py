"""The directory that a user's path names."""

import os
import pathlib
import re
from typing import Any

from ._errors import UnsafePathError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
"""`gs://bucket/run`, of which `pathlib.Path` makes `gs:/bucket/run`."""


def local_path(path: Any, name: str = "data_dir") -> pathlib.Path:
    """Return the absolute path of a directory on this machine.

    Args:
        path: what a user has passed; a leading `~` is the home directory.
        name: what the user's parameter is called.

    Raises:
        TypeError: it is no path.
        UnsafePathError: it is the address of a remote directory.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise TypeError(f"{name}: expected a path or a str that names one, found {path!r}")
    address = _ADDRESS.fullmatch(text)
    if address:
        scheme, rest = address.groups()
        raise UnsafePathError(
            f"{scheme}://{rest}: remote directories are not supported yet; use a local directory, "
            "and copy or mount the remote one"
        )
    return pathlib.Path(os.path.abspath(os.path.expanduser(text)))
