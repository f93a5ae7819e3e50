"""The state of a git repository: what is checked out, and what differs from it."""

import dataclasses
import os
import signal
import subprocess
import threading
import time
from typing import IO, cast

from ._redaction import redact, without_home

OUTPUT_LIMIT = 1 << 20
"""How many bytes of what git prints are kept."""

_UNTRACKED_LIMIT = 1000
_SECONDS = 5.0
"""How long git may take in all, so that a hanging file system does not hold up a run."""

# What the user has configured must not change the form of what is recorded.
_STATUS = ("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal")
_DIFF = ("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short",
         "--src-prefix=a/", "--dst-prefix=b/")  # fmt: skip
_REMOTE = ("remote", "get-url", "origin")

_ENVIRONMENT = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}


@dataclasses.dataclass
class Repository:
    """Say in what state a repository is; what could not be found out is None.

    Attributes:
        commit: the hash of the commit checked out; None before the first one.
        branch: its branch; None when the head is detached.
        remote: the URL of the remote `origin`, without credentials.
        dirty: whether tracked files differ from the commit.
        untracked: the files and folders, relative to where git was asked, that are not tracked
            and not ignored; at most 1,000 and a line that says how many more.
        diff: how tracked files differ from the commit, as text; at most 1 MiB.
    """

    commit: str | None = None
    branch: str | None = None
    remote: str | None = None
    dirty: bool | None = None
    untracked: list[str] = dataclasses.field(default_factory=list[str])
    diff: str | None = None


def read_repository(directories: list[str]) -> Repository:
    """Read the state of the repository that the first of some directories lies in.

    Args:
        directories: where to look, in this order.

    Returns:
        Its state; all None where none of them lies in a repository, or git is not installed.
    """
    deadline = time.monotonic() + _SECONDS
    for directory in directories:
        status = _run(directory, deadline, _STATUS)
        if status is not None:
            repository = Repository()
            _take_status(repository, status)
            remote = _run(directory, deadline, _REMOTE)
            if remote is not None:
                repository.remote = redact(without_home(_decode(remote).strip()))
            if repository.dirty and repository.commit:
                diff = _run(directory, deadline, _DIFF)
                repository.diff = None if diff is None else _cut(diff)
            return repository
    return Repository()


def _take_status(repository: Repository, status: bytes) -> None:
    """Parse what git-status(1) describes as "Porcelain Format Version 2"."""
    repository.dirty = False
    entries = iter(_decode(status).split("\0"))
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


def _cut(diff: bytes) -> str:
    if len(diff) <= OUTPUT_LIMIT:
        return _decode(diff)
    text = _decode(diff[:OUTPUT_LIMIT])
    whole_lines = text[: text.rfind("\n") + 1]
    return f"{whole_lines}[truncated: the diff is larger than {OUTPUT_LIMIT} bytes]\n"


def _decode(output: bytes) -> str:
    return output.decode(errors="replace")


def _run(directory: str, deadline: float, arguments: tuple[str, ...]) -> bytes | None:
    """Return what git prints, cut one byte above the limit; None if it fails or hangs."""
    if time.monotonic() >= deadline:
        return None
    try:
        process = subprocess.Popen(
            # A monitor of the file system would be started, and would go on running.
            ["git", "-c", "core.fsmonitor=false", *arguments],
            cwd=directory,
            env=os.environ | _ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # So that whatever git starts can be ended together with it.
            start_new_session=True,
        )
    except OSError:
        return None
    timer = threading.Timer(deadline - time.monotonic(), _kill, [process])
    timer.start()
    try:
        with process, cast(IO[bytes], process.stdout) as stdout:
            try:
                output = stdout.read(OUTPUT_LIMIT + 1)
                is_cut = len(output) > OUTPUT_LIMIT
            except BaseException:
                _kill(process)
                raise
            if is_cut:
                _kill(process)
        return output if is_cut or process.returncode == 0 else None
    finally:
        timer.cancel()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
