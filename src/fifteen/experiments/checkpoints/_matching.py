"""Comparing a checkpoint with a target, and reporting all differences at once."""

import dataclasses
import difflib
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

from fifteen._text import counted

from ._casting import ON_DEVICES, canonical_dtype
from ._damage import MAX_LINES, listed
from ._dtypes import NAMES_OF_SCALARS, family, info_of, kind_of
from ._keys import Key, name_of
from ._reader import CheckpointReader, LeafInfo

MAX_ALIKE = 200
"""Comparing names takes the square of their length."""
_NAMES = 3
"""How many of an item's leaves a line names."""

Outcome = Literal["refused", "taken", "kept"]
"""What happens to leaves that differ: an error, or the checkpoint's or target's value."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a checkpoint and the leaves of a target do not have in common."""

    stored: CheckpointReader
    wanted: Mapping[Key, Any]
    missing: list[Key]
    unexpected: list[Key]
    different: list[Key]


def compare(stored: CheckpointReader, wanted: Mapping[Key, Any]) -> Comparison:
    saved = stored.leaves
    missing: list[Key] = []
    different: list[Key] = []
    # There may be thousands of leaves, but only a few dtypes. Leaves that stay on the host are left
    # out: JAX's answer initializes a backend, after which it cannot join other processes.
    is_narrowed = functools.cache(lambda dtype: canonical_dtype(dtype) != dtype)
    for key, leaf in wanted.items():
        info = saved.get(key)
        if info is None:
            missing.append(key)
        else:
            found = info_of(leaf)
            agree = found is info or _agree(found, info)
            if not agree or (isinstance(leaf, ON_DEVICES) and is_narrowed(info.dtype)):
                different.append(key)
    unexpected = [key for key in saved if key not in wanted]
    return Comparison(stored, wanted, missing, unexpected, different)


def _agree(target: LeafInfo, saved: LeafInfo) -> bool:
    if target == saved:
        return True
    # A Python number and an array without axes hold the same; the target decides.
    is_python = not NAMES_OF_SCALARS.isdisjoint([target.dtype, saved.dtype])
    return is_python and target.shape == saved.shape == () and family(target) == family(saved)


def is_other_kind(leaf: Any, saved: LeafInfo) -> bool:
    """Whether the saved leaf can never replace the target's, such as a text a number."""
    no_array = isinstance(leaf, ON_DEVICES) and canonical_dtype(saved.dtype) is None
    return no_array or kind_of(info_of(leaf).dtype) != kind_of(saved.dtype)


def report(
    comparison: Comparison,
    headline: str,
    outcome: Outcome = "refused",
    restored: Collection[Key] = (),
) -> str:
    """Return a headline about the path, and a line per difference.

    The outcome applies to leaves of another shape or dtype. `restored` are the restored leaves.
    """
    stored, wanted = comparison.stored, comparison.wanted
    step, saved = _step(stored), stored.leaves
    renames = _likely_renames(comparison)
    lines = list(_moved(comparison, restored)) if restored else []
    lines += [
        f"{name_of(key)}: missing in {step}; the target has {info_of(wanted[key])}"
        + (f"; did you mean its {name_of(renames[key])}?" if key in renames else "")
        for key in comparison.missing
    ]
    lines += [
        f"{name_of(key)}: unexpected in {step}, as {saved[key]}; the target has none"
        for key in comparison.unexpected
    ]
    lines += [_difference(key, wanted[key], stored, outcome) for key in comparison.different]
    return listed(f"{stored.path} {headline}", lines)


def report_of_misfits(
    stored: CheckpointReader, wanted: Mapping[Key, Any], problems: Mapping[Key, str]
) -> str:
    """Report numbers that their targets cannot hold."""
    lines = [
        f"{name_of(key)}: target has dtype {info_of(wanted[key]).dtype}, "
        f"{_step(stored)} has {problem}"
        for key, problem in problems.items()
    ]
    return listed(f"{stored.path} does not fit the target:", lines)


def _step(stored: CheckpointReader) -> str:
    """Return what to call a checkpoint in a line about one of its leaves."""
    return stored.path.name.removesuffix(".safetensors")


def _difference(key: Key, leaf: Any, stored: CheckpointReader, outcome: Outcome) -> str:
    target, saved, step = info_of(leaf), stored.leaves[key], _step(stored)
    held = canonical_dtype(saved.dtype) if isinstance(leaf, ON_DEVICES) else saved.dtype
    if (kind_of(target.dtype) == "key") != (kind_of(saved.dtype) == "key"):
        # Their shapes differ as well, but the kind matters more.
        text = f"target has {target}, {step} has {saved}"
    elif target.shape != saved.shape:
        text = f"target has shape {target.shape}, {step} has {saved.shape}"
    elif target.dtype != saved.dtype:
        text = f"target has dtype {target.dtype}, {step} has {saved.dtype}"
    else:
        text = f"target and {step} have dtype {saved.dtype}"
    narrowed = f" as {held}" if held not in (saved.dtype, None) else ""
    if outcome == "kept":
        advice = "kept the target's"
    elif outcome == "taken":
        reason = ", because jax_enable_x64 is off" if narrowed else ""
        advice = f"took the checkpoint's{narrowed}{reason}; strict=True makes this an error"
    elif held is None:
        text += ", of which JAX has no arrays"
        advice = "give a NumPy array as the target's leaf"
    elif is_other_kind(leaf, saved):
        advice = _advice_on_kinds(target, saved)
    else:
        setting = "set jax_enable_x64, or " if narrowed else ""
        advice = f"{setting}pass strict=False to take the checkpoint's{narrowed}"
    return f"{name_of(key)}: {text}; {advice}"


def _advice_on_kinds(target: LeafInfo, saved: LeafInfo) -> str:
    if kind_of(target.dtype) == "key" and saved.dtype == "uint32":
        return (
            "these are PRNG keys of the old kind; restore into an array of uint32, and make typed "
            "ones with jax.random.wrap_key_data"
        )
    if kind_of(saved.dtype) == "key" and target.dtype == "uint32":
        return (
            "these are typed PRNG keys; restore into such keys, and use jax.random.key_data of "
            "them if you need the old kind"
        )
    return "change the target's leaf"


def _moved(comparison: Comparison, restored: Iterable[Key]) -> Iterator[str]:
    """Report numbered items, such as those of a list, that may have another item's values."""
    step = _step(comparison.stored)
    in_target, in_saved = _items(comparison.wanted), _items(comparison.stored.leaves)
    of_restored = _items(restored)
    differing = [parent for parent in of_restored if in_target[parent] != in_saved[parent]]
    for parent in differing:
        # A parent further up differs because of this one.
        if any(other != parent and other[: len(parent)] == parent for other in differing):
            continue
        target, saved = in_target[parent], in_saved[parent]
        items = [item for item in of_restored[parent] if target[item] != saved[item]]
        for item in items:
            yield (
                f"{name_of((*parent, item))}: it holds {_few(saved[item])} in {step}, and "
                f"{_few(target[item])} in the target; items are found by their number, so it "
                "may have another's values"
            )
        if not items:
            yield (
                f"{name_of(parent)}: {counted(len(saved), 'item')} in {step}, "
                f"{len(target)} in the target; items are found by their number, so some "
                "may have another's values"
            )


def _items(keys: Iterable[Key]) -> dict[Key, dict[str, set[Key]]]:
    """Return the keys below each numbered item, by its parent and its number."""
    items: dict[Key, dict[str, set[Key]]] = {}
    for key in keys:
        for depth, part in enumerate(key):
            if part.isdecimal():
                held = items.setdefault(key[:depth], {}).setdefault(part, set())
                held.add(key[depth + 1 :])
    return items


def _few(keys: Collection[Key]) -> str:
    names = sorted(name_of(key) if key else "a leaf" for key in keys)
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _likely_renames(comparison: Comparison) -> dict[Key, Key]:
    """Pair missing leaves with similar unexpected ones."""
    wanted, saved = comparison.wanted, comparison.stored.leaves
    free = {name_of(key): key for key in comparison.unexpected}
    renames: dict[Key, Key] = {}
    # Comparing every pair would take long, and helps nobody if everything is different.
    for key in comparison.missing[:MAX_LINES]:
        info = info_of(wanted[key])
        alike = [
            name
            for name, other in free.items()
            if saved[other].shape == info.shape and len(name) <= MAX_ALIKE
        ]
        name = name_of(key)[: MAX_ALIKE + 1]
        closest = difflib.get_close_matches(name, alike[:200], n=1, cutoff=0.6)
        if closest:
            renames[key] = free.pop(closest[0])
    return renames
