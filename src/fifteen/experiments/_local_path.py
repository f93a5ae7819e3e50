"""A user's path as the path of a directory."""

import os
import pathlib
import re
from typing import Any

from fifteen._text import printable

from ._errors import UnsafePathError, import_extra

_SCHEMES = ("s3", "gs", "az", "memory")
_OTHER_SCHEMES = {
    **dict.fromkeys(("s3a", "s3n"), "s3"),
    **dict.fromkeys(("gcs", "gcp"), "gs"),
    **dict.fromkeys(("abfs", "abfss", "wasb", "wasbs", "azure"), "az"),
}
"""What other libraries call ours."""
_ADDRESS = re.compile(
    rf"\s*((?:s3|gs|az|{'|'.join(_OTHER_SCHEMES)})(?=:)|[A-Z][A-Z0-9+.-]+(?=:/)):(/*)(.*)",
    re.DOTALL | re.IGNORECASE,
)
"""`gs://bucket/run`, of which `pathlib.Path` makes `gs:/bucket/run`."""
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]*")
"""The library would take `b#x` for `b`."""
_UNUSABLE = re.compile("[\0-\x1f\x7f\ud800-\udfff]")
"""Control characters, and what UTF-8 cannot encode."""


def is_address(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is an address, also one that `pathlib` has parsed."""
    return _ADDRESS.fullmatch(os.fspath(path)) is not None


def local_path(path: Any, name: str = "data_dir") -> pathlib.Path:
    """Return the absolute path of a directory, or the address of a remote one.

    `name` is what the user's parameter is called.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise TypeError(f"{name}: expected a path or a str that names one, found {path!r}")
    address = _ADDRESS.fullmatch(text)
    if address:
        # Imported when used: its package takes a while.
        from .provenance._redaction import redact

        scheme, slashes, rest = address[1].lower(), address[2], address[3].strip()
        shown = redact(f"{scheme}://{rest}").partition("?")[0]
        if scheme == "file":
            shown = shown.replace("://", ":///")
            advice = "expected a path, found an address; leave out its 'file://'"
        elif scheme in _OTHER_SCHEMES:
            advice = f"write this address as {_OTHER_SCHEMES[scheme]}://BUCKET/PATH"
        elif scheme not in _SCHEMES:
            known = ", ".join(f"{name}://" for name in _SCHEMES)
            advice = f"expected a path or an address that begins with one of {known}"
        elif shown != f"{scheme}://{rest}":
            advice = "leave credentials out of the address, and put them into the environment"
        elif not rest:
            advice = "expected the name of a bucket in the address"
        elif not slashes:
            shown, advice = f"{scheme}:{rest}", f"an address without slashes; write {shown}"
        elif not _BUCKET.fullmatch(bucket := rest.split("/")[0]):
            advice = f"no bucket is called {bucket!r}; check the address"
        elif _UNUSABLE.search(rest):
            shown, advice = printable(shown), "no object can have that name"
        else:
            import_extra("obstore", f"{scheme}://{rest}", "remote")
            from .storage._remote import RemotePath

            remote: Any = RemotePath.of(scheme, rest)  # It has the methods of a `Path` for files.
            return remote
        raise UnsafePathError(f"{shown}: {advice}")
    expanded = os.path.expanduser(text)
    if text.startswith("~") and expanded == text:
        user = text[1:].split("/")[0]
        problem = f"there is no user {user!r}" if user else "the home directory is not known"
        raise UnsafePathError(
            f"{text}: {problem}; for a directory whose name begins with '~', write './{text}'"
        )
    return pathlib.Path(os.path.abspath(expanded))
