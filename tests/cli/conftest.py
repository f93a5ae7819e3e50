"""Run the command in this process, which has imported JAX already."""

import collections

import pytest

from fifteen.cli import main

Result = collections.namedtuple("Result", "stdout stderr")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command and check its exit code."""

    def run_here(*arguments, cwd=None, expect=0):
        if cwd is not None:
            monkeypatch.chdir(cwd)
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as end:
            code = end.code
        result = Result(*capsys.readouterr())
        assert code == expect, result
        return result

    return run_here
