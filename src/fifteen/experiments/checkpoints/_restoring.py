"""Restoring: the leaves of a target are found in a checkpoint, read, cast and placed."""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from .. import _console
from .._errors import CheckpointMismatchError
from .._gc import gc_paused
from . import _tree
from ._casting import CastError, CastErrors, cast_to_target
from ._damage import shortened
from ._device_placement import device_put_like, resolve_sharding
from ._keys import Key, name_of
from ._leaf import is_state, is_static, refusal
from ._matching import compare, is_other_kind, report, report_of_misfits
from ._reader import CheckpointReader


def restore(target: Any, stored: CheckpointReader, strict: bool, partial: bool) -> Any:
    """Read a checkpoint into the structure of a target; see `Experiment.restore_checkpoint`.

    Raises:
        CheckpointMismatchError: lists every leaf that is missing, unexpected or, with `strict`,
            different.
        CheckpointDamagedError: a leaf's bytes are not those that were written.
    """
    if target is None:
        values: dict[Key, Any] = {}
        with contextlib.closing(stored.read(dict.fromkeys(stored.leaves))) as batches:
            for batch in batches:
                values.update(batch)
        return stored.unflatten(values)
    flat, saved = _tree.flatten(target), stored.leaves
    keys = flat.keys
    if not saved.keys() <= set(keys):
        # Orbax numbers what has no key paths of its own, as version 0.1 of this package did.
        numbered = _tree.flatten(target, by_fields=False).keys
        keys = max(keys, numbered, key=lambda keys: len(saved.keys() & set(keys)))
    wanted = _resolved(stored, dict(zip(keys, flat.leaves, strict=True)))
    comparison = compare(stored, wanted)
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
        jax.tree.structure(target),
        [restored.get(key, leaf) for key, leaf in zip(keys, flat.leaves, strict=True)],
    )


def _resolved(stored: CheckpointReader, leaves: Mapping[Key, Any]) -> dict[Key, Any]:
    """Return the leaves of a target that are state, each with its devices."""
    wanted: dict[Key, Any] = {}
    problems: list[str] = []
    for key, leaf in leaves.items():
        if is_static(leaf):
            continue
        try:
            wanted[key] = resolve_sharding(leaf)
            problem = None if is_state(leaf) else refusal(leaf)
        except CastError as error:
            problem = f"target's leaf {error}"
        if problem is not None:
            problems.append(f"{name_of(key)}: {problem}")
    if problems:
        raise CheckpointMismatchError(
            "\n".join([f"cannot restore {stored.path} into the target:", *shortened(problems)])
        )
    return wanted


def _placed(stored: CheckpointReader, wanted: Mapping[Key, Any]) -> dict[Key, Any]:
    """Read leaves, and put each where its target's is."""
    placed: dict[Key, Any] = {}
    values: list[Any] = []
    problems: dict[Key, str] = {}
    try:
        # Closed here, since what a signal handler raises in a finalizer is lost.
        with contextlib.closing(stored.read(wanted)) as batches:
            for batch in batches:
                # A transfer keeps the memory of the batch before alive until it ends.
                jax.block_until_ready(values)
                with gc_paused():
                    cast: dict[Key, Any] = {}
                    for key, value in batch.items():
                        try:
                            cast[key] = cast_to_target(value, wanted[key])
                        except CastError as error:
                            problems[key] = str(error)
                    if not problems:
                        values = device_put_like(list(cast.values()), [wanted[key] for key in cast])
                        placed.update(zip(cast, values, strict=True))
    except CastErrors as error:
        problems.update(error.problems)
    if problems:
        # They come in the order of the file.
        ordered = {key: problems[key] for key in wanted if key in problems}
        raise CheckpointMismatchError(report_of_misfits(stored, wanted, ordered))
    return placed
