"""Whether the processes of a run save the same pytree as the same checkpoint.

Orbax writes an array that is spread over the processes in all of them, and other leaves in process
0 alone. If the processes do not agree on which is which, it waits for files that nobody writes.
"""

import json
import zlib
from collections.abc import Mapping

from ... import distributed
from ..._errors import CheckpointError
from .._damage import shortened


def agree(checkpoint: str, leaves: Mapping[str, str]) -> None:
    """Raise in all processes if they differ in the checkpoint's name, or in what they save.

    `leaves` says what this process saves as each leaf. The values of local ones may differ.
    """
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
        first = distributed.on_primary(lambda: leaves)
        differences = [
            f"{name}: {first.get(name, 'missing')} in process 0, "
            f"{leaves.get(name, 'missing')} in process {distributed.index()}"
            for name in {**first, **leaves}
            if first.get(name) != leaves.get(name)
        ]
        if differences:
            lines = "\n".join(shortened(differences))
            raise CheckpointError(
                f"the processes save different pytrees:\n{lines}\nsave the same structure in all "
                "of them, and what is spread over the processes in one of them so in all"
            )
