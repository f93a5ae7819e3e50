"""Read many experiments in several processes, or from object stores."""

import contextlib
import itertools
import operator
import os
import pathlib
import pickle
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import IO, Any

from fifteen._progress import track

from ._discovery import own_metadata
from ._fields import PROVENANCE, Fields
from .events.reading import event_files
from .storage import Directory

_MIN_PARALLEL = 300
"""Starting processes takes as long as reading some 100 experiments."""
_CHUNK = 50
_KEPT = {"path", "root", "name", "experiment", "_directory", "ends", "summary"}
"""The attributes of `Fields` that are given, or too much to send: arrays of curves, and paths."""
_STEPS: Sequence[Callable[[Fields], object]] = (
    *map(operator.attrgetter, ("open_state", "ends", "summary", "status", "speed")),
    Fields.metadata,
    Fields.read_notes,
    lambda field: field.ends.is_complete and field.scalars,
)


def load(fields: Sequence[Fields]) -> None:
    """Read what most queries need, if several processes may be used.

    A process that has imported JAX or has threads is not forked, and reads later.
    """
    fields = [field for field in fields if "contents" not in vars(field)]
    if load_remote(fields):
        return
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    is_alone = "jax" not in sys.modules and threading.active_count() == 1
    if len(fields) < _MIN_PARALLEL or count == 1 or not is_alone:
        return
    _read(fields[:1])  # What that imports, no process has to import again.
    parts = [fields[start : start + _CHUNK] for start in range(0, len(fields), _CHUNK)]
    # If the system has no more processes or pipes, all are read later.
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        pipes = [stack.enter_context(_forked(parts[start::count])) for start in range(count)]
        for number, part in enumerate(track(parts, "Reading")):
            # If a process has died, its experiments are read when they are first asked for.
            with contextlib.suppress(EOFError, pickle.UnpicklingError):
                for field, read in zip(part, pickle.load(pipes[number % count]), strict=True):
                    vars(field).update(read)


def load_remote(fields: Sequence[Fields]) -> bool:
    """Read those in object stores, whose files are fetched together; return if there are any."""
    pending = [field for field in fields if "contents" not in vars(field)]
    roots = map(Directory, {field.root for field in pending})
    remote = next((root for root in roots if root.is_remote), None)
    if remote is None:
        return False
    with listed(pending):
        parts = [pending[start : start + _CHUNK] for start in range(0, len(pending), _CHUNK)]
        fetched = _fetched(remote, parts[0])
        for part, following in itertools.pairwise((*parts, [])):
            # The next part is fetched while this one is read.
            current, fetched = fetched, _fetched(remote, following)
            with current:
                _read(part)
    return True


@contextlib.contextmanager
def listed(fields: Iterable[Fields]) -> Generator[None]:
    """List each directory below the roots of experiments at most once until the block ends."""
    with contextlib.ExitStack() as stack:
        for root in {field.root for field in fields}:
            stack.enter_context(Directory(root).listed())
        yield


def _fetched(
    directory: Directory, fields: Sequence[Fields]
) -> contextlib.AbstractContextManager[None]:
    return directory.fetched([path for field in fields for path in _files_of(field)])


def _files_of(field: Fields) -> list[pathlib.Path]:
    """Return the paths of the files that `_read` reads of an experiment at an address."""
    directory = Directory(field.path)
    if not directory.is_remote:
        return []
    metadata = [f"{name}.yaml" for name in own_metadata(field.path) if name != PROVENANCE]
    return [field.path / name for name in (*metadata, *event_files(directory))]


@contextlib.contextmanager
def _forked(parts: Sequence[Sequence[Fields]]) -> Generator[IO[bytes]]:
    """Yield a pipe from a new process, which reads each part and sends it.

    `multiprocessing` takes 20 ms to import, and a thread that reads the pipes.
    """
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        # Nothing of this process may run in the new one, such as what it does at its end.
        try:
            os.close(source)  # Else a write would wait forever once the reader is gone.
            with os.fdopen(sink, "wb") as pipe:
                for part in parts:
                    pickle.dump(_read(part), pipe, pickle.HIGHEST_PROTOCOL)
        finally:
            os._exit(0)
    os.close(sink)
    try:
        with os.fdopen(source, "rb") as pipe:
            yield pipe
    finally:
        with contextlib.suppress(ChildProcessError):  # A parent may have had SIGCHLD ignored.
            os.waitpid(child, 0)


def _read(fields: Sequence[Fields]) -> list[dict[str, Any]]:
    """Read what most questions need; return the attributes that hold it.

    Each step is done for all of them before the next one: the processor then finds its code in its
    caches, and takes two thirds of the time.
    """
    with listed(fields):
        for step in _STEPS:
            for field in fields:
                step(field)
    return [
        {name: value for name, value in vars(field).items() if name not in _KEPT}
        for field in fields
    ]
