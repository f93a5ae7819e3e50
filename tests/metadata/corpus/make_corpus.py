"""Make the corpus anew: `python make_corpus.py [--scratch /tmp/corpus-metadata]`.

Each file of `requirements/` is an environment: its first line names the Python, the others what
pip installs. Environments that are there already are used as they are; one whose Python is not on
this machine is left out, with a word.
"""

import argparse
import glob
import json
import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).parent
FILES = HERE / "files"

# Which function JAX names in a pickled array before 0.4. The rest of the blob, which
# `DeviceArray.__reduce__` of jax 0.3.25 takes apart just as `ArrayImpl.__reduce__` of 0.4.13 does,
# is the same; releases of that time no longer install, so these files are made from 0.4.13's.
OLD_JAX = {
    "jax-0.3.25-imitated": (
        "jax._src.array._reconstruct_array",
        "jax._src.device_array.reconstruct_device_array",
    ),
    "jaxlib-0.3-imitated": ("ml_dtypes.bfloat16", "jaxlib.xla_extension.bfloat16"),
}


def python_of(version: str) -> str | None:
    found = glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python"))
    return found[0] if found else shutil.which(f"python{version}")


def run_environments(scratch: pathlib.Path) -> list[pathlib.Path]:
    """Write the cases in every environment; the directories with what they wrote, oldest first."""
    written = []
    for requirements in sorted((HERE / "requirements").glob("*.txt")):
        version = requirements.read_text().splitlines()[0].removeprefix("# python ")
        python = python_of(version)
        if python is None:
            print(f"{requirements.stem}: left out, there is no Python {version} here")
            continue
        environment = scratch / "environments" / requirements.stem
        executable = environment / "bin" / "python"
        if not executable.exists():
            subprocess.run([python, "-m", "venv", environment], check=True)
            subprocess.run(
                [executable, "-m", "pip", "install", "-q", "-r", requirements], check=True
            )
        output = scratch / "written" / requirements.stem
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        subprocess.run([executable, "-W", "ignore", HERE / "write_files.py", output], check=True)
        written.append(output)
    return written


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--scratch", type=pathlib.Path, default=pathlib.Path("/tmp/corpus-metadata")
    )
    written = run_environments(parser.parse_args().scratch)

    shutil.rmtree(FILES, ignore_errors=True)
    cases: list[dict] = []
    left_out: list[dict] = []
    known: dict[tuple[str, str, str], dict] = {}

    def keep(directory: str, kind: str, result: dict, text: str, writer: dict) -> None:
        """Store a text once; who wrote the same later is noted with the case."""
        key = (kind, result["case"], text)
        if key in known:
            known[key].setdefault("also", []).append(directory)
            return
        path = FILES / directory / kind / f"{result['case']}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        known[key] = {
            "file": path.relative_to(FILES).as_posix(),
            "type": result["type"],
            "expected": result["expected"],
            "writer": writer,
        }
        cases.append(known[key])

    for output in written:
        report = json.loads((output / "cases.json").read_text())
        versions = report["versions"]
        package = "dcargs" if "dcargs" in versions else "tyro"
        python = "".join(versions["python"].split(".")[:2])
        directory = f"{package}-{versions[package]}-py{python}"
        for result in report["results"]:
            if not result.get("equal"):
                reason = (
                    result.get("not_written")
                    or result.get("not_read")
                    or "not equal when read back"
                )
                left_out.append(
                    {"case": f"{directory}/{result['kind']}/{result['case']}", "reason": reason}
                )
                continue
            text = (output / result["kind"] / f"{result['case']}.yaml").read_text(encoding="utf-8")
            keep(directory, result["kind"], result, text, versions)
            if versions["jax"] == "0.4.13" and package == "dcargs":
                for imitated, (new, old) in OLD_JAX.items():
                    if new in text:
                        keep(
                            imitated,
                            result["kind"],
                            result,
                            text.replace(new, old),
                            {"imitates": imitated},
                        )

    with open(HERE / "manifest.json", "w", encoding="utf-8") as file:
        file.write('{"cases": [\n')
        file.write(",\n".join(json.dumps(case) for case in cases))
        file.write('\n], "left_out": [\n')
        file.write(",\n".join(json.dumps(case) for case in left_out))
        file.write("\n]}\n")
    print(f"{len(cases)} files, {len(left_out)} cases left out")


if __name__ == "__main__":
    main()
