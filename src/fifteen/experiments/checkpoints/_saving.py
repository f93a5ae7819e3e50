"""Save a pytree: take its values at once, and write them now or in the background."""

from collections.abc import Callable
from typing import Any, Protocol

from .._gc import gc_paused
from . import _leaf, _tree
from ._leaf import encode_each, is_static
from ._retention import Destination
from ._safetensors import _writer


class PendingSave(Protocol):
    """A save whose values have been taken; either `commit` or `abandon` is called, once."""

    def commit(self) -> None:
        """Write the values and give the checkpoint its name; may be called in another thread.

        Raises:
            OSError: the values could not be written. Earlier checkpoints are whole.
        """
        ...

    def abandon(self, error: BaseException) -> None:
        """Give up because of an error, which the other processes raise as well."""
        ...


class LocalSave:
    """Save values that this process holds whole to a safetensors file.

    Args:
        destination: where the checkpoint goes.
        target: the pytree.
        copy: make the values safe from what the caller does next, before `commit` writes them.
        before_commit: called when the commit begins.

    Raises:
        CheckpointExistsError: the step may not be saved.
        CheckpointError: lists each leaf that cannot be saved.
    """

    def __init__(
        self, destination: Destination, target: Any, copy: bool, before_commit: Callable[[], None]
    ) -> None:
        destination.check()
        self._destination = destination
        self._before_commit = before_commit
        with gc_paused():
            flat = _tree.flatten(target, is_static=is_static)
            encoded = encode_each(flat, lambda value: _leaf.encode(value, copy))
            self._leaves = list(encoded.items())
            self._structure = _tree.to_json(flat.structure)

    def commit(self) -> None:
        """Write the file."""
        self._before_commit()
        directory = self._destination.directory
        directory.make()
        directory.remove_leftovers()
        # The disk may have room for the checkpoints that are kept and only one more.
        directory.wait_for_removals()
        with directory.replace(self._destination.path.name) as file:
            _writer.write(file, self._leaves, self._structure)
        self._destination.apply_retention()

    def abandon(self, error: BaseException) -> None:
        """Do nothing: there is no other process."""
