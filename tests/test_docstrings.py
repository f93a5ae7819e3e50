"""Every public name is documented, and every example in a docstring runs."""

import doctest
import inspect
import pathlib
import re

import pytest

import fifteen.experiments

DOCS = pathlib.Path(__file__).parent.parent / "docs"
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)


def documented():
    """Yield name and docstring of everything public, including methods and properties."""
    for name in fifteen.experiments.__all__:
        member = getattr(fifteen.experiments, name)
        yield name, inspect.getdoc(member) or ""
        if inspect.isclass(member):
            for inner, attribute in inspect.getmembers(member):
                is_ours = str(getattr(attribute, "__module__", "")).startswith("fifteen")
                if not inner.startswith("_") and (is_ours or isinstance(attribute, property)):
                    yield f"{name}.{inner}", inspect.getdoc(attribute) or ""


DOCUMENTED = dict(documented())


@pytest.fixture
def names(tmp_path, monkeypatch):
    """The imports with which the reference begins."""
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(FENCED.search((DOCS / "api.md").read_text())[1], names)
    with names["experiment"]:
        yield names


def test_reference_lists_everything_once():
    text = "".join(page.read_text() for page in DOCS.glob("api*.md"))
    shown = re.findall(r"^::: fifteen\.experiments\.([\w.]+)$", text, re.M)
    (members,) = re.findall(r"members: \[(.*)\]", text)
    shown += [f"Experiment.{member}" for member in members.split(", ")]
    own = {name for name in DOCUMENTED if name.startswith("Experiment.") or "." not in name}
    errors = {name for name in own if name.endswith(("Error", "Warning"))}
    assert sorted(shown) == sorted([*own - errors, "_errors"])


@pytest.mark.parametrize("name", DOCUMENTED)
def test_is_documented(name):
    assert DOCUMENTED[name], name
    first = DOCUMENTED[name].splitlines()[0]
    assert first.endswith((".", "`.")), first


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if ">>>" in DOCUMENTED[name]])
def test_examples_run(name, names):
    parsed = doctest.DocTestParser().get_doctest(DOCUMENTED[name], names, name, None, 0)
    output = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(parsed, out=output.append)
    assert not output, "".join(output)


def test_everything_but_errors_has_an_example():
    without = [
        name
        for name, text in DOCUMENTED.items()
        if not any(sign in text for sign in (">>>", "```"))
        and not name.endswith(("Error", "Warning"))
    ]
    assert without == ["Summary.latest_step"]  # The example of the class shows it.
