"""Make the corpus anew: `python make_corpus.py [--scratch DIRECTORY]`.

With `--only TREE ...` just those trees are made anew and the others stay as they are, since Orbax gives
its files new names each time. Each file of `requirements/` is an environment: its first lines name the Python, what it writes and,
for old flax, which releases are tried in it one by one; the others are what pip installs.
Environments that are there already are used as they are.
"""

import argparse
import filecmp
import glob
import json
import os
import pathlib
import re
import shutil
import subprocess

HERE = pathlib.Path(__file__).parent
CASES = HERE / "cases"


def header(requirements: pathlib.Path, word: str) -> list[str]:
    """The words behind `# word` at the top of a requirements file."""
    lines = requirements.read_text().splitlines()
    return next((line.split()[2:] for line in lines if line.startswith(f"# {word} ")), [])


def environment(scratch: pathlib.Path, requirements: pathlib.Path) -> pathlib.Path:
    """The Python executable of an environment, made if need be."""
    executable = scratch / "environments" / requirements.stem / "bin" / "python"
    if not executable.exists():
        (version,) = header(requirements, "python")
        found = glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python"))
        python = found[0] if found else shutil.which(f"python{version}")
        if python is None:
            raise SystemExit(f"{requirements.stem}: there is no Python {version} here")
        subprocess.run([python, "-m", "venv", executable.parent.parent], check=True)
        subprocess.run([executable, "-m", "pip", "install", "-q", "-r", requirements], check=True)
    return executable


def releases(
    scratch: pathlib.Path, requirements: pathlib.Path, executable: pathlib.Path
) -> list[str]:
    """The folders with old releases of flax, or one empty text for the release installed."""
    folders = []
    for release in header(requirements, "flax"):
        folder = scratch / "flax" / release
        if not folder.exists():
            pip = [executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
            subprocess.run([*pip, f"flax=={release}"], check=True)
        folders.append(str(folder))
    return folders or [""]


def equal(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether two cases hold the same files, byte for byte, but for what their writers read."""
    names = [
        sorted(p.relative_to(c) for p in c.rglob("*") if p.name != "case.json")
        for c in (one, other)
    ]
    return names[0] == names[1] and all(
        filecmp.cmp(one / name, other / name, shallow=False)
        for name in names[0]
        if (one / name).is_file()
    )


def writer_order(case: pathlib.Path) -> list:
    numbers = re.findall(r"\d+", case.parent.name)
    return [case.parent.name.split("-")[0], *map(int, numbers[:3]), case.parent.name]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--scratch", type=pathlib.Path, default=pathlib.Path("/tmp/corpus-checkpoints")
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="TREE")
    arguments = parser.parse_args()
    scratch: pathlib.Path = arguments.scratch
    written = scratch / "written"
    shutil.rmtree(written, ignore_errors=True)
    written.mkdir(parents=True)
    for requirements in sorted((HERE / "requirements").glob("*.txt")):
        executable = environment(scratch, requirements)
        for folder in releases(scratch, requirements, executable):
            for part in header(requirements, "parts"):
                variables = {**os.environ, "PYTHONPATH": folder} if folder else dict(os.environ)
                command = [
                    executable,
                    "-W",
                    "ignore",
                    HERE / "write_files.py",
                    written,
                    part,
                    *arguments.only,
                ]
                subprocess.run(command, check=True, env=variables)

    failures = [json.loads(line) for line in (written / "failures.jsonl").read_text().splitlines()]
    if arguments.only:
        for tree in arguments.only:
            for case in CASES.glob(f"*/{tree}"):
                shutil.rmtree(case)
        earlier = json.loads((HERE / "left_out.json").read_text())
        failures = [item for item in earlier if item["tree"] not in arguments.only] + failures
    else:
        shutil.rmtree(CASES, ignore_errors=True)
    kept: dict[str, list[pathlib.Path]] = {}
    for case in sorted((file.parent for file in written.glob("*/*/case.json")), key=writer_order):
        twin = next((other for other in kept.get(case.name, []) if equal(case, other)), None)
        if twin is not None:
            description = json.loads((twin / "case.json").read_text())
            description.setdefault("also", []).append(case.parent.name)
            text = json.dumps(description).replace('{"path"', '\n{"path"')
            (twin / "case.json").write_text(text + "\n")
            continue
        copy = CASES / case.parent.name / case.name
        # A folder without a file is not something that git keeps; old Orbax leaves some behind.
        for folder in sorted(case.rglob("*/"), reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        shutil.copytree(case, copy)
        kept.setdefault(case.name, []).append(copy)
    for failure in failures:
        failure["reason"] = re.sub(r" ?\(?/\S*", "", failure["reason"])
    text = "[\n" + ",\n".join(json.dumps(failure) for failure in failures) + "\n]\n"
    (HERE / "left_out.json").write_text(text)
    print(f"{sum(map(len, kept.values()))} cases, {len(failures)} left out")


if __name__ == "__main__":
    main()
