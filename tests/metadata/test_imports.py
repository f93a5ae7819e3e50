"""Modules import only those above them, and no other package."""

import ast
import pathlib

from fifteen.experiments import metadata

ORDER = [
    "_scalars", "_problems", "_hints", "_fields", "_numbers", "_yaml", "_schema", "_basic",
    "_values", "_collections", "_arrays", "_classes", "_compare", "_legacy_arrays", "_legacy",
    "_unions", "_registry", "_files", "_notes", "_diff", "__init__",
]  # fmt: skip
OUTSIDE = {"_errors", "_console", "_local_path", "_missing", "storage", ""}


def imports_of(path: pathlib.Path) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(node.level, name) for name in names]
    return found


def test_modules_import_only_those_above_them():
    assert metadata.__file__
    room = pathlib.Path(metadata.__file__).parent
    assert sorted(path.stem for path in room.glob("*.py")) == sorted(ORDER)
    for place, name in enumerate(ORDER):
        for level, imported in imports_of(room / f"{name}.py"):
            if level == 1:
                assert imported in ORDER[:place], (name, imported)
            else:
                assert imported in OUTSIDE, (name, imported)
