"""A user's script under mypy and pyright in strict mode."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import pytest

import fifteen

SOURCE = pathlib.Path(fifteen.__file__).parent.parent
SCRIPT = """\
import dataclasses
import pathlib
from typing import Optional, TypeVar, Union

from typing_extensions import reveal_type

from fifteen.experiments import Experiment, find_experiments

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Adam:
    rate: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Sgd:
    rate: float = 1e-2


class Folder:
    def __fspath__(self) -> str:
        return "runs/x"


def read(kind: type[T]) -> T:
    return Experiment("runs/x").read_metadata("config", kind)


experiment = Experiment("runs/x").assert_new()
reveal_type(experiment)  # Experiment
reveal_type(Experiment(pathlib.Path("runs/x"), verbose=False).data_dir)  # Path
reveal_type(Experiment(data_dir=Folder()).data_dir)  # Path
reveal_type(experiment.read_metadata("a"))  # Any
reveal_type(experiment.read_metadata("a", Adam))  # Adam
reveal_type(read(Adam))  # Adam
reveal_type(experiment.read_metadata("a", Adam | Sgd))  # Adam | Sgd
reveal_type(experiment.read_metadata("a", Union[Adam, Sgd]))  # Adam | Sgd
reveal_type(experiment.read_metadata("a", expected_type=Adam | None))  # Adam | None
reveal_type(experiment.read_metadata("a", Optional[Adam]))  # Adam | None
reveal_type(experiment.read_metadata("a", dict[str, tuple[int, ...]]))  # dict[str, tuple[int, ...]]
reveal_type(experiment.read_metadata("a", (int, str)))  # int | str
reveal_type(experiment.read_metadata("a", (Adam, Sgd)))  # Adam | Sgd
reveal_type(experiment.read_metadata("a", (Adam, Sgd, int)))  # Any
reveal_type(experiment.restore_checkpoint(None))  # Any
reveal_type(experiment.restore_checkpoint(None, 3, partial=True))  # Any
reveal_type(experiment.restore_checkpoint(Adam(), step=3, strict=True))  # Adam
experiment.annotate(note="best so far", tags=("paper",))
reveal_type(dataclasses.replace(experiment, verbose=False))  # Experiment
reveal_type(experiment.read_scalars(["train/*"]))  # dict[str, ScalarSeries]
reveal_type(experiment.save_checkpoint({"a": 1}, step=3, blocking=False))  # str
with Experiment("runs/x") as opened:
    reveal_type(opened)  # Experiment
found = find_experiments("runs")
reveal_type(found[0].data_dir)  # Path
reveal_type(found[1:])  # Experiments
reveal_type(found.where("lr < 0.1").sort(lambda run: run.data_dir.name, reverse=True))  # Experiments
reveal_type([run.data_dir for run in found + [experiment]])  # list[Path]
"""
MISTAKES = """\
from fifteen.experiments import Experiment, find_experiments

Experiment(3)
Experiment("runs/x").data_dir = "runs/y"
Experiment("runs/x").restore_checkpoint({"a": 1}).append(1)
Experiment(b"runs/x")
find_experiments("runs").where(3)
"""


def expected(script: str) -> list[tuple[int, str]]:
    marked = re.compile(r" *reveal_type\(.*  # (.*)")
    lines = enumerate(script.splitlines(), 1)
    return [(line, match[1]) for line, text in lines if (match := marked.match(text))]


def simple(revealed: str) -> str:
    """Return a type's text without module names."""
    return re.sub(r"[\w.]+\.(?=\w)", "", revealed)


_mypy_cache = tempfile.TemporaryDirectory()


def mypy(path: pathlib.Path) -> tuple[list[tuple[int, str]], list[int]]:
    """Return the types that mypy reveals by line, and the lines with errors."""
    options = ["--strict", "--follow-imports=silent", f"--cache-dir={_mypy_cache.name}"]
    command = [sys.executable, "-m", "mypy", *options, path.name]
    environment = {"MYPYPATH": str(SOURCE), "PATH": ""}
    ran = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True)
    found = re.findall(r"^\w+\.py:(\d+): (error|note)(.*)$", ran.stdout, re.MULTILINE)
    assert found, ran.stdout + ran.stderr
    revealed = [
        (int(line), re.search('"(.*)"', rest)) for line, kind, rest in found if kind == "note"
    ]
    errors = [int(line) for line, kind, _ in found if kind == "error"]
    return [(line, simple(match[1])) for line, match in revealed if match], errors


def pyright(path: pathlib.Path) -> tuple[list[tuple[int, str]], list[int]]:
    """Return the types that pyright reveals by line, and the lines with errors."""
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(SOURCE)], "include": [path.name]}
    (path.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    ran = subprocess.run(command, cwd=path.parent, capture_output=True, text=True)
    found = [
        (entry["range"]["start"]["line"] + 1, entry["severity"], entry["message"])
        for entry in json.loads(ran.stdout)["generalDiagnostics"]
    ]
    revealed = [
        (line, re.search('is "(.*)"$', text)) for line, kind, text in found if kind == "information"
    ]
    errors = [line for line, kind, _ in found if kind == "error"]
    return [(line, simple(match[1])) for line, match in revealed if match], errors


@pytest.mark.slow
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_script_passes_type_checkers(checker, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    revealed, errors = checker(script)
    assert errors == []
    assert revealed == expected(SCRIPT)


@pytest.mark.slow
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_mistakes_are_reported(checker, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(MISTAKES)
    _, errors = checker(script)
    assert sorted(set(errors)) == [3, 4, 5, 6, 7]
