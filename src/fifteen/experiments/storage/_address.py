"""Addresses of directories in object stores."""

import pathlib
from typing import Any

from .._extras import import_extra

SCHEMES = ("s3", "gs", "az", "memory")


def remote_path(scheme: str, rest: str) -> pathlib.Path:
    """Return the path of an address, which has the methods of a `Path` for files.

    Raises:
        MissingExtraError: the library for object stores is not installed.
    """
    import_extra("obstore", f"{scheme}://{rest}", "remote")
    from ._remote import RemotePath

    path: Any = RemotePath.of(scheme, rest)
    return path
