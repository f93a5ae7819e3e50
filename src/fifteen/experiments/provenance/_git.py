"""The state of a git repository: what is checked out, and what differs from it."""

import dataclasses
import os
import subprocess
import time

from ._redaction import redact, without_home

OUTPUT_LIMIT = 1 << 20
_UNTRACKED_LIMIT = 1000
_SECONDS = 5.0
"""How long git may take in all, so that a hanging file system does not hold up a run."""

# The user's configuration must not change what is recorded. With a monitor, git would start a
# process that goes on running.
_GIT = ("git", "-c", "core.fsmonitor=false")
_STATUS = ("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal")
_DIFF = ("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short",
         "--src-prefix=a/", "--dst-prefix=b/")  # fmt: skip
_REMOTE = ("remote", "get-url", "origin")
_ENVIRONMENT = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}


@dataclasses.dataclass
class Repository:
    """What `Provenance` records of a repository; None if it could not be found out."""

    commit: str | None = None
    branch: str | None = None
    remote: str | None = None
    dirty: bool | None = None
    untracked: list[str] = dataclasses.field(default_factory=list[str])
    diff: str | None = None


def read_repository(directories: list[str]) -> Repository:
    """Read the repository of the first directory that is in one; all is None if none is."""
    deadline = time.monotonic() + _SECONDS
    repository = Repository()
    for directory in directories:
        status = _run(directory, deadline, _STATUS)
        if status is None:
            continue
        _take_status(repository, status)
        remote = _run(directory, deadline, _REMOTE)
        repository.remote = remote and redact(without_home(remote.strip()))
        if repository.dirty and repository.commit:
            diff = _run(directory, deadline, _DIFF)
            repository.diff = diff and _cut(diff)
        break
    return repository


def _take_status(repository: Repository, status: str) -> None:
    """Parse what git-status(1) describes as "Porcelain Format Version 2"."""
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
                next(entries, "")  # A renamed entry is followed by its old name.
    more = len(repository.untracked) - _UNTRACKED_LIMIT
    if more > 0:
        repository.untracked[_UNTRACKED_LIMIT:] = [f"[truncated: {more} more]"]


def _cut(diff: str) -> str:
    """Cut a diff after the last whole line that fits."""
    data = diff.encode()
    if len(data) <= OUTPUT_LIMIT:
        return diff
    whole_lines = data[: data.rfind(b"\n", 0, OUTPUT_LIMIT) + 1].decode()
    return f"{whole_lines}[truncated: the diff is larger than {OUTPUT_LIMIT} bytes]\n"


def _run(directory: str, deadline: float, arguments: tuple[str, ...]) -> str | None:
    """Return what git prints; None if it fails or takes too long."""
    try:
        ran = subprocess.run(
            [*_GIT, *arguments],
            cwd=directory,
            env=os.environ | _ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=deadline - time.monotonic(),
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.decode(errors="replace")
