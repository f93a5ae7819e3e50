import dataclasses
import datetime
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from fifteen.experiments import Experiment, provenance
from fifteen.experiments.provenance import _collect, _git
from fifteen.experiments.provenance._redaction import redact, redact_command, without_home

CLEAN_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


@pytest.fixture(autouse=True)
def plain_git(monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name, value in CLEAN_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def git(directory, *arguments):
    return subprocess.run(
        ["git", *arguments], cwd=directory, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    directory = tmp_path / "project"
    directory.mkdir()
    git(directory, "init", "-q", "-b", "trunk")
    (directory / "train.py").write_text("rate = 1\n")
    (directory / "data.bin").write_bytes(bytes(range(256)))
    git(directory, "add", ".")
    git(directory, "commit", "-q", "-m", "first")
    return directory


def read(directory):
    return _git.read_repository([str(directory)])


# Git


def test_clean_repository(repository):
    state = read(repository)
    assert state == _git.Repository(
        commit=git(repository, "rev-parse", "HEAD"), branch="trunk", dirty=False
    )


def test_diff_includes_staged_and_unstaged_changes_and_applies(repository, tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", repository, clone)
    (repository / "train.py").write_text("rate = 2\n")
    (repository / "new.py").write_text("x = 1 \n\n")
    git(repository, "add", "new.py")
    state = read(repository)
    assert state.dirty
    assert state.untracked == []
    subprocess.run(["git", "apply"], cwd=clone, input=state.diff, text=True, check=True)
    assert (clone / "train.py").read_text() == "rate = 2\n"
    assert (clone / "new.py").read_text() == "x = 1 \n\n"


def test_diff_ignores_the_git_configuration(repository, monkeypatch):
    (repository / "train.py").write_text("rate = 2\n")
    expected = read(repository).diff
    for key, value in {
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
        "color.ui": "always",
        "diff.external": "false",
        "status.showUntrackedFiles": "no",
        "status.branch": "false",
    }.items():
        git(repository, "config", key, value)
    (repository / "untracked.txt").touch()
    state = read(repository)
    assert state.diff == expected
    assert state.untracked == ["untracked.txt"]


def test_state_is_found_from_a_subfolder(repository):
    folder = repository / "deep" / "folder"
    folder.mkdir(parents=True)
    (repository / "train.py").write_text("rate = 2\n")
    state = read(folder)
    assert state.branch == "trunk"
    assert "a/train.py" in (state.diff or "")


def test_untracked_ignored_and_renamed_files(repository):
    (repository / ".gitignore").write_text("*.log\n")
    (repository / "noise.log").touch()
    (repository / "ünïcode name.txt").touch()
    (repository / "folder").mkdir()
    (repository / "folder" / "inside.txt").touch()
    git(repository, "mv", "train.py", "renamed.py")
    state = read(repository)
    assert state.dirty
    assert sorted(state.untracked) == [".gitignore", "folder/", "ünïcode name.txt"]
    assert "rename to renamed.py" in (state.diff or "")


def test_long_list_of_untracked_files_is_truncated_with_a_mark(repository):
    for number in range(1200):
        (repository / f"{number}.txt").touch()
    untracked = read(repository).untracked
    assert len(untracked) == 1001
    assert untracked[-1] == "[truncated: 200 more]"


def test_detached_head(repository):
    git(repository, "checkout", "-q", "--detach")
    state = read(repository)
    assert state.branch is None
    assert state.commit == git(repository, "rev-parse", "HEAD")


def test_before_the_first_commit(tmp_path):
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "staged.py").touch()
    git(tmp_path, "add", "staged.py")
    state = read(tmp_path)
    assert (state.commit, state.branch, state.dirty, state.diff) == (None, "trunk", True, None)


def test_submodule(repository, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "file").touch()
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "inner")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner, "sub")
    git(repository, "commit", "-q", "-m", "submodule")
    assert read(repository).dirty is False
    (repository / "sub" / "file").write_text("changed")
    state = read(repository)
    assert state.dirty
    assert "Subproject commit" in (state.diff or "")


def test_huge_diff_is_truncated_at_a_line_with_a_mark(repository):
    line = "0123456789abcdef" * 4 + "\n"
    (repository / "train.py").write_text(line * 100_000)
    diff = read(repository).diff or ""
    *_, last, mark = diff.splitlines()
    assert last == "+" + line.rstrip()
    assert mark == "[truncated: the diff is larger than 1048576 bytes]"
    assert len(diff) <= (1 << 20) + 100


def test_binary_and_badly_encoded_files(repository):
    (repository / "data.bin").write_bytes(b"\0\1" * 100)
    (repository / "train.py").write_bytes(b"caf\xe9\n")
    diff = read(repository).diff or ""
    assert "Binary files a/data.bin and b/data.bin differ" in diff
    assert "+caf\ufffd" in diff
    diff.encode()


def test_credentials_of_the_remote_are_removed(repository):
    git(repository, "remote", "add", "origin", "https://user:secret@example.org/project.git")
    assert read(repository).remote == "https://***@example.org/project.git"


def test_no_repository(tmp_path):
    assert read(tmp_path) == _git.Repository()


def test_first_directory_in_a_repository_is_used(repository, tmp_path):
    state = _git.read_repository([str(tmp_path), str(repository)])
    assert state.branch == "trunk"


def test_no_git(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert read(repository) == _git.Repository()


def test_hanging_git_does_not_block_a_run(repository, tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    # The child keeps the pipe open, so killing only the script would not end the wait.
    fake.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/child\nwait\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(_git, "_SECONDS", 0.5)
    start = time.monotonic()
    assert _git.read_repository([str(repository), str(tmp_path)]) == _git.Repository()
    assert time.monotonic() - start < 10
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


# Redaction


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["--api-key", "s"], ["--api-key", "***"]),
        (["--api-key=s=s"], ["--api-key=***"]),
        (["--api_key", "s", "x"], ["--api_key", "***", "x"]),
        (["--wandb.apiKey=s"], ["--wandb.apiKey=***"]),
        (["wandb.api_key=s"], ["wandb.api_key=***"]),
        (["--HF_TOKEN", "s"], ["--HF_TOKEN", "***"]),
        (["--token", "--verbose"], ["--token", "--verbose"]),
        (["--password="], ["--password=***"]),
        (["AWS_SECRET_ACCESS_KEY=s"], ["AWS_SECRET_ACCESS_KEY=***"]),
        (["https://u:t@h/x"], ["https://***@h/x"]),
        (["--remote=ssh://t@h/x"], ["--remote=ssh://***@h/x"]),
        (["Authorization: Bearer abc.def"], ["Authorization: Bearer ***"]),
        (["ghp_0123456789abcdefABCDEF"], ["***"]),
        (["--x=hf_0123456789abcdefABCDEF"], ["--x=***"]),
        (["AKIA0123456789ABCDEF"], ["***"]),
    ],
)
def test_credentials_are_hidden(command, expected):
    assert redact_command(["train.py", *command]) == ["train.py", *expected]


@pytest.mark.parametrize(
    "command",
    [
        ["--max-tokens", "512"],
        ["--tokenizer=bpe"],
        ["--key-size", "64"],
        ["--key=value"],
        ["--seed", "0"],
        ["--hidden-size=128"],
        ["--token-dim", "64"],
        ["--learning-rate=1e-3", "-v", "--", "-"],
        ["user@host:path", "https://example.org/a@b"],
    ],
)
def test_ordinary_arguments_are_kept(command):
    assert redact_command(command) == command


def test_redact_keeps_other_text():
    assert redact("see https://example.org, authorization: none") == (
        "see https://example.org, authorization: none"
    )


def test_home_is_shortened(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert without_home("/home/someone") == "~"
    assert without_home("/home/someone/x") == "~/x"
    assert without_home("/home/someone2/x") == "/home/someone2/x"
    monkeypatch.setenv("HOME", "/")
    assert without_home("/x") == "/x"


# Provenance as a whole

SCRIPT = """
import dataclasses, json, sys, jax
from fifteen.experiments import provenance
if "--devices" in sys.argv:
    jax.devices()
found = provenance.collect()
from jax._src import xla_bridge
print(json.dumps([dataclasses.asdict(found), xla_bridge.backends_are_initialized()]))
"""


def collect_in_script(script, *arguments, cwd, **environment):
    script.write_text(SCRIPT)
    output = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
    ).stdout
    return json.loads(output)


@pytest.mark.slow
def test_script_in_a_repository_run_from_elsewhere(repository, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    found, initialized = collect_in_script(
        repository / "train.py",
        "--api-key=hunter2",
        cwd=elsewhere,
        HOME=str(tmp_path),
        WANDB_API_KEY="hunter3",
    )
    assert not initialized
    assert found["devices"] is None
    assert found["git_branch"] == "trunk"
    assert found["git_dirty"] is True
    assert found["working_directory"] == "~/elsewhere"
    assert found["command"][1:] == ["~/project/train.py", "--api-key=***"]
    assert "hunter" not in json.dumps(found)
    assert found["python"] == sys.version.split()[0]
    assert found["host"] == socket.gethostname()
    assert found["processes"] == 1


def test_repository_around_a_linked_environment_is_not_that_of_its_scripts(
    repository, tmp_path, monkeypatch
):
    script = repository / ".venv" / "bin" / "tool"
    script.parent.mkdir(parents=True)
    script.touch()
    (tmp_path / "link").symlink_to(repository / ".venv")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "link"))
    # The main module of pytest-xdist's workers has no file, hence `raising`.
    tool = str(tmp_path / "link/bin/tool")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", tool, raising=False)
    monkeypatch.chdir(tmp_path)
    assert provenance.collect().git_branch is None


@pytest.mark.slow
def test_initialised_devices_are_listed(tmp_path):
    found, initialized = collect_in_script(
        tmp_path / "script.py", "--devices", cwd=tmp_path, XLA_FLAGS=""
    )
    assert initialized
    assert found["devices"] == ["cpu:0 cpu"]
    assert found["git_commit"] is None
    assert found["git_untracked"] == []


def test_provenance_round_trips(repository, tmp_path, monkeypatch):
    (repository / "train.py").write_bytes(b"a\r\n\x0c\tb \n\n   \n\xe9\n" + "\u2028é\n".encode())
    monkeypatch.chdir(repository)
    with Experiment(tmp_path / "run", verbose=False) as experiment:
        experiment.write_provenance()
        found = experiment.read_metadata("provenance", provenance.Provenance)
        plain = experiment.read_metadata("provenance", dict)
    assert "+a\r\n" in (found.git_diff or "")
    assert found.git_branch == plain["git_branch"]
    assert found.git_diff == plain["git_diff"] == read(repository).diff
    assert found.packages["jax"] == plain["packages"]["jax"]


def test_times():
    before = datetime.datetime.now().astimezone()
    found = provenance.collect()
    time_of_it = datetime.datetime.fromisoformat(found.time)
    started = datetime.datetime.fromisoformat(found.started or "")
    assert time_of_it.tzinfo is not None
    assert started < before
    assert before - datetime.timedelta(milliseconds=1) <= time_of_it
    assert time_of_it - before < datetime.timedelta(seconds=30)


def test_package_versions(tmp_path, monkeypatch):
    later = tmp_path / "later"
    for place, name, version in [
        (tmp_path / "Some_Package-1.0.dist-info/METADATA", "Some_Package", "1.0"),
        (tmp_path / "old-2.0-py3.11.egg-info/PKG-INFO", "old", "2.0"),
        (later / "some_package-9.9.dist-info/METADATA", "some_package", "9.9"),
    ]:
        place.parent.mkdir(parents=True)
        place.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (tmp_path / "~broken-1.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "absent"), str(later)])
    assert provenance.collect().packages == {"old": "2.0", "some-package": "1.0"}


def test_gpus(tmp_path, monkeypatch):
    for number in range(2):
        gpu = tmp_path / f"0000:0{number}:00.0"
        gpu.mkdir()
        (gpu / "information").write_text(
            "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 60\nGPU UUID: \t GPU-1\n"
        )
    monkeypatch.setattr(_collect, "_GPUS", tmp_path)
    assert provenance.collect().gpus == ["NVIDIA H100 80GB HBM3"] * 2
    monkeypatch.setattr(_collect, "_GPUS", tmp_path / "absent")
    assert provenance.collect().gpus == []


def test_deleted_working_directory(tmp_path, monkeypatch):
    directory = tmp_path / "gone"
    directory.mkdir()
    monkeypatch.chdir(directory)
    directory.rmdir()
    try:
        assert provenance.collect().working_directory is None
    finally:
        os.chdir("/")


def test_provenance_is_plain_data():
    def is_plain(value):
        if isinstance(value, list):
            return all(map(is_plain, value))
        if isinstance(value, dict):
            return all(map(is_plain, [*value, *value.values()]))
        return value is None or type(value) in (str, int, float, bool)

    assert is_plain(list(dataclasses.asdict(provenance.collect()).values()))
