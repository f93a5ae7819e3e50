"""The state of a git repository."""

import dataclasses
import os
import subprocess
import time
from collections.abc import Iterable

from ._redaction import redact, without_home

OUTPUT_LIMIT = 1 << 20
_UNTRACKED_LIMIT = 1000
_SECONDS = 5.0
"""The time limit of git, so that a hanging file system does not block a run."""

# The user's configuration must not change the record. A monitor would leave a process running.
_GIT = ("git", "-c", "core.fsmonitor=false")
_STATUS = ("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal")
_DIFF = ("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short",
         "--src-prefix=a/", "--dst-prefix=b/")  # fmt: skip
_REMOTE = ("remote", "get-url", "origin")
_ENVIRONMENT = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}


@dataclasses.dataclass
class Repository:
    """The record of a repository in `Provenance`; None if unknown."""

    commit: str | None = None
    branch: str | None = None
    remote: str | None = None
    dirty: bool | None = None
    untracked: list[str] = dataclasses.field(default_factory=list[str])
    diff: str | None = None


def read_repository(directories: Iterable[str]) -> Repository:
    """Read the repository of the first directory that is in one; else everything is None."""
    deadline = time.monotonic() + _SECONDS
    repository = Repository()
    for directory in directories:
        if (status := _run(directory, deadline, _STATUS)) is not None:
            _take_status(repository, status)
            remote = _run(directory, deadline, _REMOTE)
            repository.remote = remote and redact(without_home(remote.strip()))
            if repository.dirty and repository.commit:
                diff = _run(directory, deadline, _DIFF)
                repository.diff = diff and _cut(diff)
            break
    return repository


def _take_status(repository: Repository, status: str) -> None:
    """Parse "Porcelain Format Version 2" of git-status(1)."""
    repository.dirty = False
    entries = iter(status.split("\0"))
    for entry in entries:
        kind, _, rest = entry.partition(" ")
        if kind == "#":
            key, _, value = rest.partition(" ")
            if key == "branch.oid" and value != "(initial)":
                repository.commit = value
            elif key == "branch.head" and value != "(detached)":
                repository.branch = value
        elif kind == "?":
            repository.untracked.append(rest)
        elif kind:
            repository.dirty = True
            if kind == "2":
                next(entries, "")  # The old name follows a renamed entry.
    more = len(repository.untracked) - _UNTRACKED_LIMIT
    if more > 0:
        repository.untracked[_UNTRACKED_LIMIT:] = [f"[truncated: {more} more]"]


def _cut(diff: str) -> str:
    """Cut a diff after the last complete line that fits."""
    data = diff.encode()
    if len(data) <= OUTPUT_LIMIT:
        return diff
    lines = data[: data.rfind(b"\n", 0, OUTPUT_LIMIT) + 1].decode()
    return f"{lines}[truncated: the diff is larger than {OUTPUT_LIMIT} bytes]\n"


def _run(directory: str, deadline: float, arguments: tuple[str, ...]) -> str | None:
    """Return the output of git; None if it fails or takes too long."""
    try:
        output = subprocess.check_output(
            [*_GIT, *arguments],
            cwd=directory,
            env=os.environ | _ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=deadline - time.monotonic(),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return output.decode(errors="replace")
