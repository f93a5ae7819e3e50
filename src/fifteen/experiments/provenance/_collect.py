"""Collect the provenance of a run, without initialising JAX's devices."""

import dataclasses
import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import socket
import sys
import time

from .. import distributed
from . import _git
from ._redaction import redact_command, without_home

_GPUS = pathlib.Path("/proc/driver/nvidia/gpus")


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The origin of a run; None or empty if unknown.

    Neither environment variables nor the user's name are recorded: the home directory is
    written as `~`, and credentials in URLs and on the command line as `***`. Only the diff is
    recorded as it is.
    """

    time: str  # When this was collected, in ISO 8601 with the time zone.
    started: str | None  # When the process started, likewise.
    command: list[str]
    working_directory: str | None
    # The commit of the script's repository; if the script is in none, of the working directory's.
    git_commit: str | None
    git_branch: str | None  # None if the head is detached.
    git_remote: str | None  # The URL of the remote `origin`.
    git_dirty: bool | None  # Whether tracked files differ from the commit.
    git_untracked: list[str]  # Files and folders neither tracked nor ignored, at most 1,000.
    python: str
    packages: dict[str, str]  # The version of each installed package.
    platform: str  # The operating system and the machine's architecture.
    host: str
    cpus: int  # How many CPU cores this process may use.
    gpus: list[str]  # The model of each NVIDIA GPU of the machine, from its driver.
    # The kind of each JAX device, if JAX had already initialised them. Initialising them here would
    # break a later `jax.distributed.initialize`.
    devices: list[str] | None
    processes: int  # How many share the run.
    git_diff: str | None  # Tracked files against the commit, for `git apply`; at most 1 MiB.


def collect() -> Provenance:
    working_directory = _working_directory()
    git = _git.read_repository(filter(None, [_script_directory(), working_directory]))
    return Provenance(
        time=_iso(time.time()),
        started=_started(),
        command=redact_command(sys.orig_argv),
        working_directory=without_home(working_directory) if working_directory else None,
        **{f"git_{name}": value for name, value in vars(git).items()},
        python=platform.python_version(),
        packages=_packages(),
        platform=platform.platform(),
        host=socket.gethostname(),
        cpus=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        gpus=_gpus(),
        devices=_devices(),
        processes=distributed.count(),
    )


def _script_directory() -> str | None:
    """Return the directory of the script, unless it is an installed one."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if not script:
        return None
    directory = pathlib.Path(script).resolve().parent
    prefixes = map(os.path.realpath, (sys.prefix, sys.base_prefix))
    return None if any(map(directory.is_relative_to, prefixes)) else str(directory)


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _packages() -> dict[str, str]:
    versions: dict[str, str] = {}
    for package in importlib.metadata.distributions():
        # Leftovers of failed installations have no name.
        if "Name" in package.metadata:
            # Python imports the first one on the path.
            versions.setdefault(package.name.replace("_", "-").lower(), package.version)
    return dict(sorted(versions.items()))


def _gpus() -> list[str]:
    try:
        texts = [(gpu / "information").read_text() for gpu in sorted(_GPUS.iterdir())]
    except OSError:
        return []
    return re.findall(r"^Model:\s*(.*\S)", "\n".join(texts), re.MULTILINE)


def _devices() -> list[str] | None:
    # JAX has no public function for this. Without the private one, nothing is recorded.
    bridge = sys.modules.get("jax._src.xla_bridge")
    is_initialized = getattr(bridge, "backends_are_initialized", None)
    if is_initialized is None or not is_initialized():
        return None
    import jax

    return [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()]


def _started() -> str | None:
    """Return when this process started, to 10 ms; see proc(5), /proc/pid/stat, field 22."""
    try:
        status = pathlib.Path("/proc/self/stat").read_text()
        # Field 2 is the program's name in parentheses, and may itself contain parentheses.
        ticks = int(status.rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return _iso(time.time() - age)


def _iso(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds).astimezone()
    return moment.isoformat(timespec="milliseconds")
