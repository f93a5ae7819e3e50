"""Rules about which modules of the package may import which."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

import fifteen.experiments

ROOT = pathlib.Path(fifteen.experiments.__file__).parents[2]
PACKAGE = "fifteen"
ROOM = "fifteen.experiments"

OUTSIDE_STORAGE = {
    "cli._main": "stdout that was closed",
    "cli._move": "paths that the user typed",
    "cli._plot": "paths that the user typed",
    "cli._selection": "roots and globs that the user typed",
    "cli._show": "notes beside an experiment",
    "cli._view": "the file that the user named",
    "experiments._local_path": "paths that the user gave",
    "experiments.metadata._scalars": "`Hook.resolve`, which only looks alike",
    "experiments.provenance._collect": "the machine and the program, not the experiment",
    "experiments.provenance._redaction": "the home directory of the user",
    "view._page": "files of this package and of Bokeh",
}
"""Modules outside of `storage` that touch a file system, and what they look at. It may only shrink:
whatever leaves it can work with directories elsewhere than on a local disk."""

_OS = {
    *("access", "chmod", "fstat", "fsync", "ftruncate", "link", "listdir", "lstat", "makedirs"),
    *("mkdir", "open", "pread", "preadv", "pwrite", "pwritev", "read", "readlink", "remove"),
    *("rename", "replace", "rmdir", "scandir", "stat", "symlink", "truncate", "unlink", "utime"),
    *("walk", "write"),
}
_OS_PATH = {
    *("exists", "getmtime", "getsize", "isdir", "isfile", "islink", "ismount", "lexists"),
    *("realpath", "samefile", "expanduser"),
}
_PATH = {
    *("exists", "expanduser", "glob", "hardlink_to", "is_dir", "is_file", "is_symlink", "iterdir"),
    *("lchmod", "lstat", "mkdir", "read_bytes", "read_text", "readlink", "resolve", "rglob"),
    *("rmdir", "samefile", "stat", "symlink_to", "touch", "unlink", "write_bytes", "write_text"),
}


def _module_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_module_of(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}
TREES = {module: ast.parse(path.read_text()) for module, path in FILES.items()}


def _statements_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements except those for type checkers only."""
    yield node
    is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    for child in node.orelse if is_for_types else ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):
            yield from _statements_at_run_time(child)


def _imported(module: str, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parts = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
        base = ".".join(parts[: len(parts) + 1 - node.level]) if node.level else ""
        source = ".".join(filter(None, [base, node.module]))
        for alias in node.names:
            name = f"{source}.{alias.name}"
            yield name if name in FILES else source


def _imports_of(module: str) -> set[str]:
    """Return the modules of the package that a module imports, on top or inside functions."""
    nodes = _statements_at_run_time(TREES[module])
    return {name for node in nodes for name in _imported(module, node) if name in FILES} - {module}


IMPORTS = {module: _imports_of(module) for module in FILES}


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_imports_are_detected():
    assert f"{ROOM}.storage" in IMPORTS[f"{ROOM}.metadata._files"]
    assert f"{ROOM}.checkpoints._checkpoints" in IMPORTS[f"{ROOM}.checkpoints"]
    assert f"{ROOM}.checkpoints._keys" in IMPORTS[f"{ROOM}.checkpoints._checkpoints"]


def test_imports_are_acyclic():
    done: set[str] = set()
    circles: list[str] = []

    def visit(module: str, above: tuple[str, ...]) -> None:
        if module in above:
            circles.append(" -> ".join([*above[above.index(module) :], module]))
        elif module not in done:
            for other in sorted(IMPORTS[module]):
                visit(other, (*above, module))
            done.add(module)

    for module in IMPORTS:
        visit(module, ())
    assert circles == []


@pytest.mark.parametrize("room", ["metadata", "checkpoints", "events", "storage", "distributed"])
def test_packages_import_neither_each_other_nor_the_facade(room):
    others = {"metadata", "checkpoints", "events"} - {room}
    forbidden = [f"{ROOM}.{name}" for name in sorted(others)]
    forbidden += [f"{ROOM}._experiment", f"{ROOM}._session", "fifteen.cli"]
    wrong = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if _is_in(module, f"{ROOM}.{room}")
        for name in sorted(names)
        if name == ROOM or any(_is_in(name, package) for package in forbidden)
    ]
    assert wrong == []


@pytest.mark.parametrize(("half", "other"), [("reading", "writing"), ("writing", "reading")])
def test_event_reading_and_writing_are_independent(half, other):
    wrong = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if _is_in(module, f"{ROOM}.events.{half}")
        for name in names
        if _is_in(name, f"{ROOM}.events.{other}")
    ]
    assert wrong == []


def _touches_files(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom | ast.Import):
        names = [alias.name for alias in node.names]
        module = getattr(node, "module", None)
        return "shutil" in (module, *names) or "tempfile" in (module, *names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id == "open"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner, name = ast.unparse(node.func.value), node.func.attr
        known = {"os": _OS, "os.path": _OS_PATH, "io": {"FileIO", "open"}}
        return name in known.get(owner, _PATH)
    return False


def test_only_storage_touches_a_file_system():
    found = {
        module.removeprefix(f"{PACKAGE}.")
        for module, tree in TREES.items()
        if not _is_in(module, f"{ROOM}.storage") and any(map(_touches_files, ast.walk(tree)))
    }
    assert found - set(OUTSIDE_STORAGE) == set()


LONGER = {"experiments._experiment": 526}
"""The facade has the docstrings of all methods. It may only shrink."""

MANY_PARAMETERS = {
    "cli._compare.compare": "the options of a command",
    "cli._plot.plot": "the options of a command",
    "cli._show.show": "the options of a command",
    "experiments._experiment.save_checkpoint": "public",
}


def test_modules_have_at_most_350_lines():
    lengths = {
        module.removeprefix(f"{PACKAGE}."): len(path.read_text().splitlines())
        for module, path in FILES.items()
    }
    assert [name for name, length in lengths.items() if length > LONGER.get(name, 350)] == []


def test_functions_have_at_most_five_parameters():
    found = {
        f"{module.removeprefix(f'{PACKAGE}.')}.{node.name}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and len({a.arg for a in _parameters(node)} - {"self", "cls"}) > 5
    }
    assert found == set(MANY_PARAMETERS)


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    arguments = function.args
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def test_layout_in_contributing_is_complete():
    text = (ROOT.parent / "CONTRIBUTING.md").read_text()
    block = text.split("## Layout")[1].split("```")[1]
    drawn = {line.split()[0] for line in block.splitlines() if line.startswith("    ")}
    here = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / ROOM.replace(".", "/")).iterdir()
        if not path.name.startswith("__")
    }
    assert drawn == here
