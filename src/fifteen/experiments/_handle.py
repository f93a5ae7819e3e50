"""Handle: the experiment directory as a whole: create, clear, move, close."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Self

from . import _console, distributed
from ._errors import ExperimentExistsError, ExperimentNotFoundError
from ._local_path import local_path
from ._session import session_of
from ._walk import find_paths, holds_experiment
from .storage import _local, _move

if TYPE_CHECKING:
    from ._session import Session
    from .events.writing import EventLog


@dataclasses.dataclass(frozen=True)
class Handle:
    """An experiment directory: create, clear, move, close.

    Attributes:
        data_dir: the directory's absolute path.
        verbose: whether to print a line for each thing done.
    """

    data_dir: pathlib.Path
    verbose: bool = True

    if TYPE_CHECKING:

        @property
        def _session(self) -> Session: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_dir", local_path(self.data_dir))
        self._join_session()

    def __getstate__(self) -> dict[str, Any]:
        # A session holds threads and open files, which belong to this process alone.
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._join_session()

    def assert_new(self) -> Self:
        """Raise if there is anything in the directory already; return self.

        Raises:
            ExperimentExistsError: the directory holds something, or is a file.

        Examples:
            >>> experiment = experiment.assert_new()
        """
        distributed.on_primary(self._assert_new)
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
        distributed.on_primary(self._assert_exists)
        return self

    def clear(self) -> Self:
        """Delete the directory and everything in it; return self, ready to be used again.

        Links are removed, never followed. Nothing to delete is no error.

        Raises:
            UnsafePathError: the directory is the root, the home directory, a mount point, holds
                the current directory, or is a file.

        Examples:
            >>> experiment.write_metadata("config", {})
            >>> experiment = experiment.clear().assert_new()
        """
        with distributed.collective("clear"):
            self._session.check()
            distributed.on_primary(lambda: _local.refuse_to_clear(self.data_dir))
            # A thread that opens the log meanwhile waits, and then makes the directory again.
            with self._session.changing:
                # An error of what is still pending is of no interest: its result goes too.
                with self._quiet():
                    self._session.settle()
                distributed.on_primary(self._clear)
        return self

    def move(self, new_data_dir: pathlib.Path) -> Self:
        """Move the directory, also to another file system; return the experiment there.

        This handle, and every other one on the old directory, then refuses to work.

        Args:
            new_data_dir: where it goes: absent or an empty directory. Its parents are made.

        Raises:
            ExperimentExistsError: something is there already.
            UnsafePathError: it lies inside this experiment's directory.
            LogWriteError: what was logged could not be written; nothing was moved.

        Examples:
            >>> experiment.write_metadata("config", {})
            >>> experiment = experiment.move(experiment.data_dir.with_name("done"))
        """
        with distributed.collective("move"):
            self._session.check()
            moved = dataclasses.replace(self, data_dir=new_data_dir)
            distributed.on_primary(lambda: _move.refuse_to_move(self.data_dir, moved.data_dir))
            is_link = self.data_dir.is_symlink()
            # If only a link is moved, other handles go on using the directory that it leads to.
            with contextlib.nullcontext() if is_link else self._session.leaving(moved.data_dir):
                with self._quiet():
                    self._session.close()
                distributed.on_primary(lambda: self._move(moved.data_dir))
        # A link leads to its directory only now.
        moved._join_session()
        return moved

    def flush(self) -> None:
        """See everything handed over onto the disk.

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
        """See everything onto the disk, and let go of threads and files.

        Closing twice is no error, and using the experiment afterwards opens it again. A `with`
        block closes at its end.

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
        if error is None:
            self.close()
            return
        # The script's own error is the one to see; what closing met is told beside it.
        with self._quiet():
            closing_errors = self._session.settle()
        for closing_error in closing_errors:
            error.add_note(f"While closing {self.data_dir}: {closing_error}")

    def _join_session(self) -> None:
        # Joined at once, so that after a move this handle too knows where the directory went. Not
        # a field, so that handles compare, hash and print without it.
        object.__setattr__(self, "_session", session_of(self.data_dir))

    def _assert_new(self) -> None:
        found = _found_at(self.data_dir)
        if found:
            raise ExperimentExistsError(
                f"{self.data_dir}: expected a new experiment, found {found}; choose another "
                "directory, or clear() this one to start again"
            )

    def _assert_exists(self) -> None:
        found = _found_at(self.data_dir) or "nothing"
        problem = f"expected an experiment, found {found}; check the path"
        if self.data_dir.is_dir():
            below = [] if holds_experiment(self.data_dir) else find_paths(self.data_dir)
            if _local.list_names(self.data_dir) and not below:
                return
            problem = "expected an experiment, found an empty directory; check the path"
            if below:
                problem = (
                    f"no experiment; it contains {len(below)}, such as {below[0].name}: "
                    "find_experiments and `fifteen list` name them"
                )
        raise ExperimentNotFoundError(f"{self.data_dir}: {problem}")

    def _clear(self) -> None:
        if os.path.lexists(self.data_dir):
            _local.remove(self.data_dir)
            self._print("Deleted", self.data_dir)
        _local.remove_leftovers(self.data_dir.parent)

    def _move(self, destination: pathlib.Path) -> None:
        # An experiment that nothing has been written to yet has nothing to move.
        if os.path.lexists(self.data_dir):
            _move.move(self.data_dir, destination)
            self._print(f"Moved {self.data_dir} to", destination)

    def _open_events(self) -> "EventLog":
        session = self._session
        with session.changing:
            session.check()
            if session.open_events is None and distributed.is_primary():
                with self._making_directory():
                    _local.make_directory(self.data_dir)
                self._print("Logging to", self.data_dir)
            return session.open_event_log()

    @contextlib.contextmanager
    def _making_directory(self) -> Generator[None]:
        """Tell it when what is done inside has made the directory."""
        existed = self.data_dir.is_dir()
        yield
        if not existed and self.data_dir.is_dir():
            self._print("Made directory at", self.data_dir)

    @contextlib.contextmanager
    def _quiet(self) -> Generator[None]:
        """Keep warnings to ourselves unless the user wants to hear of things."""
        if self.verbose:
            yield
            return
        with _console.quiet():
            yield

    def _print(self, *parts: object) -> None:
        if self.verbose and distributed.is_primary():
            _console.tell(" ".join([f"[{type(self).__name__}]", *map(str, parts)]))


def _found_at(path: pathlib.Path) -> str:
    """Describe what lies at a path, or return an empty text when it is free."""
    if not path.is_dir():
        if path.is_symlink():
            return f"a broken link to {os.readlink(path)}"
        return "a file" if path.exists() else ""
    names = _local.list_names(path)
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
