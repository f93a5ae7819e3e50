"""Whether the processes of a run save the same pytree as the same checkpoint.

Orbax writes an array that is spread over the processes in all of them, and other leaves in process
0 alone. If the processes do not agree on which is which, it waits for files that nobody writes.
"""

import json
import zlib
from collections.abc import Iterator, Mapping

from ... import distributed
from ..._errors import CheckpointError
from .._damage import shortened
from .._keys import name_of
from ._encode import Encoded


def agree(checkpoint: str, encoded: Encoded) -> None:
    """Raise in all processes if they differ in what they save.

    The values of leaves that only process 0 writes may differ.

    Args:
        checkpoint: what it is called in the experiment's directory.
        encoded: this process's part of the pytree.
    """
    leaves = {name_of(key): encoded.spread.get(key, "local") for key in encoded.leaves}
    checksum = zlib.crc32(json.dumps(sorted(leaves.items())).encode())
    brought = distributed.main.all_gather("comparing what is saved", [checkpoint, checksum])
    if len({name for name, _ in brought}) > 1:
        found = ", ".join(f"process {number} {name}" for number, (name, _) in enumerate(brought))
        raise CheckpointError(
            f"the processes save different checkpoints: {found}; save the same step under the same "
            "prefix in all of them"
        )
    if len({checksum for _, checksum in brought}) > 1:
        # There are many leaves and many processes, so only those of process 0 are sent around.
        differences = list(_differences(leaves, distributed.on_primary(lambda: leaves)))
        if differences:
            lines = "\n".join(shortened(differences))
            raise CheckpointError(
                f"the processes save different pytrees:\n{lines}\nsave the same structure in all "
                "of them, and what is spread over the processes in one of them so in all"
            )


def _differences(leaves: Mapping[str, str], first: Mapping[str, str]) -> Iterator[str]:
    here = f"process {distributed.index()}"
    for name in {**first, **leaves}:
        if name not in leaves:
            yield f"{name}: missing in {here}, but not in process 0"
        elif name not in first:
            yield f"{name}: missing in process 0, but not in {here}"
        elif leaves[name] != first[name]:
            yield f"{name}: {first[name]} in process 0, {leaves[name]} in {here}"
