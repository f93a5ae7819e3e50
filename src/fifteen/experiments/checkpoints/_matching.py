"""Finding a target's leaves in a checkpoint."""

import contextlib
import dataclasses
from collections.abc import Generator, Mapping
from typing import Any

import jax

from .. import _console
from .._collecting import paused_collection
from .._errors import CheckpointMismatchError
from . import _tree
from ._casting import ON_DEVICES, DoesNotFit, LeavesDoNotFit, family, fit, held_as, info_of_target
from ._device_placement import place, resolved
from ._leaf import is_state, is_static, refusal
from ._reader import Key, LeafInfo, StoredCheckpoint, StreamedCheckpoint
from ._report import Comparison, is_other_kind, report, report_of_misfits, shortened

_PYTHON = {"bool", "int", "float", "complex"}


def restore(target: Any, stored: StoredCheckpoint, strict: bool, partial: bool) -> Any:
    """Read a checkpoint into the structure of a target; see `Experiment.restore_checkpoint`.

    Raises:
        CheckpointMismatchError: lists every leaf that is missing, unexpected or, with `strict`,
            different.
        CheckpointDamagedError: a leaf's bytes are not those that were written.
    """
    if target is None:
        return stored.nested(stored.read(dict.fromkeys(stored.leaves)))
    keys, leaves, definition = _tree.flatten(target)
    saved = stored.leaves
    if not saved.keys() <= set(keys):
        # Orbax numbers what has no key paths of its own, as version 0.1 of this package did.
        numbered, _, _ = _tree.flatten(target, by_fields=False)
        keys = max(keys, numbered, key=lambda keys: len(saved.keys() & set(keys)))
    wanted = _resolved(stored, dict(zip(keys, leaves, strict=True)))
    comparison = _compare(stored, wanted)
    if not partial and (comparison.missing or comparison.unexpected):
        raise CheckpointMismatchError(
            report(
                comparison, "does not fit the target; pass partial=True to restore what both have:"
            )
        )
    keeps_different = partial and strict
    refused = [
        key
        for key in comparison.different
        if not keeps_different and (strict or is_other_kind(wanted[key], saved[key]))
    ]
    if refused:
        only = dataclasses.replace(comparison, missing=[], unexpected=[], different=refused)
        raise CheckpointMismatchError(report(only, "does not fit the target:"))
    kept = set(comparison.different if keeps_different else ())
    common = {key: leaf for key, leaf in wanted.items() if key in saved and key not in kept}
    if not common and (wanted or saved):
        raise CheckpointMismatchError(report(comparison, "has no leaf in common with the target:"))
    restored = _placed(stored, common)
    if comparison.different or comparison.missing or comparison.unexpected:
        outcome = "kept" if keeps_different else "taken"
        headline = "was restored, and does not fit the target everywhere:"
        _console.warn(report(comparison, headline, outcome, common), stacklevel=4)
    return jax.tree.unflatten(
        definition, [restored.get(key, leaf) for key, leaf in zip(keys, leaves, strict=True)]
    )


def _resolved(stored: StoredCheckpoint, leaves: Mapping[Key, Any]) -> dict[Key, Any]:
    """Return the leaves of a target that are state, each with its devices."""
    wanted: dict[Key, Any] = {}
    problems: list[str] = []
    for key, leaf in leaves.items():
        if is_static(leaf):
            continue
        try:
            wanted[key] = resolved(leaf)
            problem = None if is_state(leaf) else refusal(leaf)
        except DoesNotFit as error:
            problem = f"target's leaf {error}"
        if problem is not None:
            problems.append(f"{_tree.name_of(key)}: {problem}")
    if problems:
        raise CheckpointMismatchError(
            "\n".join([f"cannot restore {stored.path} into the target:", *shortened(problems)])
        )
    return wanted


def _placed(stored: StoredCheckpoint, wanted: Mapping[Key, Any]) -> dict[Key, Any]:
    """Read leaves, and put each where its target's is."""
    placed: dict[Key, Any] = {}
    values: list[Any] = []
    problems: dict[Key, str] = {}
    try:
        # Closed in so many words: what a signal handler raises in a finalizer is lost.
        with contextlib.closing(_batches(stored, wanted)) as batches:
            for batch in batches:
                # What is on its way to a device holds on to what it was read into.
                jax.block_until_ready(values)
                with paused_collection():
                    fitting: dict[Key, Any] = {}
                    for key, value in batch.items():
                        try:
                            fitting[key] = fit(value, wanted[key])
                        except DoesNotFit as error:
                            problems[key] = str(error)
                    if not problems:
                        values = place(list(fitting.values()), [wanted[key] for key in fitting])
                        placed.update(zip(fitting, values, strict=True))
    except LeavesDoNotFit as error:
        problems.update(error.problems)
    if problems:
        # They come in the order of the file.
        ordered = {key: problems[key] for key in wanted if key in problems}
        raise CheckpointMismatchError(report_of_misfits(stored, wanted, ordered))
    return placed


def _batches(stored: StoredCheckpoint, wanted: Mapping[Key, Any]) -> Generator[Mapping[Key, Any]]:
    if isinstance(stored, StreamedCheckpoint):
        return stored.stream(wanted)
    return (batch for batch in [stored.read(wanted)])


def _compare(stored: StoredCheckpoint, wanted: Mapping[Key, Any]) -> Comparison:
    saved = stored.leaves
    # There may be thousands of leaves, and but a few dtypes.
    narrowed = {
        dtype for dtype in {info.dtype for info in saved.values()} if held_as(dtype) != dtype
    }
    return Comparison(
        stored,
        wanted,
        missing=[key for key in wanted if key not in saved],
        unexpected=[key for key in saved if key not in wanted],
        different=[
            key
            for key, leaf in wanted.items()
            if key in saved
            and (
                not _agree(info_of_target(leaf), saved[key])
                or (saved[key].dtype in narrowed and isinstance(leaf, ON_DEVICES))
            )
        ],
    )


def _agree(target: LeafInfo, saved: LeafInfo) -> bool:
    if target == saved:
        return True
    # A Python number and an array without axes hold the same, and the target says which to give.
    either_is_python = target.dtype in _PYTHON or saved.dtype in _PYTHON
    return (
        either_is_python and target.shape == saved.shape == () and family(target) == family(saved)
    )
