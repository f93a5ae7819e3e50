"""A save of several processes: the rounds in which they agree, whatever the format."""

import abc
import contextlib
import itertools
import json
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from .. import distributed
from .._errors import CheckpointError
from ._damage import listed
from ._retention import Destination

DELETED = "it has been deleted, probably by donation to a jitted function; save it before that"
_COMMITTING = "writing a checkpoint"

_groups: dict[int, distributed.ProcessGroup] = {}
"""One for each save that is under way at the same time; later saves reuse them."""

_busy_channels: set[int] = set()
"""The groups in use, in process 0."""


class DistributedSave(abc.ABC):
    """A save that has taken its values; see `LocalSave`.

    Every process of the run makes one, with its part of the same pytree. They commit it in all
    processes or in none: what one of them raises, all raise.
    """

    def __init__(self, destination: Destination, target: Any, in_background: bool) -> None:
        handled = sys.exc_info()[1]
        self._destination = destination
        self._in_background = in_background
        self._has_begun = False
        # Closed when the save is over, whether it has succeeded or not.
        self._held = contextlib.ExitStack()
        _agree(destination.name, self._encode(target))
        try:
            self._token, channel = distributed.on_primary(self._reserve)
        except BaseException:
            self._held.close()
            raise
        # The main group is busy with other calls while this save runs in the background.
        group = distributed.ProcessGroup(f"save {channel}")
        self._group = _groups.setdefault(channel, group)
        try:
            distributed.main.all_gather("starting to save", error=self._start())
        except BaseException as error:
            # If interrupted after that round, the others are already on their way to the commit.
            if distributed.is_shared(error, handled):
                self._held.close()
            else:
                self.abandon(error)
            raise

    def commit(self, before: Callable[[], None]) -> None:
        """Call `before`, and write the checkpoint; may be called in another thread.

        Raises `OSError` if a process could not write. Earlier checkpoints stay intact.
        """
        try:
            self._has_begun = True
            with self._group.collective(_COMMITTING):
                before()
                self._write()
                self._group.on_primary(self._put_in_place)
        finally:
            self._held.close()

    def abandon(self, error: BaseException) -> None:
        """Report to the others that this process will not commit, unless it has begun to."""
        if self._has_begun:
            return
        handled = sys.exc_info()[1]
        try:
            self._group.all_gather(_COMMITTING, error=error)
        except BaseException as raised:
            # It is that error, or one that another process has reported before.
            if raised is not error and not distributed.is_shared(raised, handled):
                raise
        if self._in_background:
            # Only their threads know of it.
            distributed.clear_mark(error)
        self._held.close()

    def _reserve(self) -> tuple[str, int]:
        self._destination.check()
        channel = next(number for number in itertools.count() if number not in _busy_channels)
        _busy_channels.add(channel)
        self._held.callback(_busy_channels.discard, channel)
        return self._prepare(), channel

    @abc.abstractmethod
    def _encode(self, target: Any) -> Mapping[str, str]:
        """Take the values, or check them; return what the processes have to agree on."""

    @abc.abstractmethod
    def _prepare(self) -> str:
        """Prepare the writing, in process 0; return a name that all processes use."""

    def _start(self) -> BaseException | None:
        """Start to write; return the error to report to all processes."""
        return None

    @abc.abstractmethod
    def _write(self) -> None:
        """Write this process's part."""

    @abc.abstractmethod
    def _put_in_place(self) -> None:
        """Commit what all processes have written, in process 0."""


def _agree(checkpoint: str, leaves: Mapping[str, str]) -> None:
    """Raise in all processes if they differ in the checkpoint's name, or in what they save.

    `leaves` says what this process saves as each leaf. The values of local ones may differ. An
    array that is spread over the processes is written by all of them, and other leaves by process 0
    alone. Without agreement, Orbax waits for files that nobody writes.
    """
    checksum = zlib.crc32(json.dumps(sorted(leaves.items())).encode())
    brought = distributed.main.all_gather("comparing what is saved", [checkpoint, checksum])
    if len({name for name, _ in brought}) > 1:
        found = ", ".join(f"process {number} {name}" for number, (name, _) in enumerate(brought))
        raise CheckpointError(
            f"the processes save different checkpoints: {found}; save the same step under the same "
            "prefix in all of them"
        )
    if len({checksum for _, checksum in brought}) > 1:
        # There are many leaves and many processes, so only those of process 0 are sent around.
        first = distributed.on_primary(lambda: leaves)
        differences = [
            f"{name}: {first.get(name, 'missing')} in process 0, "
            f"{leaves.get(name, 'missing')} in process {distributed.index()}"
            for name in {**first, **leaves}
            if first.get(name) != leaves.get(name)
        ]
        if differences:
            problem = listed("the processes save different pytrees:", differences)
            raise CheckpointError(
                f"{problem}\nsave the same structure in all of them, and spread a leaf over the "
                "processes in all of them or in none"
            )
