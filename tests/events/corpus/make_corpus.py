"""Make the corpus anew: `python make_corpus.py [--scratch /tmp/corpus-events]`.

Each file of `requirements/` is an environment: its first line names the Python, the others what
pip installs. Environments that are there already are used as they are; one whose Python is not on
this machine is left out, with a word. What a run holds is then read by TensorBoard's
EventAccumulator, in the environment of `READER`.
"""

import argparse
import glob
import os
import pathlib
import shutil
import socket
import subprocess

HERE = pathlib.Path(__file__).parent
RUNS = HERE / "runs"
READER = "tensorflow-2.21"


def python_of(version: str) -> str | None:
    found = glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python"))
    return found[0] if found else shutil.which(f"python{version}")


def environment(scratch: pathlib.Path, requirements: pathlib.Path) -> pathlib.Path | None:
    """The Python executable of an environment, made if need be."""
    executable = scratch / "environments" / requirements.stem / "bin" / "python"
    if not executable.exists():
        version = requirements.read_text().splitlines()[0].removeprefix("# python ")
        python = python_of(version)
        if python is None:
            print(f"{requirements.stem}: left out, there is no Python {version} here")
            return None
        subprocess.run([python, "-m", "venv", executable.parent.parent], check=True)
        subprocess.run([executable, "-m", "pip", "install", "-q", "-r", requirements], check=True)
    return executable


def damage(run: pathlib.Path, case: str) -> pathlib.Path:
    """Copy a run of one file, for harm to be done to the copy; the file."""
    copy = run.parent / case
    shutil.copytree(run, copy)
    (file,) = copy.iterdir()
    return file


def write_damaged() -> None:
    """Runs as kills and bad disks leave them, made from whole ones."""
    for writer in ("torch-2.13.0", "tensorflow-2.21.0"):
        scalars = RUNS / writer / "scalars"
        if not scalars.exists():
            continue
        for name, cut in (("torn_in_body", 5), ("torn_in_checksum", 2), ("torn_to_length", 30)):
            file = damage(scalars, name)
            file.write_bytes(file.read_bytes()[:-cut])
        file = damage(scalars, "torn_zeros")
        file.write_bytes(file.read_bytes() + bytes(64))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=pathlib.Path, default=pathlib.Path("/tmp/corpus-events"))
    scratch = parser.parse_args().scratch

    shutil.rmtree(RUNS, ignore_errors=True)
    for requirements in sorted((HERE / "requirements").glob("*.txt")):
        executable = environment(scratch, requirements)
        if executable is not None:
            subprocess.run([executable, "-W", "ignore", HERE / "write_files.py", RUNS], check=True)

    for file in RUNS.rglob("events.out.tfevents.*"):
        file.rename(file.with_name(file.name.replace(socket.gethostname(), "host")))
    write_damaged()

    reader = environment(scratch, HERE / "requirements" / f"{READER}.txt")
    if reader is None:
        raise SystemExit("there is no TensorBoard to read the runs with")
    subprocess.run([reader, "-W", "ignore", HERE / "read_runs.py", RUNS], check=True)


if __name__ == "__main__":
    main()
