"""What `fifteen doctor` says of the machine and of a directory."""

import importlib.metadata
import os
import re

import jax
import pytest


def test_packages_devices_and_a_directory_that_is_left_as_it_was(run, tmp_path):
    out = run("doctor", tmp_path).stdout
    assert re.search(rf"^  jax +{re.escape(jax.__version__)}$", out, re.MULTILINE)
    assert re.search(r"^  devices +cpu:0 cpu(, |$)", out, re.MULTILINE)
    assert re.search(r"^  atomic files +written and synced in [\d.]+ ms$", out, re.MULTILINE)
    assert re.search(r"^  locks +work$", out, re.MULTILINE)
    assert out.endswith("all is well\n")
    assert os.listdir(tmp_path) == []


def test_the_here_and_now_by_default(run, tmp_path):
    assert "atomic files" in run("doctor", cwd=tmp_path).stdout
    assert os.listdir(tmp_path) == []


def test_an_extra_that_is_missing_is_no_fault_and_is_named(run, tmp_path, monkeypatch):
    version = importlib.metadata.version

    def without_orbax(name):
        if name.lower() in ("orbax-checkpoint", "tensorboardx"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_orbax)
    # The second is no extra: nothing can be logged without it.
    out = run("doctor", tmp_path, expect=1).stdout
    missing = re.findall(r"^  (\S+) +missing: (.*)$", out, re.MULTILINE)
    assert [(name.lower(), remedy) for name, remedy in missing] == [
        ("tensorboardx", "it is needed; install it"),
        ("orbax-checkpoint", "pip install 'fifteen[orbax]'"),
    ]


@pytest.mark.parametrize("directory", ["/proc", "nothere", "file"])
def test_a_directory_that_takes_nothing(run, tmp_path, directory):
    (tmp_path / "file").write_text("")
    out = run("doctor", directory, cwd=tmp_path, expect=1).stdout
    assert re.search(r"^  writing +(failed: |there is no such directory)", out, re.MULTILINE)
    assert os.listdir(tmp_path) == ["file"]


def test_jax_that_finds_no_device_is_a_fault(run, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    out = run("doctor", tmp_path, expect=1).stdout
    assert re.search(r"^  devices +\S.*nonsense", out, re.MULTILINE)
