"""Where a run comes from: code, command, packages, devices, host and time."""

import dataclasses
import datetime
import os
import pathlib
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO, cast

import jax

from . import _processes

DIFF_LIMIT = 1 << 20
"""How many bytes of a diff are kept."""

_UNTRACKED_LIMIT = 1000
_GIT_SECONDS = 5.0
"""How long git may take in all, so that a hanging file system does not hold up a run."""

_DIFF = ("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv")

_SECRET_WORDS = {"token", "password", "passwd", "passphrase", "secret", "apikey", "credentials"}
_SECRET_KINDS = {"api", "access", "private", "secret", "signing", "auth", "encryption", "license"}
"""What makes a secret of a `key`."""

_SECRET_VALUE = re.compile(
    r"\b(?:gh[opsur]|github_pat|glpat|hf|sk|pk|xox[abprs])[-_][\w-]{16,}|\bAKIA[A-Z0-9]{16}\b"
)
_URL_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/@\s]+@", re.IGNORECASE)
_HIDDEN = "***"

_DISTRIBUTION = re.compile(
    r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?:dist-info|egg-info)"
)


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Say where a run comes from; None or empty where it could not be found out.

    Neither environment variables nor the user's name are recorded: the home directory is
    written as `~`, and credentials in URLs and on the command line as `***`.

    Attributes:
        time: when this was collected, in ISO 8601 with the time zone.
        started: when the process started, likewise.
        command: the command line.
        working_directory: where it was run.
        git_commit: the commit checked out in the repository of the script, or, where the script
            lies in none, of the working directory.
        git_branch: its branch; None when the head is detached.
        git_remote: the URL of the remote `origin`.
        git_dirty: whether tracked files differ from the commit.
        git_untracked: the files and folders that git does not track and does not ignore.
        git_diff: how tracked files differ from the commit, as `git apply` takes it; at most 1 MiB.
        python: the version of Python.
        packages: the version of each installed package, as `pip freeze` would list them.
        platform: the operating system and the machine's architecture.
        host: the name of the machine.
        cpus: how many CPU cores this process may use.
        devices: the kind of each JAX device of this run, if JAX had already initialised them:
            asking for them earlier would initialise them, after which a script can no longer
            call `jax.distributed.initialize` or choose its platform.
        processes: how many processes share the run.
    """

    time: str
    started: str | None
    command: list[str]
    working_directory: str | None
    git_commit: str | None
    git_branch: str | None
    git_remote: str | None
    git_dirty: bool | None
    git_untracked: list[str]
    git_diff: str | None
    python: str
    packages: dict[str, str]
    platform: str
    host: str
    cpus: int
    devices: list[str] | None
    processes: int


def collect() -> Provenance:
    """Find out where this run comes from.

    Example:
        ```python
        from fifteen.experiments import Experiment

        Experiment("runs/a").write_provenance()
        ```
    """
    git = _Git.of_this_run()
    return Provenance(
        time=_iso(time.time()),
        started=_started(),
        command=_redact([_without_home(argument) for argument in sys.orig_argv]),
        working_directory=_working_directory(),
        git_commit=git.commit,
        git_branch=git.branch,
        git_remote=git.remote,
        git_dirty=git.dirty,
        git_untracked=git.untracked,
        git_diff=git.diff,
        python=platform.python_version(),
        packages=_packages(),
        platform=platform.platform(),
        host=socket.gethostname(),
        cpus=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        devices=_devices(),
        processes=_processes.count(),
    )


@dataclasses.dataclass
class _Git:
    commit: str | None = None
    branch: str | None = None
    remote: str | None = None
    dirty: bool | None = None
    untracked: list[str] = dataclasses.field(default_factory=list[str])
    diff: str | None = None

    @classmethod
    def of_this_run(cls) -> "_Git":
        deadline = time.monotonic() + _GIT_SECONDS
        for directory in _code_directories():
            status = _run_git(directory, deadline, "status", "--porcelain=v2", "--branch", "-z")
            if status is not None:
                git = cls()
                git._take_status(status)
                git._take_remote(_run_git(directory, deadline, "remote", "get-url", "origin"))
                if git.dirty and git.commit:
                    git._take_diff(_run_git(directory, deadline, *_DIFF))
                return git
        return cls()

    def _take_status(self, status: bytes) -> None:
        # The format is described in git-status(1), "Porcelain Format Version 2".
        self.dirty = False
        entries = iter(status.decode(errors="replace").split("\0"))
        for entry in entries:
            kind, _, rest = entry.partition(" ")
            if kind == "?":
                self.untracked.append(rest)
            elif kind == "#":
                key, _, value = rest.partition(" ")
                if key == "branch.oid" and value != "(initial)":
                    self.commit = value
                elif key == "branch.head" and value != "(detached)":
                    self.branch = value
            elif kind:
                self.dirty = True
            if kind == "2":
                next(entries, "")  # A renamed entry is followed by its old name.
        left_out = len(self.untracked) - _UNTRACKED_LIMIT
        if left_out > 0:
            self.untracked[_UNTRACKED_LIMIT:] = [f"… and {left_out} more"]

    def _take_remote(self, url: bytes | None) -> None:
        if url:
            self.remote = _hide_secrets(_without_home(url.decode(errors="replace").strip()))

    def _take_diff(self, diff: bytes | None) -> None:
        if diff is None:
            return
        text = diff[:DIFF_LIMIT].decode(errors="replace")
        if len(diff) > DIFF_LIMIT:
            whole_lines = text[: text.rfind("\n") + 1]
            text = f"{whole_lines}[truncated: the diff is larger than {DIFF_LIMIT} bytes]\n"
        self.diff = text


def _code_directories() -> list[str]:
    """Return the script's directory, unless it is an installed one, and the working directory."""
    directories: list[str] = []
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script:
        directory = pathlib.Path(script).resolve().parent
        if not any(directory.is_relative_to(prefix) for prefix in {sys.prefix, sys.base_prefix}):
            directories.append(str(directory))
    working_directory = _current_directory()
    if working_directory is not None:
        directories.append(working_directory)
    return directories


def _run_git(directory: str, deadline: float, *arguments: str) -> bytes | None:
    """Run git and return what it prints, cut a little above `DIFF_LIMIT`; None if it fails."""
    environment = os.environ | {
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
    }
    try:
        # The session of its own is there to end all that git may start, together with git.
        process = subprocess.Popen(
            ["git", "-c", "core.fsmonitor=false", *arguments],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), _kill, [process])
    timer.start()
    try:
        with process, cast(IO[bytes], process.stdout) as stdout:
            try:
                output = stdout.read(DIFF_LIMIT + 1)
            except BaseException:
                _kill(process)
                raise
            if len(output) > DIFF_LIMIT:
                _kill(process)
                return output
        return output if process.returncode == 0 else None
    finally:
        timer.cancel()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _packages() -> dict[str, str]:
    """Return the versions of the installed packages by name, sorted.

    They are taken from the names of the directories that describe them (PEP 376 and the binary
    distribution format), since `importlib.metadata` parses each package's whole description
    for them, which takes longer than all the rest here.
    """
    versions: dict[str, str] = {}
    for directory in sys.path:
        try:
            names = os.listdir(directory or ".")
        except OSError:
            continue
        for name in names:
            match = _DISTRIBUTION.fullmatch(name)
            if match:
                # The first one on the path is the one that is imported.
                versions.setdefault(match["name"].replace("_", "-").lower(), match["version"])
    return dict(sorted(versions.items()))


def _devices() -> list[str] | None:
    # JAX has no public way to ask this. Where the private one is gone, nothing is recorded.
    bridge = sys.modules.get("jax._src.xla_bridge")
    initialized = getattr(bridge, "backends_are_initialized", None)
    if initialized is None or not initialized():
        return None
    return [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()]


def _started() -> str | None:
    """Return when this process started, to 10 ms; see proc(5), /proc/pid/stat, field 22."""
    try:
        status = pathlib.Path("/proc/self/stat").read_text()
        # Field 2 is the program's name in parentheses, in which anything may stand.
        ticks = int(status.rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return _iso(time.time() - age)


def _iso(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds).astimezone()
    return moment.isoformat(timespec="milliseconds")


def _current_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _working_directory() -> str | None:
    directory = _current_directory()
    return None if directory is None else _without_home(directory)


def _without_home(text: str) -> str:
    home = os.path.expanduser("~").rstrip("/")
    if home and (text == home or text.startswith(home + "/")):
        return "~" + text[len(home) :]
    return text


def _redact(command: list[str]) -> list[str]:
    """Hide what looks like a credential in a command line."""
    redacted: list[str] = []
    hide_next = False
    for argument in command:
        name, equals, _ = argument.partition("=")
        if hide_next and not argument.startswith("-"):
            redacted.append(_HIDDEN)
        elif equals and _is_secret(name):
            redacted.append(f"{name}={_HIDDEN}")
        else:
            redacted.append(_hide_secrets(argument))
        hide_next = argument.startswith("-") and not equals and _is_secret(argument)
    return redacted


def _is_secret(name: str) -> bool:
    """Tell whether an argument of this name (`--api-key`, `wandb.apiKey`) holds a credential."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)
    lowered = [word.lower() for word in words][-2:]
    if not lowered:
        return False
    if lowered[-1] in _SECRET_WORDS:
        return True
    return lowered[-1] == "key" and lowered[0] in _SECRET_KINDS


def _hide_secrets(text: str) -> str:
    return _SECRET_VALUE.sub(_HIDDEN, _URL_USER.sub(rf"\1{_HIDDEN}@", text))
