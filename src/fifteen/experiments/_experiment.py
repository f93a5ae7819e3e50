"""Experiment: the directory of one run, to write to and to read from."""

import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, overload

from typing_extensions import TypeForm, TypeVar

from . import _console, _walk, checkpoints, distributed, metadata
from ._local_path import local_path
from ._session import raise_last, session_of
from .checkpoints import LeafInfo
from .events import HistogramSeries, ScalarSeries
from .storage import Directory

if TYPE_CHECKING:
    import tensorboardX

    from ._log_data import TensorboardLogData
    from ._session import Session
    from .events.writing import EventLog

T = TypeVar("T")
U = TypeVar("U")
PyTree = TypeVar("PyTree", default=Any)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Keep everything that a run of a training script produces in one directory.

    The directory is made when something is first written to it. Handles are values, to compare,
    copy and pickle; all handles on a directory in a process share what is open there.

    Attributes:
        data_dir: the directory. `~` is the home directory, and a relative path is made absolute.
        verbose: print a line for each thing done, and show warnings.

    Examples:
        >>> with Experiment("runs/digits", verbose=False).assert_new() as experiment:
        ...     experiment.write_metadata("config", {"learning_rate": 1e-3})
        ...     experiment.log(TensorboardLogData(scalars={"loss": 0.5}), step=1)
    """

    data_dir: pathlib.Path
    verbose: bool = True

    if TYPE_CHECKING:

        def __init__(self, data_dir: str | os.PathLike[str], verbose: bool = True) -> None: ...

        @property
        def _session(self) -> Session: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_dir", local_path(self.data_dir))
        # At once, so that this handle knows where another one moves the directory.
        # Not a cached property: Python 3.11 locks those, and a forked child could wait for ever.
        vars(self)["_session"] = session_of(self.data_dir)

    def __reduce__(self) -> tuple[Any, ...]:
        # A session holds threads and open files, which belong to this process alone.
        return type(self), tuple(getattr(self, f.name) for f in dataclasses.fields(self) if f.init)

    # Metadata

    def write_metadata(self, name: str, object: Any) -> None:
        """Write an object to `{name}.yaml`, so that `read_metadata` gives back an equal one.

        Args:
            name: what to call it; may have sub-folders (`"eval/step_100"`).
            object: a dataclass or any other plain Python data; see the guide on metadata.

        Raises:
            MetadataError: the object would not come back equal. The old file stays.
            UnsafePathError: the name leaves the experiment's directory.

        Examples:
            >>> experiment.write_metadata("config", {"layers": [64, 64]})
        """
        self._session.check()
        if distributed.is_primary():
            with self._making_directory():
                path = metadata.write(self.data_dir, name, object)
            self._print("Writing metadata to", path)

    @overload
    def read_metadata(self, name: str, expected_type: TypeForm[T]) -> T: ...
    @overload
    def read_metadata(self, name: str, expected_type: tuple[TypeForm[T], TypeForm[U]]) -> T | U: ...
    @overload
    def read_metadata(self, name: str, expected_type: tuple[Any, ...] = ...) -> Any: ...

    def read_metadata(self, name: str, expected_type: Any = metadata.PLAIN) -> Any:
        """Read what `write_metadata` wrote under `name`.

        Args:
            name: what it was called.
            expected_type: a dataclass, `int`, `dict[str, int]`, `A | B` or any other type, or a
                tuple of alternatives. Without one, the file is read as plain data.

        Raises:
            MetadataNotFoundError: there is no such file.
            MetadataError: the file does not hold the expected type; lists all that is wrong.
            UnsafePathError: the name leaves the experiment's directory.

        Examples:
            >>> experiment.write_metadata("image", (28, 28))
            >>> experiment.read_metadata("image", tuple[int, int])
            (28, 28)
        """
        self._session.check()
        with self._quiet():
            result = metadata.read(self.data_dir, name, expected_type)
        self._print("Reading metadata from", metadata.path_of(self.data_dir, name))
        return result

    def metadata_names(self) -> list[str]:
        """List the names that `read_metadata` takes, sorted.

        Examples:
            >>> experiment.write_metadata("eval/step_100", {"accuracy": 0.9})
            >>> experiment.metadata_names()
            ['eval/step_100']
        """
        self._session.check()
        return metadata.names(self.data_dir)

    def annotate(self, *, note: str | None = None, tags: Sequence[str] | None = None) -> None:
        """Set the note and add tags in `notes.yaml`.

        Args:
            note: replaces the note; an empty one removes it, and the file if nothing else is in it.
            tags: join those that are there, sorted.

        Raises:
            MetadataError: a note or tag is not text, or the file cannot be read. It stays as it is.

        Examples:
            >>> experiment.annotate(note="Baseline of figure 2", tags=["paper"])
            >>> experiment.read_metadata("notes")
            {'note': 'Baseline of figure 2', 'tags': ['paper']}
        """
        self._session.check()
        if distributed.is_primary():
            with self._making_directory():
                path = metadata.annotate(self.data_dir, note, tags)
            self._print(f"Writing notes to {path}" if path else "No notes are left")

    def write_provenance(self) -> None:
        """Write git commit and diff, command, packages, devices, host, time: `provenance.yaml`.

        Examples:
            >>> experiment.write_provenance()
            >>> experiment.metadata_names()
            ['provenance']
        """
        from . import provenance  # Its imports are slow.

        if distributed.is_primary():
            self.write_metadata("provenance", provenance.collect())

    # Checkpoints

    def save_checkpoint(
        self,
        target: Any,
        step: int,
        prefix: str = "checkpoint_",
        keep: int = 1,
        overwrite: bool = False,
        keep_every_n_steps: int | None = None,
        *,
        blocking: bool = True,
    ) -> str:
        """Save a pytree as the checkpoint of a step; return the checkpoint's path.

        Args:
            target: any pytree of arrays, numbers, strings and None.
            step: the training step, at least 0 and above the latest one saved.
            prefix: the start of the file's name. Each prefix has its own history.
            keep: how many of the newest checkpoints to keep, at least 1; `float("inf")` keeps all.
            overwrite: allow a step at or below the latest; the steps from there on are dropped.
            keep_every_n_steps: of the older checkpoints, also keep those this many steps apart.
            blocking: wait until the checkpoint is on disk. Otherwise return as soon as the values
                are safe from donation and mutation; an error is raised by the next save or `flush`.

        Raises:
            CheckpointExistsError: the step is not above the latest, and `overwrite` is not set.
            CheckpointError: the target, step or `keep` cannot be saved as asked.
            OSError: it could not be written, for example to a full disk. Earlier ones are intact.

        Examples:
            >>> path = experiment.save_checkpoint({"weights": jnp.ones(3)}, step=100, keep=3)
            >>> pathlib.Path(path).name
            'checkpoint_100.safetensors'
        """
        save = self._session.checkpoints.save
        if not blocking:
            self._session.keep()
        retention = functools.partial(checkpoints.Retention, keep, overwrite, keep_every_n_steps)
        with self._quiet(), self._making_directory():
            path = save(target, step, prefix, retention, blocking)
        self._print("Saved checkpoint to" if blocking else "Saving checkpoint to", path)
        return str(path)

    def restore_checkpoint(
        self,
        target: PyTree | None,
        step: int | None = None,
        prefix: str = "checkpoint_",
        *,
        strict: bool = False,
        partial: bool = False,
    ) -> PyTree:
        """Restore a checkpoint into the structure of `target`.

        Args:
            target: a pytree of arrays or `jax.ShapeDtypeStruct`, whose shardings the restored ones
                take; None gives nested dicts and lists.
            step: which step; the latest by default.
            prefix: what the file's name begins with.
            strict: make a shape or dtype that differs an error, rather than a warning.
            partial: take the leaves that both have, and leave the others as in the target; with
                `strict`, those whose shape or dtype differs, too.

        Raises:
            CheckpointNotFoundError: there is no checkpoint, or none of that step.
            CheckpointMismatchError: the leaves do not fit the target's; lists all that differ.
            CheckpointDamagedError: the file's bytes are not those that were written.

        Examples:
            >>> path = experiment.save_checkpoint({"weights": jnp.ones(3)}, step=100)
            >>> experiment.restore_checkpoint({"weights": jnp.zeros(3)})
            {'weights': Array([1., 1., 1.], dtype=float32)}
        """
        with self._quiet():
            tree, path = self._session.checkpoints.restore(target, step, prefix, strict, partial)
        self._print("Restored checkpoint from", path)
        return tree

    def checkpoint_steps(self, prefix: str = "checkpoint_") -> list[int]:
        """List the steps of the committed checkpoints, ascending.

        Examples:
            >>> path = experiment.save_checkpoint({"count": 1}, step=10)
            >>> experiment.checkpoint_steps()
            [10]
        """
        return self._session.checkpoints.steps(prefix)

    def checkpoint_prefixes(self) -> list[str]:
        """List the prefixes under which there are checkpoints, sorted.

        Examples:
            >>> path = experiment.save_checkpoint({"count": 1}, step=10, prefix="best_")
            >>> experiment.checkpoint_prefixes()
            ['best_']
        """
        return self._session.checkpoints.prefixes()

    def checkpoint_leaves(
        self, step: int | None = None, prefix: str = "checkpoint_"
    ) -> dict[str, LeafInfo]:
        """List a checkpoint's leaves with shapes and dtypes, without reading any.

        Raises:
            CheckpointNotFoundError: there is no checkpoint, or none of that step.

        Examples:
            >>> path = experiment.save_checkpoint({"weights": jnp.ones(3)}, step=100)
            >>> experiment.checkpoint_leaves()
            {'weights': LeafInfo(shape=(3,), dtype='float32')}
        """
        return self._session.checkpoints.leaves(step, prefix)

    # Events

    @property
    def summary_writer(self) -> "tensorboardX.SummaryWriter":
        """A `tensorboardX.SummaryWriter` on this directory, for images, text, figures and the rest.

        Examples:
            >>> experiment.summary_writer.add_text("note", "a text", global_step=1)
        """
        return self._open_events().summary_writer

    def log(
        self,
        log_data: "TensorboardLogData",
        step: Any,
        log_scalars_every_n: int = 1,
        log_histograms_every_n: int = 1,
    ) -> None:
        """Log scalars and histograms to TensorBoard, without waiting for the device or the disk.

        Args:
            log_data: what to log; for `n` steps, each leaf has a leading axis of length `n`.
            step: the training step: an int, a NumPy or JAX integer, or a vector of them.
            log_scalars_every_n: log scalars only at steps that this divides.
            log_histograms_every_n: log histograms only at steps that this divides.

        Raises:
            LogDataError: a tag, value or step cannot be logged; lists all that is wrong.

        Examples:
            >>> experiment.log(TensorboardLogData(scalars={"loss": 0.5}), step=1)
        """
        log = self._session.open_events or self._open_events()
        log.log(log_data, step, log_scalars_every_n, log_histograms_every_n, self.log)
        if log.has_reports:
            with self._quiet():
                log.report()
        if self._session.was_closed:
            # By another thread, between the two lines above.
            self._open_events()

    def rewind_logs(self, step: int) -> None:
        """Hide everything logged after `step`, the one from which a run resumes.

        Raises:
            LogDataError: the step is not one whole number.

        Examples:
            >>> experiment.log(TensorboardLogData(scalars={"loss": jnp.ones(4)}), step=range(4))
            >>> experiment.rewind_logs(1)
            >>> experiment.read_scalars()["loss"].step.tolist()
            [0, 1]
        """
        self._open_events().rewind(step)
        self._print(f"Rewound logs to step {step} in", self.data_dir)

    def log_hparams(self, hparams: Any, metrics: Sequence[str] = ()) -> None:
        """Give this experiment its row in TensorBoard's HParams tab.

        Args:
            hparams: a (nested) dataclass or mapping; nested names are joined with dots.
            metrics: tags of scalars that become columns, and fill as they are logged.

        Raises:
            LogDataError: the values have no names, or `metrics` is a single string.

        Examples:
            >>> experiment.log_hparams({"learning_rate": 1e-3}, metrics=("test/accuracy",))
        """
        log = self._open_events()
        with self._quiet():
            log.log_hparams(metadata.flatten(hparams), metrics)

    def read_scalars(self, tags: Iterable[str] | None = None) -> dict[str, ScalarSeries]:
        """Return all points of the logged scalars as NumPy arrays, by tag.

        Args:
            tags: which tags to read, all by default; `*` matches any text.

        Raises:
            ExperimentNotFoundError: there is no such directory.
            LogDataError: `tags` is a single string.

        Examples:
            >>> experiment.log(TensorboardLogData(scalars={"loss": 0.5}), step=7)
            >>> experiment.read_scalars()["loss"].step.tolist()
            [7]
        """
        with self._quiet():
            return self._session.open_reader().scalars(tags, warns=True)

    def read_histograms(self, tags: Iterable[str] | None = None) -> dict[str, HistogramSeries]:
        """Return the logged histograms by tag, as `read_scalars` does for scalars.

        Examples:
            >>> experiment.log(TensorboardLogData(histograms={"w": jnp.ones(3)}), step=7)
            >>> experiment.read_histograms()["w"].step.tolist()
            [7]
        """
        with self._quiet():
            return self._session.open_reader().histograms(tags, warns=True)

    # The directory itself

    def assert_new(self) -> Self:
        """Raise `ExperimentExistsError` if the directory holds anything, or is a file; return self.

        Examples:
            >>> experiment = experiment.assert_new()
        """
        distributed.on_primary(lambda: _walk.check_new(self.data_dir))
        return self

    def assert_exists(self) -> Self:
        """Raise if there is no experiment in the directory; return self.

        Raises:
            ExperimentNotFoundError: the directory is absent, empty, a file, or only the parent of
                experiments.

        Examples:
            >>> experiment.write_metadata("config", {})
            >>> experiment = experiment.assert_exists()
        """
        distributed.on_primary(lambda: _walk.check_exists(self.data_dir))
        return self

    def clear(self) -> Self:
        """Delete the directory and everything in it; return self, ready to be used again.

        Raises:
            UnsafePathError: the directory is the root, the home directory, a mount point, holds
                the current directory, is read-only, or is a file.

        Examples:
            >>> experiment.write_metadata("config", {})
            >>> experiment = experiment.clear().assert_new()
        """
        with self._quiet():
            was_there = self._session.clear(self.data_dir)
        if was_there:
            self._print("Deleted", self.data_dir)
        return self

    def move(self, new_data_dir: pathlib.Path) -> Self:
        """Move the directory, also to another file system or object store; return it there.

        This handle, and every other one on the old directory, then refuses to work.

        Args:
            new_data_dir: the destination: absent or an empty directory. Its parents are made.

        Raises:
            ExperimentExistsError: something is there already.
            UnsafePathError: it is inside this experiment's directory, or in an object store, which
                does not take a link that is in this one.
            NotADirectoryError: this is a file.
            LogWriteError: what was logged could not be written; nothing was moved.
            OSError: a file could not be copied, or changed during the move; nothing was moved.

        Examples:
            >>> experiment.write_metadata("config", {})
            >>> experiment = experiment.move(experiment.data_dir.with_name("done"))
        """
        with distributed.collective("move"), self._quiet():
            moved = dataclasses.replace(self, data_dir=new_data_dir)
            was_there = self._session.move(self.data_dir, moved.data_dir)
        if was_there:
            self._print(f"Moved {self.data_dir} to", moved.data_dir)
        # A moved link can be resolved only now.
        return dataclasses.replace(moved)

    def flush(self) -> None:
        """Wait until everything handed over is on disk.

        Raises:
            LogWriteError: what was logged could not be written; it is kept and tried again.
            OSError: a checkpoint could not be saved in the background.

        Examples:
            >>> experiment.log(TensorboardLogData(scalars={"loss": 0.5}), step=1)
            >>> experiment.flush()
        """
        with self._quiet():
            self._session.flush()

    def close(self) -> None:
        """Write everything to disk, and release threads and files, as a `with` block does.

        If the experiment is used afterwards, it opens again.

        Raises:
            LogWriteError: what was logged could not be written.
            OSError: a checkpoint could not be saved in the background.

        Examples:
            >>> with experiment:
            ...     experiment.log(TensorboardLogData(scalars={"loss": 0.5}), step=1)
        """
        with self._quiet():
            self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: object, error: BaseException | None, traceback: object) -> None:
        with self._quiet():
            closing_errors = self._session.settle(error)
        if error is None:
            raise_last(closing_errors)
            return
        # The script's own error is raised, and errors of closing become notes on it.
        for closing_error in closing_errors:
            error.add_note(f"While closing {self.data_dir}: {closing_error}")

    # Inside

    def _repr_html_(self) -> str:
        from fifteen.view._notebook import card

        return card(self, self._session.open_reader)

    def _open_events(self) -> "EventLog":
        with self._making_directory():
            log, is_new = self._session.open_event_log()
        if is_new:
            self._print("Logging to", self.data_dir)
        return log

    @contextlib.contextmanager
    def _making_directory(self) -> Generator[None]:
        """Print a line if the block makes the directory."""
        directory = Directory(self.data_dir)
        # In a store, nothing has to be made.
        was_absent = not (directory.is_remote or directory.is_present())
        yield
        if was_absent and directory.is_present():
            self._session.mark_open()
            self._print("Made directory at", self.data_dir)

    def _quiet(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.verbose else _console.quiet()

    def _print(self, *parts: object) -> None:
        if self.verbose and distributed.is_primary():
            _console.print_line(" ".join([f"[{type(self).__name__}]", *map(str, parts)]))
