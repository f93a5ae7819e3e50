"""Whether the processes of a run save one and the same pytree.

Orbax writes what is spread over the processes in all of them, and what a process holds by itself in
process 0 alone. Where they do not agree on which is which, it waits for files that nobody writes.
"""

import json
import pathlib
import zlib
from collections.abc import Iterator, Mapping

from ... import distributed
from ..._errors import CheckpointError
from .._damage import shortened
from .._keys import name_of
from . import _tensorstore
from ._encode import Encoded

_ROUND = "comparing what is saved"


def agree(path: pathlib.Path, name: str, encoded: Encoded) -> None:
    """Raise in all processes if they do not save the same pytree as the same checkpoint.

    What only process 0 writes may differ, such as a number of its own. A path that Orbax
    cannot be told of is refused as well.

    Args:
        path: where the checkpoint goes.
        name: what it is called in the experiment's directory.
        encoded: this process's part of the pytree.
    """
    _tensorstore.refuse_undecodable(path)
    leaves = {name_of(key): encoded.spread.get(key, "local") for key in encoded.leaves}
    text = json.dumps(list(leaves.items()))
    brought = distributed.main.all_gather(_ROUND, [name, zlib.crc32(text.encode())])
    checkpoints = [called for called, _ in brought]
    if len(set(checkpoints)) > 1:
        found = ", ".join(f"process {number} {called}" for number, called in enumerate(checkpoints))
        raise CheckpointError(
            f"the processes save different checkpoints: {found}; save the same step under the same "
            "prefix in all of them"
        )
    if any(checksum != brought[0][1] for _, checksum in brought):
        _raise_differences(leaves)


def _raise_differences(leaves: Mapping[str, str]) -> None:
    # The leaves are many and the processes too, so only those of one process are sent around.
    first = distributed.main.all_gather(_ROUND, leaves if distributed.is_primary() else None)[0]
    differences = list(_differences(leaves, first))
    error = None
    if differences:
        lines = "\n".join(shortened(differences))
        error = CheckpointError(
            f"the processes save different pytrees:\n{lines}\nsave the same structure in all of "
            "them, and what is spread over the processes in one of them so in all"
        )
    distributed.main.all_gather(_ROUND, error=error)


def _differences(leaves: Mapping[str, str], first: Mapping[str, str]) -> Iterator[str]:
    here = f"process {distributed.index()}"
    for name in [*first, *(name for name in leaves if name not in first)]:
        if name not in leaves:
            yield f"{name}: missing in {here}, but not in process 0"
        elif name not in first:
            yield f"{name}: missing in process 0, but not in {here}"
        elif leaves[name] != first[name]:
            yield f"{name}: {first[name]} in process 0, {leaves[name]} in {here}"
    if list(leaves) != list(first) and set(leaves) == set(first):
        yield f"the leaves come in another order in {here} than in process 0"
