"""Restoring: find the leaves of a target in a checkpoint, read, cast and place them."""

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from fifteen._text import printable

from .. import _console
from .._errors import CheckpointError, CheckpointMismatchError
from . import _tree
from ._casting import ON_DEVICES, CastError, cast_to_target
from ._damage import UNPARSABLE, damaged, listed, too_deep
from ._device_placement import device_put_like, resolve_sharding, shardings_to_read
from ._dtypes import SCALARS
from ._keys import Key, name_of, unflatten
from ._leaf import is_static, refusal
from ._matching import compare, is_other_kind, report, report_of_misfits
from ._reader import CheckpointReader, KeyData

_ANYWHERE = jax.ShapeDtypeStruct((), np.uint32)
"""A target for typed PRNG keys on the default device."""


def restore(target: Any, stored: CheckpointReader, strict: bool, partial: bool) -> Any:
    """Read a checkpoint into the structure of a target; see `Experiment.restore_checkpoint`."""
    if target is None:
        return _as_saved(stored)
    flat, saved = _tree.flatten(target), stored.leaves
    keys = flat.keys
    if not saved.keys() <= set(keys):
        # Orbax numbers what has no key paths of its own, as version 0.1 of this package did.
        numbered = _tree.flatten(target, by_fields=False).keys
        keys = max(keys, numbered, key=lambda keys: len(saved.keys() & set(keys)))
    wanted = _resolved(stored, zip(keys, flat.leaves, strict=True))
    comparison = compare(stored, wanted)
    if not partial and (comparison.missing or comparison.unexpected):
        headline = "does not fit the target; pass partial=True to restore what both have:"
        raise CheckpointMismatchError(report(comparison, headline))
    keeps_different = partial and strict
    refused = [
        key
        for key in comparison.different
        if not keeps_different and (strict or is_other_kind(wanted[key], saved[key]))
    ]
    if refused:
        only = dataclasses.replace(comparison, missing=[], unexpected=[], different=refused)
        raise CheckpointMismatchError(report(only, "does not fit the target:"))
    common = dict(wanted)
    for key in (*comparison.missing, *(comparison.different if keeps_different else ())):
        del common[key]
    if not common and (wanted or saved):
        raise CheckpointMismatchError(report(comparison, "has no leaf in common with the target:"))
    restored = _placed(stored, common)
    if comparison.different or comparison.missing or comparison.unexpected:
        outcome = "kept" if keeps_different else "taken"
        headline = "was restored, and does not fit the target everywhere:"
        _console.warn(report(comparison, headline, outcome, common))
    return jax.tree.unflatten(
        jax.tree.structure(target),
        [restored.get(key, leaf) for key, leaf in zip(keys, flat.leaves, strict=True)],
    )


def _resolved(stored: CheckpointReader, leaves: Iterable[tuple[Key, Any]]) -> dict[Key, Any]:
    """Return the leaves of a target that are state, with shardings over real devices."""
    wanted: dict[Key, Any] = {}
    problems: list[str] = []
    for key, leaf in leaves:
        if not isinstance(leaf, (*ON_DEVICES, np.ndarray, np.generic, *SCALARS)):
            if not is_static(leaf):
                problems.append(f"{name_of(key)}: {refusal(leaf)}")
            continue
        try:
            wanted[key] = resolve_sharding(leaf)
        except CastError as error:
            problems.append(f"{name_of(key)}: target's leaf {error}")
    if problems:
        headline = f"cannot restore {stored.path} into the target:"
        raise CheckpointMismatchError(listed(headline, problems))
    return wanted


def _as_saved(stored: CheckpointReader) -> Any:
    """Return nested dicts and lists of all leaves; only typed PRNG keys are on a device."""
    values: dict[Key, Any] = {}
    with contextlib.closing(stored.read(dict.fromkeys(stored.leaves))) as batches:
        for batch in batches:
            values.update(batch)
    for key, value in values.items():
        if isinstance(value, KeyData):
            try:
                keys = cast_to_target(value, _ANYWHERE)
            except CastError as error:
                name = printable(name_of(key))
                raise CheckpointError(f"{stored.path}: {name}: {error}") from None
            (values[key],) = device_put_like([keys], [_ANYWHERE])
    try:
        return unflatten(stored.structure, [values[key] for key in stored.leaves])
    except RecursionError:
        raise too_deep(stored.path) from None
    except UNPARSABLE as error:
        raise damaged(stored.path, f"its structure is invalid: {error}") from None


def _placed(stored: CheckpointReader, wanted: Mapping[Key, Any]) -> dict[Key, Any]:
    """Read leaves, cast them, and put each on the devices of its target's leaf."""
    placed: dict[Key, Any] = {}
    values: list[Any] = []
    problems: dict[Key, str] = {}
    # Closed here, since what a signal handler raises in a finalizer is lost.
    with contextlib.closing(stored.read(shardings_to_read(wanted, stored.leaves))) as batches:
        for batch in batches:
            # A transfer keeps the memory of the last batch alive until it ends.
            jax.block_until_ready(values)
            targets = [wanted[key] for key in batch]
            cast: list[Any] = []
            for key, value, target in zip(batch, batch.values(), targets, strict=True):
                try:
                    cast.append(cast_to_target(value, target))
                except CastError as error:
                    problems[key] = str(error)
            if not problems:
                values = device_put_like(cast, targets)
                placed.update(zip(batch, values, strict=True))
    if problems:
        # In the order of the pytree, not of the file.
        ordered = {key: problems[key] for key in wanted if key in problems}
        raise CheckpointMismatchError(report_of_misfits(stored, wanted, ordered))
    return placed
