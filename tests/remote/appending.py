"""Event logs that append to a bucket, with short intervals."""

import contextlib

import obstore
import obstore.exceptions
import obstore.store

from fifteen.experiments import TensorboardLogData
from fifteen.experiments.events.reading import EventReader
from fifteen.experiments.storage import Directory
from fifteen.experiments.storage._remote import _appended


class Bucket:
    """A directory in a bucket, with appended files."""

    def __init__(self, address, **options):
        self.address = address
        self._store = obstore.store.from_url(address, **options)

    def __str__(self):
        return self.address

    @contextlib.contextmanager
    def _clear_errors(self):
        try:
            yield
        except obstore.exceptions.BaseError as error:
            raise OSError(str(error).partition("\n")[0]) from error

    def names(self):
        with self._clear_errors():
            return self._names()

    def _names(self):
        return sorted(entry["path"] for page in obstore.list(self._store) for entry in page)

    def put(self, name, data):
        with self._clear_errors():
            obstore.put(self._store, name, data)

    def get(self, name):
        return bytes(obstore.get(self._store, name).bytes())

    def append(self, name_after, head, report):
        return _appended.AppendedObjects(self, name_after, head, report)


def set_sizes(**values):
    for name, value in values.items():
        assert hasattr(_appended, f"_{name}")
        setattr(_appended, f"_{name}", value)


def log_step(log, step):
    log.log(TensorboardLogData({"loss": step / 7, "rate": 1.0 / (step + 1)}), step, 1, 1)


def is_idle(log):
    """Return whether the thread that writes the log has ended."""
    writer = log._writer
    return not (writer._entries or writer._is_starting or writer._thread)


def download(bucket, directory):
    """Copy all objects; return the steps of the only curve."""
    for name in bucket.names():
        (directory / name).write_bytes(bucket.get(name))
    scalars = EventReader(Directory(directory)).scalars()
    return scalars["loss"].step.tolist() if scalars else []
