"""The directory that a user's path names."""

import os
import pathlib
import re
from typing import Any

from ._errors import UnsafePathError

_ADDRESS = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+):/.*", re.DOTALL)
"""`gs://bucket/run`, of which `pathlib.Path` makes `gs:/bucket/run`."""


def local_path(path: Any, name: str = "data_dir") -> pathlib.Path:
    """Return the absolute path of a directory on this machine.

    Args:
        path: what a user has passed; a leading `~` is the home directory.
        name: what the user's parameter is called.

    Raises:
        TypeError: it is no path.
        UnsafePathError: it is the address of a remote directory, or begins with `~` and the name
            of no user.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise TypeError(f"{name}: expected a path or a str that names one, found {path!r}")
    address = _ADDRESS.fullmatch(text)
    if address:
        shown, is_file = text.strip(), address[1].lower() == "file"
        if "://" not in shown:
            shown = shown.replace(":/", ":///" if is_file else "://", 1)
        advice = "remote directories are not supported yet; use a local one, and copy or mount it"
        if is_file:
            advice = "expected a path, found an address; leave out its 'file://'"
        raise UnsafePathError(f"{shown}: {advice}")
    expanded = os.path.expanduser(text)
    if text.startswith("~") and expanded == text:
        user = text[1:].split("/")[0]
        problem = f"there is no user {user!r}" if user else "the home directory is not known"
        raise UnsafePathError(
            f"{text}: {problem}; for a directory whose name begins with '~', write './{text}'"
        )
    return pathlib.Path(os.path.abspath(expanded))
