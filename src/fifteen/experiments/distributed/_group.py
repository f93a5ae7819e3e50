"""ProcessGroup: collectives of the processes of one run, on the host.

Without `jax.distributed.initialize` there is one process, and nothing here touches JAX's backends:
asking JAX for the process index would initialise them, which breaks a later call of
`jax.distributed.initialize`.

With it, the processes communicate by the key-value store of JAX's coordination service instead of
collectives on the devices: nothing is compiled, a background thread may use it while the main
thread trains, and the death of a process is noticed.

In a collective, each process contributes a value or an error. Process 0 gathers them and publishes
the result, so all processes continue or all raise. Inside `collective`, an error between two rounds
is reported in a final round, so that no process waits in vain. A process that is interrupted, for
example by Ctrl-C, reports that and does not wait.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar, cast

from ._remote_errors import deserialize, is_shared, mark_shared, serialize

T = TypeVar("T")

TIMEOUT_SECONDS = 1800
"""How long a process waits for the others: some of them may be compiling or evaluating."""

MAX_WAIT_SECONDS = 1
"""How long a process waits at a time, since Python cannot handle Ctrl-C during a wait."""


def is_primary() -> bool:
    """Return whether this process is the one that writes metadata and events."""
    return index() == 0


def index() -> int:
    return _state().process_id if count() > 1 else 0


def count() -> int:
    state = _state()
    return 1 if state is None or state.client is None else state.num_processes


class ProcessGroup:
    """The rounds of one thread, in the same order in every process.

    No other group uses its channel, whose name is the same in every process.
    """

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._number = 0
        self._depth = 0
        # A handle may be used from several threads; their rounds must not mix.
        self._lock = threading.RLock()

    def on_primary(self, action: Callable[[], T]) -> T:
        """Run `action` in process 0 once all have made this call; return its JSON result in all.

        An error of `action` is raised in every process.
        """
        if count() == 1:
            return action()
        name = getattr(action, "__qualname__", "action")
        with self.collective(name):
            # Process 0 must not remove files that another process still uses.
            self.all_gather(name)
            result: Any = None
            error: BaseException | None = None
            if is_primary():
                try:
                    result = action()
                except BaseException as raised:
                    error = raised
            return cast(T, self.all_gather(name, result, error)[0])

    @contextlib.contextmanager
    def collective(self, name: str) -> Generator[None]:
        """Fail in every process if the block, which may contain collectives, fails in one.

        If the processes pass different names, all raise.
        """
        if count() == 1:
            yield
            return
        with self._lock:
            if self._depth:
                # The outermost block reports the errors of all blocks inside it.
                yield
                return
            # An error that the caller is already handling does not belong to this block.
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
        """Exchange JSON values or errors in one round of all processes.

        Return the values in the order of the processes. Raise this process's own error, the first
        of another, or a `RuntimeError` if one did not answer or passed another name.
        """
        if count() == 1:
            if error is not None:
                raise error
            return [value]
        with self._lock:
            number, self._number = self._number, self._number + 1
            problem = None if error is None else serialize(error)
            brought = json.dumps([name, value, problem])
            try:
                if error is not None and not isinstance(error, Exception):
                    raise error
                values, problem = self._round(number, brought, name)
            except BaseException as failure:
                if isinstance(failure, Exception) or self._abort(number, brought, failure):
                    mark_shared(failure)
                if error is None or failure is error:
                    raise
                raise failure from error
        if problem is None:
            return values
        raised = error if error is not None else deserialize(problem, count())
        mark_shared(raised)
        raise raised

    def _round(self, number: int, brought: str, name: str) -> "_Result":
        client, directory = _state().client, self._directory(number)
        client.key_value_set(f"{directory}{index()}", brought)
        if not is_primary():
            return json.loads(_get(client, f"{directory}all", "process 0", name))
        texts = [
            _get(client, f"{directory}{process}", f"process {process}", name)
            for process in range(count())
        ]
        result = _result_of([json.loads(text) for text in texts])
        if number:
            # Every process has reached this round, so none still reads the previous one.
            client.key_value_delete(self._directory(number - 1))
        return self._publish(number, result)

    def _publish(self, number: int, result: "_Result") -> "_Result":
        """Publish the result of a round; return the first one published."""
        from jax.errors import JaxRuntimeError

        client, key = _state().client, f"{self._directory(number)}all"
        try:
            client.key_value_set(key, json.dumps(result))
        except JaxRuntimeError:
            # Another was published first, or the service is gone and this raises.
            return json.loads(_get(client, key, "process 0", "the result of a round"))
        return result

    def _abort(self, number: int, brought: str, error: BaseException) -> bool:
        """Report, without waiting, that this process has been interrupted.

        Return whether the others raise in this round, which may be over.
        """
        from jax.errors import JaxRuntimeError

        with contextlib.suppress(JaxRuntimeError):
            _, problem = self._publish(number, ([], {**serialize(error), "process": index()}))
            # Process 0 may be waiting for it.
            _state().client.key_value_set(f"{self._directory(number)}{index()}", brought, True)
            return problem is not None
        return True

    def _directory(self, number: int) -> str:
        return f"fifteen/{self._channel}/{number}/"


_Result: TypeAlias = tuple[list[Any], dict[str, Any] | None]
"""The result of a round: the values, and a serialized error."""


def _get(client: Any, key: str, who: str, name: str) -> str:
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


def _result_of(brought: list[list[Any]]) -> _Result:
    names = [name for name, _, _ in brought]
    problem: dict[str, Any] | None = None
    for process, (*_, error) in enumerate(brought):
        problem = problem or (error and {**error, "process": process})
    if problem is None and len(set(names)) > 1:
        came = ", ".join(f"process {process} for {name}" for process, name in enumerate(names))
        problem = {
            "type": "RuntimeError",
            "message": f"the processes made different calls: {came}; every process of the "
            "run must make the same calls on an experiment, in the same order",
            "process": 0,
        }
    return [value for _, value, _ in brought], problem


def _state() -> Any:
    """Return JAX's state of the distributed run; None if JAX has not been imported."""
    if "jax" not in sys.modules:
        return None
    from jax._src import distributed  # pyright: ignore[reportMissingTypeStubs] # no public way.

    return distributed.global_state


main = ProcessGroup("main")
"""The rounds of the methods that a script calls."""

on_primary = main.on_primary
collective = main.collective
