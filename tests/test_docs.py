"""The documentation is correct: its code blocks run and its links work."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w.+-]*)[^\n]*\n(?P<code>.*?)^ *```$", re.M | re.S
)
NOT_RUN = "<!-- not run"
"""Stands on the line before a block that cannot be run here, and says why."""


def code_of(text):
    """Return a page's Python code, with line numbers as on the page for tracebacks."""
    lines = [""] * text.count("\n")
    for block in FENCE.finditer(text):
        before = text[: block.start()].rstrip().rpartition("\n")[2]
        if block["language"] != "python" or before.strip().startswith(NOT_RUN):
            continue
        first = text[: block.start("code")].count("\n")
        for offset, line in enumerate(block["code"].splitlines()):
            lines[first + offset] = line.removeprefix(block["indent"])
    return "\n".join(lines)


WITH_CODE = [page for page in PAGES if code_of(page.read_text()).strip()]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_code_blocks_run(page, tmp_path):
    script = tmp_path / page.with_suffix(".py").name
    script.write_text(code_of(page.read_text()))
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{page}\n{done.stderr}"


def test_line_numbers_of_code_blocks_match_the_page():
    text = "a\n\n```python\nx = 1\n```\n\n<!-- not run: no GPU -->\n```python\ny = 2\n```\n"
    assert code_of(text).splitlines()[3] == "x = 1"
    assert "y = 2" not in code_of(text)


def test_links_between_pages_work():
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken


def test_pages_are_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [page.name for page in PAGES[1:] if f" {page.name}\n" not in navigation] == []


def test_each_example_is_on_its_page():
    shown = re.findall(r'^--8<-- "(.*)"$', (ROOT / "docs" / "examples.md").read_text(), re.M)
    assert shown == sorted(path.name for path in (ROOT / "examples").glob("[0-9]*.py"))


def test_no_file_reveals_where_it_was_made():
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.toml", "*.txt", "*.yml", "Makefile", ".ci/run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("no git checkout")
    for name in listed.stdout.splitlines():
        text = (ROOT / name).read_text(errors="replace") if (ROOT / name).exists() else ""
        for word in (str(ROOT) + os.sep, "index" + "-url", "pypi." + "org"):
            assert word not in text, f"{name}: {word}"


def test_each_promise_has_a_test():
    page = (ROOT / "docs" / "promises.md").read_text()
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    assert len(named) == page.count(".py::")
    missing = [
        f"{file}::{test}"
        for file, test in named
        if f"def {test}(" not in (ROOT / "tests" / file).read_text()
    ]
    assert missing == []


def test_modules_named_by_guides_exist():
    source = ROOT / "src" / "fifteen" / "experiments"
    for page in (ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"):
        named = re.findall(r"`((?:[a-z]+/)*_\w+(?:/_\w+)*\.py)`", page.read_text())
        places = source, source.parent, ROOT
        missing = [name for name in named if not any((at / name).exists() for at in places)]
        assert missing == []


def apply(diff, root):
    """Apply a diff whose files are named by lines that begin with `+++`."""
    for part in re.split(r"^\+\+\+ ", diff, flags=re.M)[1:]:
        name, _, hunks = part.partition("\n")
        path = root / name
        text = path.read_text() if path.exists() else ""
        for hunk in re.split(r"^@@\n", hunks, flags=re.M):
            lines = hunk.splitlines(keepends=True)
            old, new = ("".join(x[1:] for x in lines if x[0] in kinds) for kinds in (" -", " +"))
            if old:
                assert text.count(old) == 1, f"{name} does not have once:\n{old}"
                text = text.replace(old, new)
            else:
                assert not text, f"{name} is there already"
                text = new
        path.write_text(text)


WITH_ADDITIONS = """
import ipaddress, pathlib, sys
import numpy as np
from fifteen.cli import main
from fifteen.experiments import Experiment

experiment = Experiment("runs/a", verbose=False)
address = ipaddress.IPv4Address("10.0.0.1")
experiment.write_metadata("address", address)
assert experiment.read_metadata("address") == address
np.savez("runs/a/checkpoint_5.npz", **{"params/w": np.arange(3.0)})
assert experiment.checkpoint_steps() == [5]
restored = experiment.restore_checkpoint({"params": {"w": np.zeros(3)}})
assert restored["params"]["w"].tolist() == [0, 1, 2]
assert main(["count", "runs"]) == 0
main(["--help"])
"""


@pytest.mark.slow
def test_diffs_in_contributing_apply(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    diffs = [
        block["code"]
        for block in FENCE.finditer((ROOT / "CONTRIBUTING.md").read_text())
        if block["language"] == "diff"
    ]
    assert len(diffs) == 3
    for diff in diffs:
        apply(diff, tmp_path / "src" / "fifteen")
    # The copy must not count towards coverage.
    env = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", WITH_ADDITIONS],
        cwd=tmp_path,
        env=env | {"PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1\n")
    assert "Print how many experiments there are." in done.stdout
