"""Finding a target's leaves in a checkpoint, and saying all that does not fit at once."""

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from .. import _notices
from .._collecting import paused_collection
from .._errors import CheckpointMismatchError
from . import _keys
from ._fitting import (
    ON_DEVICES,
    DoesNotFit,
    LeavesDoNotFit,
    family,
    fit,
    held_as,
    info_of_target,
    kind_of,
)
from ._leaves import is_state, is_static, refusal
from ._placing import place, resolved
from ._stored import Key, LeafInfo, StoredCheckpoint, StreamedCheckpoint, printable

_LINES = 20
_LONGEST_LINE = 400
_LONGEST_ALIKE = 200
"""Comparing names takes the square of their length."""

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
    keys, leaves, definition = _keys.flatten(target)
    saved = stored.leaves
    if not saved.keys() <= set(keys):
        # Orbax numbers what has no key paths of its own, as version 0.1 of this package did.
        numbered, _, _ = _keys.flatten(target, by_fields=False)
        keys = max(keys, numbered, key=lambda keys: len(saved.keys() & set(keys)))
    wanted = _resolved(stored, dict(zip(keys, leaves, strict=True)))
    comparison = _compare(wanted, saved)
    if not partial and (comparison.missing or comparison.unexpected):
        raise CheckpointMismatchError(_report(stored, wanted, comparison))
    refused = [
        key for key in comparison.different if strict or _other_kind(wanted[key], saved[key])
    ]
    if refused:
        only = _Comparison([], [], refused)
        raise CheckpointMismatchError(_report(stored, wanted, only))
    restored = _placed(stored, {key: leaf for key, leaf in wanted.items() if key in saved})
    if comparison.different or (partial and (comparison.missing or comparison.unexpected)):
        _notices.warn(_report(stored, wanted, comparison, is_error=False), stacklevel=4)
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
            problems.append(f"{_keys.name_of(key)}: {problem}")
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
        for batch in _batches(stored, wanted):
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
        raise CheckpointMismatchError(_report_of_misfits(stored, wanted, ordered))
    return placed


def _report_of_misfits(
    stored: StoredCheckpoint, wanted: Mapping[Key, Any], problems: Mapping[Key, str]
) -> str:
    lines = [
        f"{_keys.name_of(key)}: target has dtype {info_of_target(wanted[key]).dtype}, "
        f"{_step(stored)} has {problem}"
        for key, problem in problems.items()
    ]
    return "\n".join([f"{stored.path} does not fit the target:", *shortened(lines)])


def _batches(stored: StoredCheckpoint, wanted: Mapping[Key, Any]) -> Iterator[Mapping[Key, Any]]:
    if isinstance(stored, StreamedCheckpoint):
        return stored.stream(wanted)
    return iter([stored.read(wanted)])


@dataclasses.dataclass(frozen=True)
class _Comparison:
    missing: list[Key]
    unexpected: list[Key]
    different: list[Key]


def _compare(wanted: Mapping[Key, Any], saved: Mapping[Key, LeafInfo]) -> _Comparison:
    # There may be thousands of leaves, and but a few dtypes.
    narrowed = {
        dtype for dtype in {info.dtype for info in saved.values()} if held_as(dtype) != dtype
    }
    return _Comparison(
        [key for key in wanted if key not in saved],
        [key for key in saved if key not in wanted],
        [
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


def _other_kind(leaf: Any, saved: LeafInfo) -> bool:
    """Whether nothing that was saved could stand where the leaf is, such as a text for a number."""
    no_array = isinstance(leaf, ON_DEVICES) and held_as(saved.dtype) is None
    return no_array or kind_of(info_of_target(leaf).dtype) != kind_of(saved.dtype)


def _report(
    stored: StoredCheckpoint,
    wanted: Mapping[Key, Any],
    comparison: _Comparison,
    is_error: bool = True,
) -> str:
    step = _step(stored)
    saved = stored.leaves
    renames = _likely_renames(comparison, wanted, saved)
    lines = [
        f"{_keys.name_of(key)}: missing in {step}; the target has {info_of_target(wanted[key])}"
        + (f"; did you mean its {_keys.name_of(renames[key])}?" if key in renames else "")
        for key in comparison.missing
    ]
    lines += [
        f"{_keys.name_of(key)}: unexpected in {step}, as {saved[key]}; the target has none"
        for key in comparison.unexpected
    ]
    lines += [_difference(key, wanted[key], saved[key], step, is_error)
              for key in comparison.different]  # fmt: skip
    return "\n".join([f"{stored.path} {_advice(comparison, is_error)}", *shortened(lines)])


def _advice(comparison: _Comparison, is_error: bool) -> str:
    if not is_error:
        return "was restored, and does not fit the target everywhere:"
    if comparison.missing or comparison.unexpected:
        return "does not fit the target; pass partial=True to restore what both have:"
    return "does not fit the target:"


def _step(stored: StoredCheckpoint) -> str:
    """Return what to call a checkpoint in a line about one of its leaves."""
    return stored.path.name.removesuffix(".safetensors")


def _difference(key: Key, leaf: Any, saved: LeafInfo, step: str, is_error: bool) -> str:
    target = info_of_target(leaf)
    held = held_as(saved.dtype) if isinstance(leaf, ON_DEVICES) else saved.dtype
    if target.shape != saved.shape:
        text = f"target has shape {target.shape}, {step} has {saved.shape}"
    elif target.dtype != saved.dtype:
        text = f"target has dtype {target.dtype}, {step} has {saved.dtype}"
    else:
        text = f"target and {step} have dtype {saved.dtype}"
    taken = "take the checkpoint's" if is_error else "took the checkpoint's"
    if held not in (saved.dtype, None):
        taken += f" as {held}"
        taken += "" if is_error else ", since jax_enable_x64 is off"
    if not is_error:
        advice = f"{taken}; strict=True makes this an error"
    elif held is None:
        text += ", of which JAX has no arrays"
        advice = "give a NumPy array as the target's leaf"
    elif _other_kind(leaf, saved):
        advice = "change the target's leaf"
    elif held != saved.dtype:
        advice = f"set jax_enable_x64, or pass strict=False to {taken}"
    else:
        advice = f"pass strict=False to {taken}"
    return f"{_keys.name_of(key)}: {text}; {advice}"


def _likely_renames(
    comparison: _Comparison, wanted: Mapping[Key, Any], saved: Mapping[Key, LeafInfo]
) -> dict[Key, Key]:
    """Pair what is missing with what is unexpected and alike."""
    free = {_keys.name_of(key): key for key in comparison.unexpected}
    renames: dict[Key, Key] = {}
    # Comparing every pair takes long where everything is different, and helps nobody there.
    for key in comparison.missing[:_LINES]:
        info = info_of_target(wanted[key])
        alike = [
            name
            for name, other in free.items()
            if saved[other].shape == info.shape and len(name) <= _LONGEST_ALIKE
        ]
        name = _keys.name_of(key)[: _LONGEST_ALIKE + 1]
        closest = difflib.get_close_matches(name, alike[:200], n=1, cutoff=0.6)
        if closest:
            renames[key] = free.pop(closest[0])
    return renames


def shortened(lines: Sequence[str]) -> list[str]:
    """Indent lines, and count those beyond the first ones instead of showing them."""
    shown = list(lines[:_LINES])
    if len(lines) > _LINES:
        shown[-1:] = [f"and {len(lines) - _LINES + 1} more of {len(lines)}"]
    return ["  " + _cut(printable(line)) for line in shown]


def _cut(line: str) -> str:
    """Leave the middle of a long line out: it begins with a leaf's name, and ends with advice."""
    if len(line) <= _LONGEST_LINE:
        return line
    kept = _LONGEST_LINE // 2
    return f"{line[:kept]} … {line[-kept:]}"
