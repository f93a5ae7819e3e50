"""Run every benchmark in turn, each in its own process (`make bench`).

python benchmarks/run.py [NAME ...]    e.g. `import logging` for those two alone
"""

import pathlib
import subprocess
import sys
import time


def main(names: list[str]) -> int:
    """Run the named benchmarks or all; return how many failed."""
    scripts = sorted(pathlib.Path(__file__).parent.glob("bench_*.py"))
    known = {script.stem.removeprefix("bench_"): script for script in scripts}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark named {', '.join(unknown)}; there are {', '.join(known)}")
        return len(unknown)

    failed: list[str] = []
    for name in names or known:
        print(f"\n=== {name} ===", flush=True)
        start = time.perf_counter()
        if subprocess.run([sys.executable, str(known[name])], check=False).returncode:
            failed.append(name)
        print(f"({time.perf_counter() - start:.0f} s)", flush=True)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
