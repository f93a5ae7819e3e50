"""The user's own tensorboardX writer, whose events join ours.

Its events go through the same queue to the same file, because TensorBoard's Python loader stops
reading a file of a directory once there is a newer one: of two files that grow side by side, the
older one's curves would stand still. It also spares a second thread, and a file name that two
writers opened within a second would share.
"""

import pathlib
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.event_file_writer import EventFileWriter
from tensorboardX.writer import FileWriter

from ._entries import Encoded
from ._writer import EventWriter


def summary_writer(directory: pathlib.Path, writer: EventWriter | None) -> SummaryWriter:
    """Return a SummaryWriter on a directory.

    Args:
        directory: what it calls its log directory.
        writer: where its events go; None where they go nowhere.
    """
    return _SummaryWriter(directory, writer)


class _SummaryWriter(SummaryWriter):
    def __init__(self, directory: pathlib.Path, writer: EventWriter | None) -> None:
        self._writer = writer
        super().__init__(str(directory), write_to_disk=writer is not None)

    def _get_file_writer(self) -> Any:
        if self._writer is None:
            return super()._get_file_writer()
        # Its close() forgets the writer, and what it is asked next makes another.
        if not self.file_writer:
            self.file_writer = _FileWriter(str(self.logdir), self._writer)
            self.all_writers = {self.file_writer.get_logdir(): self.file_writer}
        return self.file_writer


class _FileWriter(FileWriter):
    def __init__(self, directory: str, writer: EventWriter) -> None:
        # Not the base's, which would open a file of its own.
        self.event_writer = _Events(directory, writer)
        self._default_metadata = {}


class _Events(EventFileWriter):
    def __init__(self, directory: str, writer: EventWriter) -> None:
        self._logdir = directory
        self._writer = writer

    def get_logdir(self) -> str:
        return self._logdir

    def reopen(self) -> None:
        pass

    def add_event(self, event: Any) -> None:
        self._writer.put(Encoded(event.SerializeToString()))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        # The file stays open for whoever else logs to it.
        self._writer.flush()
