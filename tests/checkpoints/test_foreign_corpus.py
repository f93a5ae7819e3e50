"""Checkpoints by flax 0.1 to 0.12 and Orbax 0.2 to 0.12; see `corpus/README.md`."""

import json
import pathlib
import sys
import warnings

import jax
import numpy as np
import pytest

from fifteen.experiments import CheckpointMismatchError
from fifteen.experiments.checkpoints import Checkpoints

CORPUS = pathlib.Path(__file__).parent / "corpus"
sys.path.insert(0, str(CORPUS))
import corpus_targets  # noqa: E402 - found by the line above.

CASES = sorted(path.relative_to(CORPUS / "cases") for path in (CORPUS / "cases").glob("*/*"))
WRITERS = sorted({path.parts[0] for path in CASES})

LOST = {
    ("flax-0.6.11-orbax-0.2.7", "numpy_scalars"): "Orbax 0.2 wrote a NumPy bool as None",
    ("flax-0.6.11-orbax-0.2.7", "python_more"): "Orbax 0.2 wrote a complex number as None",
    ("orbax-0.2.7-pytree", "numpy_scalars"): "Orbax 0.2 wrote a NumPy bool as None",
}
"""What is not there to be restored, since its writer has lost it."""

GONE = {"optim_adam"}
"""Trees of classes that no package has any more."""


def cases_of(writer):
    return [path for path in CASES if path.parts[0] == writer]


def test_corpus_exists():
    assert len(CASES) > 350
    assert len(WRITERS) > 30


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_restore_without_a_target(writer):
    for case in cases_of(writer):
        directory = CORPUS / "cases" / case
        restored, path = Checkpoints(directory).restore(None, None, "checkpoint_", False, False)
        assert path == directory / "checkpoint_3"
        on_host = jax.tree.map(
            lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf, restored
        )
        expected = json.loads((directory / "case.json").read_text())["leaves"]
        assert by_path(corpus_targets.described(on_host)) == by_path(expected), case


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_restore_into_a_target(writer):
    for case in cases_of(writer):
        tree = case.parts[1]
        if tree in GONE:
            continue
        checkpoints = Checkpoints(CORPUS / "cases" / case)
        target = corpus_targets.target(tree)
        if (writer, tree) in LOST:
            with pytest.raises(CheckpointMismatchError, match="missing in checkpoint_3"):
                checkpoints.restore(target, 3, "checkpoint_", False, False)
            continue
        with warnings.catch_warnings():
            # Orbax and flax have widened NumPy scalars; the warning is expected.
            if tree == "numpy_scalars":
                warnings.simplefilter("ignore")
            restored, _ = checkpoints.restore(target, 3, "checkpoint_", False, False)
        assert corpus_targets.same(restored, corpus_targets.values(tree)), case
        for one, other in zip(jax.tree.leaves(restored), jax.tree.leaves(target), strict=True):
            if isinstance(other, jax.Array):
                assert isinstance(one, jax.Array), case
                assert one.sharding == other.sharding, case
                assert one.weak_type == other.weak_type, case
                assert one.committed == other.committed, case


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_leaves_match_what_is_restored(writer):
    for case in cases_of(writer):
        checkpoints = Checkpoints(CORPUS / "cases" / case)
        listed = checkpoints.leaves(3, "checkpoint_")
        restored, _ = checkpoints.restore(None, 3, "checkpoint_", False, False)
        leaves = jax.tree.leaves(restored)
        assert sorted(str(info) for info in listed.values()) == sorted(map(described, leaves)), case


def described(leaf):
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
    return f"{type(leaf).__name__}[]"


def by_path(leaves):
    """Return values by path, without intended differences.

    Flax restores lists in Orbax checkpoints as dicts; we restore lists. Namedtuples of old files
    use their field names, as in newer files.
    """
    found = {tuple(map(str, leaf["path"])): plain(leaf) for leaf in leaves}
    fields = {
        (*path[:-2], "values", path[-1]): (path[:-2], leaf["value"])
        for path, leaf in found.items()
        if len(path) > 1 and path[-2] == "fields" and isinstance(leaf.get("value"), str)
    }
    nodes = {parent for parent, _ in fields.values()}
    nodes |= {path[:-1] for path, leaf in found.items() if path[-1:] == ("fields",)}
    renamed = {}
    for path, leaf in found.items():
        if any(
            path[: len(node)] == node and path[len(node)] in ("name", "fields") for node in nodes
        ):
            continue
        renamed[rename(path, fields, nodes)] = leaf
    return renamed


def rename(path, fields, nodes):
    for end in range(len(path), 0, -1):
        if path[:end] in fields:
            parent, field = fields[path[:end]]
            path = (*parent, field, *path[end:])
        elif path[end - 1] == "values" and path[: end - 1] in nodes and end == len(path):
            path = path[: end - 1]
    return path


def plain(leaf):
    kind = "empty" if leaf["kind"] in ("dict", "list", "tuple") else leaf["kind"]
    kept = {key: value for key, value in leaf.items() if key not in ("path", "kind")}
    if kept.get("dtype") == "void16":
        kept["dtype"] = "bfloat16"
    return {"kind": kind, **kept}
