"""`fifteen doctor`."""

import contextlib
import importlib.metadata
import math
import os
import platform
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Annotated

from tyro.conf import Positional, arg

from fifteen._text import printable
from fifteen.experiments import ExperimentLockedError, FifteenError
from fifteen.experiments._local_path import local_path
from fifteen.experiments.storage import Directory

from ._selection import checked

_REQUIREMENT = re.compile(r"([\w.-]+)[^;]*(?:;.*extra == ['\"](\w+)['\"])?")
_NOT_FOR_USERS = {"dev", "docs", "examples"}
_DEVICES = (
    "import jax; print(*(f'{d.platform}:{d.id} {d.device_kind}' for d in jax.devices()), sep=', ')"
)
_SECONDS_FOR_DEVICES = 120


def doctor(
    directory: Annotated[
        Positional[str], arg(metavar="[DIR|ADDRESS]", help_behavior_hint="")
    ] = ".",
) -> int:
    """Say what is installed, and whether experiments work in a directory or object store.

    Attach its output to a bug report. The exit code is 1 if something is wrong.

    Args:
        directory: where experiments will be, such as `runs` or `s3://bucket/runs`. It is left
            unchanged.
    """
    checked(directory)
    problems = 0
    for heading, lines in (
        ("machine", _machine()),
        ("packages", _packages()),
        ("directory", _directory(directory)),
    ):
        print(heading)
        for name, found, is_good in lines:
            print(printable(f"  {name:18} {found}"), flush=True)
            problems += not is_good
    print(f"problems: {problems}" if problems else "all is well")
    return int(problems > 0)


def _machine() -> Iterator[tuple[str, str, bool]]:
    yield "python", f"{platform.python_version()} on {platform.platform()}", True
    yield "cores", str(os.cpu_count()), True
    # In a process of its own: JAX waits for ever if another process holds a TPU.
    command = [sys.executable, "-c", _DEVICES]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS_FOR_DEVICES, check=False
        )
    except subprocess.TimeoutExpired:
        yield "devices", f"JAX has found none in {_SECONDS_FOR_DEVICES} s", False
        return
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    yield "devices", done.stdout.strip() if done.returncode == 0 else last, done.returncode == 0


def _packages() -> Iterator[tuple[str, str, bool]]:
    needed: dict[str, list[str]] = {"": ["fifteen"]}
    for requirement in importlib.metadata.requires("fifteen") or []:
        if match := _REQUIREMENT.match(requirement):
            needed.setdefault(match[2] or "", []).append(match[1])
    for extra, packages in needed.items():
        if extra in _NOT_FOR_USERS:
            continue
        for package in packages:
            try:
                yield package, importlib.metadata.version(package), True
            except importlib.metadata.PackageNotFoundError:
                remedy = f"pip install 'fifteen[{extra}]'" if extra else "it is needed; install it"
                yield package, f"missing: {remedy}", bool(extra)


def _directory(name: str) -> Iterator[tuple[str, str, bool]]:
    try:
        directory = Directory(local_path(name, "directory"))
    except FifteenError as error:
        yield "path", str(error), False
        return
    yield "path", str(directory), True
    if not (directory.is_remote or directory.is_present()):
        yield "writing", "there is no such directory; name one that exists", False
        return
    # Hidden, so that it does not count as content if this process is killed.
    probe, content = f".doctor.{secrets.token_hex(4)}.fifteen-tmp", b"written"
    try:
        start = time.perf_counter()
        with directory.replace(probe) as file:
            file.write(content)
        milliseconds = 1000 * (time.perf_counter() - start)
        try:
            is_read = directory.read(probe) == content
        finally:
            directory.remove(probe)
        yield "atomic files", f"written and synced in {milliseconds:.1f} ms", True
        yield "reading", "works" if is_read else "gives other bytes than were written", is_read
        found = "do not work: `status` goes by the last write instead"
        if mark := directory.mark_open():
            # If another process writes here, leases work.
            with contextlib.suppress(ExperimentLockedError):
                mark.check(math.inf)
            found = "work" if directory.open_state() == "open" else found
            mark.release()
        yield "locks", found, True
    except OSError as error:
        yield "writing", f"failed: {error}", False
