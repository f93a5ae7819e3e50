"""`fifteen doctor` on directories and addresses."""

import importlib.metadata
import os
import re

import jax
import pytest

from fifteen.experiments import Experiment


@pytest.mark.slow
def test_doctor_lists_packages_and_devices_and_changes_nothing(run, tmp_path):
    out = run("doctor", tmp_path).stdout
    assert re.search(rf"^  jax +{re.escape(jax.__version__)}$", out, re.MULTILINE)
    assert re.search(r"^  devices +cpu:0 cpu(, |$)", out, re.MULTILINE)
    assert re.search(r"^  atomic files +written and synced in [\d.]+ ms$", out, re.MULTILINE)
    assert re.search(r"^  locks +work$", out, re.MULTILINE)
    assert out.endswith("all is well\n")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_doctor_checks_the_current_directory_by_default(run, tmp_path):
    assert "atomic files" in run("doctor", cwd=tmp_path).stdout
    assert os.listdir(tmp_path) == []


def test_empty_path_is_an_error(run):
    assert "is a variable not set?" in run("doctor", "", expect=1).stderr


@pytest.mark.slow
def test_missing_extra_is_named_but_no_fault(run, tmp_path, monkeypatch):
    version = importlib.metadata.version

    def without_orbax(name):
        if name.lower() in ("orbax-checkpoint", "tensorboardx"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_orbax)
    # tensorboardX is no extra: logging needs it.
    out = run("doctor", tmp_path, expect=1).stdout
    missing = re.findall(r"^  (\S+) +missing: (.*)$", out, re.MULTILINE)
    assert [(name.lower(), remedy) for name, remedy in missing] == [
        ("tensorboardx", "it is needed; install it"),
        ("orbax-checkpoint", "pip install 'fifteen[orbax]'"),
    ]


@pytest.mark.parametrize("directory", ["/proc", "nothere", "file"])
@pytest.mark.slow
def test_unwritable_directory_is_a_fault(run, tmp_path, directory):
    (tmp_path / "file").write_text("")
    out = run("doctor", directory, cwd=tmp_path, expect=1).stdout
    assert re.search(r"^  writing +(failed: |there is no such directory)", out, re.MULTILINE)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.slow
def test_jax_without_a_device_is_a_fault(run, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    out = run("doctor", tmp_path, expect=1).stdout
    assert re.search(r"^  devices +\S.*nonsense", out, re.MULTILINE)


@pytest.mark.slow
def test_reachable_address_is_left_unchanged(run):
    with Experiment("memory://doctor/run", verbose=False) as experiment:
        experiment.write_metadata("config", {"lr": 0.1})
        names = list(experiment.data_dir.iterdir())
        out = run("doctor", "memory://doctor/run").stdout
        assert list(experiment.data_dir.iterdir()) == names
    assert re.search(r"^  path +memory://doctor/run$", out, re.MULTILINE)
    assert re.search(r"^  atomic files +written and synced in [\d.]+ ms$", out, re.MULTILINE)
    assert re.search(r"^  reading +works$", out, re.MULTILINE)
    assert re.search(r"^  locks +work$", out, re.MULTILINE)
    assert out.endswith("all is well\n")


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("ftp://bucket/runs", "expected a path or an address"),
        ("s3://name:hunter2@bucket/runs", "leave credentials out of the address"),
        ("s3://bucket/runs?X-Amz-Signature=hunter2", "leave credentials out of the address"),
    ],
)
@pytest.mark.slow
def test_unsupported_address_is_a_fault(run, address, problem):
    out = run("doctor", address, expect=1).stdout
    assert re.search(rf"^  path +.*{problem}", out, re.MULTILINE)
    assert "hunter2" not in out


@pytest.mark.slow
def test_unreachable_store_is_a_fault_and_no_secret_is_shown(run, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": "http://name:hunter2@127.0.0.1:1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "hunter2",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    # No other test uses this bucket, since stores are cached.
    result = run("doctor", "s3://nobody-answers/runs", expect=1)
    assert re.search(r"^  writing +failed: .*error sending request", result.stdout, re.MULTILINE)
    assert "hunter2" not in result.stdout + result.stderr
