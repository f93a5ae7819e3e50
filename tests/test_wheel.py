"""The wheel, installed without the sources, runs the README's commands."""

import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import venv

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def run(*command, cwd):
    # The sources must not be importable.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def binaries(tmp_path_factory):
    """Install the wheel into its own environment, and return the directory of its commands."""
    directory = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, ROOT]
    run(*build, cwd=directory)
    (wheel,) = directory.glob("fifteen-*.whl")
    environment = directory / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=directory)
    # It uses the dependencies of this environment but not the sources, since Python ignores
    # `.pth` files in a directory that a `.pth` file adds.
    site = run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=directory)
    (pathlib.Path(site.strip()) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


@pytest.mark.slow
def test_wheel_runs_quickstart_command_line_and_report(binaries, tmp_path):
    quickstart = re.search(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    (tmp_path / "train.py").write_text(
        quickstart[1] + "import fifteen; print('imported from', fifteen.__file__)\n"
    )
    printed = run(binaries / "python", "train.py", cwd=tmp_path)
    assert f"imported from {binaries.parent}" in printed

    fifteen = binaries / "fifteen"
    assert "quickstart  finished   300" in run(fifteen, "list", "runs", cwd=tmp_path)
    assert "learning_rate: 0.1" in run(fifteen, "show", "runs/quickstart", cwd=tmp_path)
    run(fifteen, "report", "runs", "--output", "report.html", cwd=tmp_path)
    # It contains the JavaScript of Bokeh and of the page.
    assert "Bokeh" in (tmp_path / "report.html").read_text()
    assert "all is well" in run(fifteen, "doctor", cwd=tmp_path)
