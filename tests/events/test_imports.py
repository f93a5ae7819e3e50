"""Import rules of the package: order of modules, reading apart from writing, late imports."""

import ast
import pathlib
import subprocess
import sys

from fifteen.experiments import events

ORDER = [
    *("_series", "_tfrecord", "_protos", "__init__"),
    *(
        f"reading.{name}"
        for name in (
            *(
                "_tensors",
                "_values",
                "_records",
                "_templates",
                "_curve",
                "_event_file",
                "_timeline",
            ),
            *("_reader", "__init__"),
        )
    ),
    *(
        f"writing.{name}"
        for name in (
            *("_validation", "_histogram", "_snapshot", "_callback", "_encoder", "_file"),
            *("_background", "_hparams", "_summary_writer", "_event_log", "__init__"),
        )
    ),
]
ROOM = pathlib.Path(str(events.__file__)).parent
PACKAGE = ["fifteen", "experiments", "events"]


def imports_of(name: str) -> list[tuple[str, ...]]:
    """Return the modules of this package that a module imports, on top or inside functions."""
    path = ROOM / f"{name.replace('.', '/')}.py"
    here = [*PACKAGE, *name.split(".")]
    found: list[tuple[str, ...]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: -node.level]
            if node.module:
                found.append((*base, *node.module.split(".")))
            else:
                found += [(*base, alias.name) for alias in node.names]
    return found


def test_every_module_is_in_the_order():
    paths = (path.relative_to(ROOM).with_suffix("") for path in ROOM.rglob("*.py"))
    assert sorted(".".join(path.parts) for path in paths) == sorted(ORDER)


def test_modules_import_only_those_above_them():
    outside = {
        "_errors",
        "_console",
        "_log_data",
        "_outcome",
        "_shutdown",
        "_threads",
        "distributed",
        "storage",
    }
    for place, name in enumerate(ORDER):
        for imported in imports_of(name):
            inner = imported[len(PACKAGE) :]
            if list(imported[: len(PACKAGE)]) == PACKAGE:
                assert ".".join(inner) in ORDER[:place], (name, imported)
                part, own = inner[0], name.partition(".")[0]
                assert part == own or part not in ("reading", "writing"), (name, imported)
            else:
                assert imported[2] in outside, (name, imported)


def test_only_two_modules_use_files():
    for name in ORDER:
        if name.endswith(("_file", "_event_file")):
            continue
        tree = ast.parse((ROOM / f"{name.replace('.', '/')}.py").read_text())
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not names & {"open", "pathlib", "shutil"}, name


def test_reading_needs_no_jax_and_imports_tensorboardx_lazily(tmp_path):
    code = f"""
import pathlib, sys
from fifteen.experiments.events.reading import EventReader, read_ends
from fifteen.experiments.storage import Directory
assert not {{"jax", "tensorboardX"}} & sys.modules.keys()
directory = Directory(pathlib.Path({str(tmp_path)!r}))
assert EventReader(directory).scalars() == {{}} and read_ends(directory).timeline == (None, None, None, None)
assert "jax" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
