"""`fifteen doctor`."""

import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Annotated

from tyro.conf import Positional, arg

from fifteen._text import printable
from fifteen.experiments.storage import Directory as StoredDirectory

_REQUIREMENT = re.compile(r"([\w.-]+)[^;]*(?:;.*extra == ['\"](\w+)['\"])?")
_NOT_FOR_USERS = {"dev", "docs", "examples"}
_DEVICES = (
    "import jax; print(*(f'{d.platform}:{d.id} {d.device_kind}' for d in jax.devices()), sep=', ')"
)
_SECONDS_FOR_DEVICES = 120


def doctor(
    directory: Annotated[
        Positional[pathlib.Path], arg(metavar="[DIR]", help_behavior_hint="")
    ] = pathlib.Path(),
) -> int:
    """Say what is installed, and whether a directory takes what experiments need.

    Attach what it prints to a report of a fault. The exit code is 1 if something is wrong.

    Args:
        directory: where experiments are to be; it is left as it was.
    """
    problems = 0
    for heading, lines in (
        ("machine", _machine()),
        ("packages", _packages()),
        (f"directory {directory}", _directory(StoredDirectory(directory.absolute()))),
    ):
        print(printable(heading))
        for name, found, is_good in lines:
            print(printable(f"  {name:18} {found}"), flush=True)
            problems += not is_good
    print(f"what is wrong: {problems}" if problems else "all is well")
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


def _directory(directory: StoredDirectory) -> Iterator[tuple[str, str, bool]]:
    if not directory.is_present():
        yield "writing", "there is no such directory; name one that exists", False
        return
    try:
        with directory.temporary("doctor") as temporary:
            start = time.perf_counter()
            with temporary.replace("file") as file:
                file.write(b"written")
            milliseconds = 1000 * (time.perf_counter() - start)
            yield "atomic files", f"written and synced in {milliseconds:.1f} ms", True
            mark = temporary.mark_open()
            works = mark is not None and temporary.open_state() == "open"
            if mark is not None:
                mark.release()
            missing = "do not work: `status` goes by the last write instead"
            yield "locks", "work" if works else missing, True
        temporary.remove("")
    except OSError as error:
        yield "writing", f"failed: {error}", False
