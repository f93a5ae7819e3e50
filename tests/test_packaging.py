"""The installed package: version, imports, requirements and constraints."""

import ast
import contextlib
import importlib.metadata
import importlib.resources
import itertools
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fifteen

ROOT = pathlib.Path(__file__).parent.parent
SOURCE = ROOT / "src" / "fifteen" / "experiments"
ROOMS = {"metadata", "checkpoints", "events"}


def run(code):
    """Run code in a fresh interpreter, and return its output."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_version_is_the_same_everywhere():
    assert importlib.metadata.version("fifteen") == fifteen.__version__
    assert f"## [{fifteen.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {fifteen.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_type_information_is_shipped():
    assert (importlib.resources.files("fifteen") / "py.typed").is_file()


def test_import_fifteen_imports_nothing_early():
    code = "import fifteen, sys; print('jax' in sys.modules, 'numpy' in sys.modules)"
    assert run(code) == "False False\n"


@pytest.mark.slow
def test_import_fifteen_makes_experiments_available():
    assert run("import fifteen; print(fifteen.experiments.Experiment.__name__)") == "Experiment\n"
    assert "experiments" in dir(fifteen)
    with pytest.raises(AttributeError, match=r"module 'fifteen' has no attribute 'experimnets'"):
        fifteen.experimnets  # noqa: B018


@pytest.mark.slow
def test_import_of_experiments_loads_nothing_heavy():
    heavy = [
        "orbax",
        "flax",
        "tensorstore",
        "pandas",
        "matplotlib",
        "plotext",
        "tyro",
        "rich",
        "tensorboard",
        "sklearn",
        "optax",
        "numpy.f2py",
    ]
    code = (
        f"import fifteen.experiments, sys;print([name for name in {heavy} if name in sys.modules])"
    )
    assert run(code) == "[]\n"


@pytest.mark.slow
def test_reading_experiments_needs_no_jax(tmp_path):
    with fifteen.experiments.Experiment(tmp_path / "run", verbose=False) as experiment:
        experiment.write_metadata("config", {"lr": 0.1})
        experiment.log(fifteen.experiments.TensorboardLogData({"loss": 0.5}), step=7)
        experiment.save_checkpoint({"w": 1.0}, step=3)
    code = f"""
import sys
from fifteen.experiments import find_experiments, flatten, summarize
(experiment,) = find_experiments({str(tmp_path)!r})
assert experiment.assert_exists().metadata_names() == ["config"]
assert experiment.read_metadata("config", dict) == {{"lr": 0.1}}
assert flatten(experiment.data_dir / "config.yaml") == {{"lr": 0.1}}
assert experiment.checkpoint_prefixes() == ["checkpoint_"]
assert experiment.checkpoint_steps() == [3]
assert experiment.read_scalars()["loss"].step.tolist() == [7]
assert experiment.read_histograms() == {{}}
assert summarize(experiment.data_dir).latest_step == 7
experiment.write_metadata("note", "seen")
experiment.move(experiment.data_dir.with_name("moved")).clear().close()
print("jax" in sys.modules)
"""
    assert run(code).splitlines()[-1] == "False"


@pytest.mark.slow
def test_import_of_experiments_initialises_no_backend():
    # Scripts may call jax.distributed.initialize() or choose a platform after the import.
    code = (
        "import os; del os.environ['XLA_FLAGS'];"
        "import fifteen.experiments, jax;"
        "jax.config.update('jax_num_cpu_devices', 3);"
        "print(jax.device_count())"
    )
    assert run(code) == "3\n"


@pytest.mark.slow
def test_import_of_experiments_does_not_warn():
    code = "import warnings; warnings.simplefilter('error'); import jax; import fifteen.experiments"
    assert run(code) == ""


def test_packages_do_not_import_each_other():
    for room in ROOMS:
        for path in (SOURCE / room).rglob("*.py"):
            others = ROOMS - {room} | {"_experiment", "_session", "cli"}
            assert not imported_outside_of_room(path) & others, path


def imported_outside_of_room(path):
    """Return which packages of `fifteen.experiments` a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.level != 1:
            module = node.module or ""
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return {part for name in names for part in name.split(".")}


def test_modules_are_private_and_packages_only_export():
    for path in (ROOT / "src").rglob("*.py"):
        assert path.name.startswith("_"), f"{path}: modules begin with an underscore"
    for path in SOURCE.rglob("__init__.py"):
        docstring, *statements = ast.parse(path.read_text()).body
        assert isinstance(docstring, ast.Expr), path
        for statement in statements:
            is_interface = isinstance(statement, ast.ImportFrom | ast.If | ast.Assign)
            assert is_interface or getattr(statement, "name", "") == "__dir__", path


def test_public_names():
    assert [name for name in fifteen.experiments.__all__ if name[0].isupper()] == [
        "CheckpointDamagedError",
        "CheckpointError",
        "CheckpointExistsError",
        "CheckpointMismatchError",
        "CheckpointNotFoundError",
        "Difference",
        "Experiment",
        "ExperimentExistsError",
        "ExperimentLockedError",
        "ExperimentMovedError",
        "ExperimentNotFoundError",
        "ExperimentWarning",
        "Experiments",
        "ExpressionError",
        "FifteenError",
        "HistogramSeries",
        "LeafInfo",
        "LogDataError",
        "LogWriteError",
        "MetadataError",
        "MetadataNotFoundError",
        "MissingExtraError",
        "ScalarSeries",
        "Summary",
        "TensorboardLogData",
        "UnsafePathError",
    ]
    functions = ["diff", "find_experiments", "flatten", "summarize"]
    assert [n for n in fifteen.experiments.__all__ if n[0].islower()] == functions
    everything = {}
    exec("from fifteen.experiments import *", everything)
    assert everything.keys() - {"__builtins__"} == set(fifteen.experiments.__all__)
    assert dir(fifteen.experiments) == fifteen.experiments.__all__
    with pytest.raises(ImportError, match="cannot import name 'Experimnet'"):
        exec("from fifteen.experiments import Experimnet")


def test_constraints_pin_all_development_packages():
    pins = pinned("constraints.txt")
    if importlib.metadata.version("jax") != pins["jax"]:
        pytest.skip("another environment, in which the packages need others")
    assert sorted(needed_by_development() - pins.keys()) == []


def test_oldest_constraints_are_the_floors():
    floors = {
        canonicalize_name(requirement.name): specifier.version
        for requirement in requirements()
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }
    assert pinned("constraints-oldest.txt") == floors


@pytest.mark.slow
def test_imported_packages_are_required():
    names = {canonicalize_name(requirement.name) for requirement in requirements(dev=False)}
    # The other packages that the extra uses come with Orbax.
    of_orbax = map(Requirement, importlib.metadata.requires("orbax-checkpoint"))
    names |= {canonicalize_name(requirement.name) for requirement in of_orbax}
    packages = importlib.metadata.packages_distributions()
    for path in (ROOT / "src").rglob("*.py"):
        for module in third_party_imports(path):
            assert {*map(canonicalize_name, packages[module])} & names, f"{path} imports {module}"


def third_party_imports(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"fifteen"}


def pinned(file):
    """Return the versions that a constraints file pins, by normalized name."""
    pins = {}
    for line in (ROOT / file).read_text().splitlines():
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line)
        assert match, f"{file}: {line!r} is no plain name==version"
        assert pins.setdefault(canonicalize_name(match[1]), match[2]) == match[2], line
    return pins


def requirements(*, dev=True):
    """Return the requirements of the package and of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = itertools.chain(
        project["dependencies"],
        *(extras[name] for name in extras if dev or name not in ("dev", "docs", "examples")),
    )
    return [requirement for requirement in map(Requirement, lines) if requirement.name != "fifteen"]


def needed_by_development():
    """Return the names of all direct and indirect requirements of our extras."""
    queue, seen = requirements(), set()
    while queue:
        requirement = queue.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        # The packages for the documentation are installed only to build it.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            for needed in map(Requirement, importlib.metadata.requires(name) or []):
                marker = needed.marker
                if marker is None or any(marker.evaluate({"extra": e}) for e in extras | {""}):
                    queue.append(needed)
    return {name for name, _ in seen}
