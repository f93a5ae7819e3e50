"""Processes that agree: real ones, started by `jax.distributed` on this machine."""

import pathlib
import sys

import pytest

from fifteen.experiments import _processes

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import distributed_processes

CATCH = """
from fifteen.experiments import _processes
def outcome(action):
    try:
        return action()
    except Exception as error:
        return type(error).__name__ + ": " + str(error) + " " + " ".join(getattr(error, "__notes__", []))
"""


def run(script: str, tmp_path: pathlib.Path, count: int = 2) -> list[str]:
    outputs = distributed_processes.run(CATCH + script, tmp_path, count)
    return [output.strip() for output in outputs]


def test_alone():
    assert _processes.is_primary()
    assert _processes.count() == 1
    assert _processes.on_primary(lambda: 3) == 3
    _processes.barrier("here")
    with pytest.raises(KeyError), _processes.together("failing"):
        raise KeyError("x")


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_result_of_process_0_is_known_to_all(tmp_path, count):
    script = """
    import pathlib
    def act():
        (directory / f"by_{INDEX}").touch()
        return {"who": INDEX}
    for _ in range(3):
        print(_processes.count(), _processes.is_primary(), _processes.on_primary(act))
    from jax._src import xla_bridge
    print(xla_bridge.backends_are_initialized())
    """
    outputs = run(textwrap_dedent(script), tmp_path, count)
    assert [path.name for path in tmp_path.iterdir()] == ["by_0"]
    for index, output in enumerate(outputs):
        assert output.splitlines() == [f"{count} {index == 0} {{'who': 0}}"] * 3 + ["False"]


def textwrap_dedent(script):
    import textwrap

    return textwrap.dedent(script)
