"""ProcessGroup: collectives of the processes of one run, on the host.

Without `jax.distributed.initialize` a process is alone, and nothing here touches JAX's backends:
asking JAX for the process index would initialise them, and then a script could no longer call
`jax.distributed.initialize` itself.

With it, the processes talk through the key-value store of JAX's coordination service instead of
collectives on the devices: nothing is compiled, a background thread may use it while the main
thread trains, and a process that has died is noticed after a while.

In a collective each process brings a value or an error. Process 0 gathers them and publishes the
result, so either all processes go on or all raise. Inside `collective`, an error between two rounds
is reported in a last round, so that no process waits for one that has given up. A process that is
interrupted, for example by Ctrl-C, reports that and does not wait.
"""

import collections
import contextlib
import dataclasses
import json
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeVar, cast

from ._remote_errors import deserialize, is_shared, mark_shared, serialize

T = TypeVar("T")

TIMEOUT_SECONDS = 1800
"""How long a process waits for the others: some of them may be compiling or evaluating."""

MAX_WAIT_SECONDS = 1
"""How long a process waits at a time: Python cannot handle Ctrl-C meanwhile."""


class _Client(Protocol):
    """What we use of JAX's coordination service (`jaxlib`'s `DistributedRuntimeClient`)."""

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None: ...
    def key_value_delete(self, key: str) -> None: ...
    def blocking_key_value_get(self, key: str, timeout_in_ms: int) -> str: ...


def is_primary() -> bool:
    """Tell whether this process is the one that writes metadata and events."""
    return index() == 0


def index() -> int:
    """Return this process's number, from 0."""
    return _state().process_id if count() > 1 else 0


def count() -> int:
    """Return how many processes share this run."""
    state = _state()
    return 1 if state is None or state.client is None else state.num_processes


def barrier(name: str) -> None:
    """Wait until every process has made this call.

    Args:
        name: what the processes do here. If the names differ, all of them raise.
    """
    main.all_gather(name)


def on_primary(action: Callable[[], T]) -> T:
    """Run `action` in process 0 once every process has made this call; return its result in all.

    Args:
        action: its result must be of a kind that JSON keeps.

    Raises:
        Exception: in every process, what `action` raised in process 0.
    """
    return main.on_primary(action)


def collective(name: str) -> contextlib.AbstractContextManager[None]:
    """Make a block fail in every process if it fails in one.

    The block may contain collectives. Every process must make this call.

    Args:
        name: what the block does, such as `"save_checkpoint"`.
    """
    return main.collective(name)


class ProcessGroup:
    """Count the rounds of one thread, which are made in the same order in every process.

    Args:
        channel: a name that this thread alone uses, and that is the same in every process.
    """

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._number = 0
        self._depth = 0
        # A handle may be used from several threads; their rounds must not mix.
        self._lock = threading.RLock()

    def close(self) -> None:
        """Let the channel's keys be deleted, which happens once every process has closed it.

        The next collective of `main` reports it, so nobody waits here.
        """
        if count() > 1:
            _closed.append(self._channel)

    def on_primary(self, action: Callable[[], T]) -> T:
        """Run an action in process 0; see the function of this name."""
        if count() == 1:
            return action()
        with self._lock:
            name = getattr(action, "__qualname__", "action")
            handled = sys.exc_info()[1]
            try:
                # Process 0 must not remove files that another process still uses.
                self.all_gather(name)
            except BaseException as error:
                if not (self._depth or is_shared(error, handled)):
                    # Interrupted after that round, and no enclosing block will report it.
                    self.all_gather(name, error=error)
                raise
            result: Any = None
            error: BaseException | None = None
            if is_primary():
                try:
                    result = action()
                except BaseException as raised:
                    error = raised
            results = self.all_gather(name, result, error)
            return cast(T, results[0])

    @contextlib.contextmanager
    def collective(self, name: str) -> Generator[None]:
        """Make a block fail everywhere if it fails anywhere; see the function of this name."""
        if count() == 1:
            yield
            return
        with self._lock:
            if self._depth:
                # The outermost block reports the errors of all blocks inside it.
                yield
                return
            # An error that the caller is already handling is not one of this block.
            handled = sys.exc_info()[1]
            error: BaseException | None = None
            try:
                self._depth = 1
                yield
            except BaseException as raised:
                if is_shared(raised, handled):
                    raise
                error = raised
            finally:
                self._depth = 0
            self.all_gather(name, error=error)

    def all_gather(
        self, name: str, value: Any = None, error: BaseException | None = None
    ) -> list[Any]:
        """Exchange a value, or report an error, in one round of all processes.

        Args:
            name: what the round is for.
            value: of a kind that JSON keeps.
            error: what this process has to report instead.

        Returns:
            The values in the order of the processes.

        Raises:
            Exception: this process's own error, or else the first that another one reports.
            RuntimeError: a process did not answer, or made another call.
        """
        if count() == 1:
            if error is not None:
                raise error
            return [value]
        with self._lock:
            number, self._number = self._number, self._number + 1
            problem = None if error is None else serialize(error)
            # Popped one by one, since another thread may append meanwhile.
            closed = [_closed.pop() for _ in range(len(_closed))] if self is main else []
            brought = json.dumps([name, value, problem, closed])
            try:
                if error is not None and not isinstance(error, Exception):
                    raise error
                summary = self._round(number, brought, name)
            except BaseException as failure:
                if isinstance(failure, Exception) or self._abort(number, brought, failure):
                    mark_shared(failure)
                if error is None or failure is error:
                    raise
                raise failure from error
        if summary.problem is None:
            return summary.values
        raised = error if error is not None else deserialize(summary.problem, count())
        mark_shared(raised)
        raise raised

    def _round(self, number: int, brought: str, name: str) -> "_Summary":
        client = cast(_Client, _state().client)
        directory = self._directory(number)
        client.key_value_set(f"{directory}{index()}", brought)
        if not is_primary():
            return _Summary(*json.loads(_get(client, f"{directory}all", "process 0", name)))
        texts = [
            _get(client, f"{directory}{process}", f"process {process}", name)
            for process in range(count())
        ]
        everything = [json.loads(text) for text in texts]
        summary = _summarise(everything)
        for *_, closed in everything:
            _delete_closed(client, closed)
        if number:
            # Every process is in this round, so none still reads the previous one.
            client.key_value_delete(self._directory(number - 1))
        return self._publish(number, summary)

    def _publish(self, number: int, summary: "_Summary") -> "_Summary":
        """Publish the result of a round; return the one that was published first."""
        from jax.errors import JaxRuntimeError

        client = cast(_Client, _state().client)
        key = f"{self._directory(number)}all"
        try:
            client.key_value_set(key, json.dumps(dataclasses.astuple(summary)))
        except JaxRuntimeError:
            # One was published before, or the service is gone and this raises.
            return _Summary(*json.loads(_get(client, key, "process 0", "the result of a round")))
        return summary

    def _abort(self, number: int, brought: str, error: BaseException) -> bool:
        """Tell the others, without waiting for them, that this process has been interrupted.

        Returns:
            Whether they raise in this round; it may be over.
        """
        from jax.errors import JaxRuntimeError

        client = cast(_Client, _state().client)
        with contextlib.suppress(JaxRuntimeError):
            summary = _Summary([], {**serialize(error), "process": index()})
            is_told = self._publish(number, summary).problem is not None
            # Process 0 may be waiting for it.
            client.key_value_set(f"{self._directory(number)}{index()}", brought, True)
            return is_told
        return True

    def _directory(self, number: int) -> str:
        return f"fifteen/{self._channel}/{number}/"


main = ProcessGroup("main")
"""The rounds of the methods that a script calls."""

_closed: list[str] = []
"""Channels that this process has closed and not yet reported."""

_closings: collections.Counter[str] = collections.Counter()
"""How many processes have closed a channel that others still use; in process 0."""


def _delete_closed(client: _Client, closed: list[str]) -> None:
    _closings.update(closed)
    for channel in closed:
        if _closings[channel] == count():
            del _closings[channel]
            client.key_value_delete(f"fifteen/{channel}/")


@dataclasses.dataclass(frozen=True)
class _Summary:
    """The result of a round: the values, or a serialized error."""

    values: list[Any]
    problem: dict[str, Any] | None


def _get(client: _Client, key: str, who: str, name: str) -> str:
    from jax.errors import JaxRuntimeError

    end = time.monotonic() + TIMEOUT_SECONDS
    while True:
        rest = min(end - time.monotonic(), MAX_WAIT_SECONDS)
        try:
            return client.blocking_key_value_get(key, max(1, int(rest * 1000)))
        except JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" in str(error) and time.monotonic() < end:
                continue
            raise RuntimeError(
                f"{name}: process {index()} of {count()} waited for {who}, which did not answer "
                f"within {TIMEOUT_SECONDS} s or has died; every process of the run must make the "
                "same calls on an experiment, in the same order"
            ) from error


def _summarise(brought: list[list[Any]]) -> _Summary:
    names: list[str] = []
    values: list[Any] = []
    problem: dict[str, Any] | None = None
    for process, (name, value, error, _) in enumerate(brought):
        names.append(name)
        values.append(value)
        if error is not None and problem is None:
            problem = {**error, "process": process}
    if problem is None and len(set(names)) > 1:
        came = ", ".join(f"process {process} for {name}" for process, name in enumerate(names))
        problem = {
            "type": "RuntimeError",
            "message": f"the processes came for different things: {came}; every process of the "
            "run must make the same calls on an experiment, in the same order",
            "process": 0,
        }
    return _Summary(values, problem)


def _state() -> Any:
    """Return JAX's state of the distributed run; None if JAX has not been imported."""
    if "jax" not in sys.modules:
        return None
    from jax._src import distributed  # pyright: ignore[reportMissingTypeStubs] # no public way.

    return distributed.global_state
