"""Which process of a run writes, and how all of them agree.

Without `jax.distributed.initialize` a process is alone, and nothing here touches JAX's
backends: asking for the process index would initialise them, after which a script could no
longer call `jax.distributed.initialize` itself.
"""

import json
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

from . import _errors

_MESSAGE_BYTES = 4096

T = TypeVar("T")


def is_primary() -> bool:
    """Tell whether this process is the one that writes metadata and events."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def count() -> int:
    """Return how many processes share this run."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def on_primary(action: Callable[[], None]) -> None:
    """Run `action` in process 0 while the others wait; an error there is raised in all.

    Every process of the run must make the same call.
    """
    if count() == 1:
        action()
        return
    error: Exception | None = None
    if is_primary():
        try:
            action()
        except Exception as exception:
            error = exception
    outcome = _broadcast("" if error is None else _describe(error))
    if error is not None:
        raise error
    if outcome:
        raise _revive(outcome)


def _describe(error: Exception) -> str:
    return json.dumps({"type": type(error).__name__, "message": str(error)})


def _revive(outcome: str) -> Exception:
    described = json.loads(outcome)
    known = getattr(_errors, described["type"], None)
    if isinstance(known, type) and issubclass(known, _errors.FifteenError):
        return known(described["message"])
    return RuntimeError(f"process 0 failed: {described['type']}: {described['message']}")


def _broadcast(text: str) -> str:
    from jax.experimental import multihost_utils

    buffer = np.zeros(_MESSAGE_BYTES, np.uint8)
    # Cutting inside the JSON would make it unreadable, so the message itself is cut.
    encoded = text.encode()
    if len(encoded) > _MESSAGE_BYTES:
        described = json.loads(text)
        described["message"] = described["message"][: _MESSAGE_BYTES // 8] + " …"
        encoded = json.dumps(described).encode()
    buffer[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    received = np.asarray(multihost_utils.broadcast_one_to_all(buffer))
    return received.tobytes().rstrip(b"\0").decode()
