"""Finding a target's leaves in a checkpoint, and saying all that does not fit at once."""

import dataclasses
import difflib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from .._errors import CheckpointMismatchError, ExperimentWarning
from . import _keys
from ._leaves import is_static
from ._placing import family, info_of_target, place
from ._stored import Key, LeafInfo, StoredCheckpoint, StreamedCheckpoint

_LINES = 20
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
        by_fields = _keys.keys_by_fields(target, definition)
        keys = by_fields if saved.keys() <= set(by_fields) else keys
    wanted = {key: leaf for key, leaf in zip(keys, leaves, strict=True) if not is_static(leaf)}
    comparison = _compare(wanted, saved)
    if not partial and (comparison.missing or comparison.unexpected):
        raise CheckpointMismatchError(_report(stored, wanted, comparison))
    if comparison.different and strict:
        raise CheckpointMismatchError(_report(stored, wanted, comparison))
    incompatible = [key for key in comparison.different if _is_text(key, wanted, saved)]
    if incompatible:
        only = _Comparison([], [], incompatible)
        raise CheckpointMismatchError(_report(stored, wanted, only))
    common = {key: leaf for key, leaf in wanted.items() if key in saved}
    restored: dict[Key, Any] = {}
    for batch in _batches(stored, common):
        placed = place(list(batch.values()), [common[key] for key in batch])
        restored.update(zip(batch, placed, strict=True))
    if comparison.different or (partial and (comparison.missing or comparison.unexpected)):
        warnings.warn(
            _report(stored, wanted, comparison, is_error=False), ExperimentWarning, stacklevel=4
        )
    return jax.tree.unflatten(
        definition, [restored.get(key, leaf) for key, leaf in zip(keys, leaves, strict=True)]
    )


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
    return _Comparison(
        [key for key in wanted if key not in saved],
        [key for key in saved if key not in wanted],
        [
            key
            for key, leaf in wanted.items()
            if key in saved and not _agree(info_of_target(leaf), saved[key])
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


def _is_text(key: Key, wanted: Mapping[Key, Any], saved: Mapping[Key, LeafInfo]) -> bool:
    """Whether one of the two is text or a PRNG key, and the other a number."""
    kinds = {_kind(info_of_target(wanted[key])), _kind(saved[key])}
    return len(kinds) > 1


def _kind(info: LeafInfo) -> str:
    if info.dtype in ("str", "bytes"):
        return info.dtype
    return "key" if info.dtype.startswith("key<") else "number"


def _report(
    stored: StoredCheckpoint,
    wanted: Mapping[Key, Any],
    comparison: _Comparison,
    is_error: bool = True,
) -> str:
    step = stored.path.name.removesuffix(".safetensors")
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
    lines += [_difference(key, info_of_target(wanted[key]), saved[key], step, is_error)
              for key in comparison.different]  # fmt: skip
    return "\n".join([f"{stored.path} {_advice(comparison, is_error)}", *shortened(lines)])


def _advice(comparison: _Comparison, is_error: bool) -> str:
    if not is_error:
        return "was restored, and does not fit the target everywhere:"
    if comparison.missing or comparison.unexpected:
        return "does not fit the target; pass partial=True to restore what both have:"
    return "does not fit the target:"


def _difference(key: Key, target: LeafInfo, saved: LeafInfo, step: str, is_error: bool) -> str:
    if target.shape != saved.shape:
        text = f"target has shape {target.shape}, {step} has {saved.shape}"
    else:
        text = f"target has dtype {target.dtype}, {step} has {saved.dtype}"
    if not is_error:
        advice = "took the checkpoint's; strict=True makes this an error"
    elif _kind(target) == _kind(saved):
        advice = "pass strict=False to take the checkpoint's"
    else:
        advice = "change the target's leaf"
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
        alike = [name for name, other in free.items() if saved[other].shape == info.shape]
        closest = difflib.get_close_matches(_keys.name_of(key), alike[:200], n=1, cutoff=0.6)
        if closest:
            renames[key] = free.pop(closest[0])
    return renames


def shortened(lines: Sequence[str]) -> list[str]:
    """Indent lines, and count those beyond the first ones instead of showing them."""
    shown = list(lines[:_LINES])
    if len(lines) > _LINES:
        shown[-1:] = [f"and {len(lines) - _LINES + 1} more of {len(lines)}"]
    return ["  " + line for line in shown]
