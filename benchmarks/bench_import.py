"""The time of `import fifteen.experiments` and of the peers on top of `import jax`.

Each import runs in a fresh interpreter with compiled modules. Runs are interleaved, so that other
load on the machine affects all alike. CPU time is printed as well, since wall time grows with load.
The limit is no import at all.
"""

import os
import statistics
import subprocess
import sys
import tempfile

ROUNDS = 7
IMPORTS = ["fifteen.experiments", "tensorboardX", "orbax.checkpoint", "flax"]
MOST_MILLISECONDS = 80
"""What we allow ourselves on top of JAX."""

_CODE = """
import time
def now(): return time.perf_counter(), time.process_time()
start = now()
import jax
middle = now()
{statement}
end = now()
print(*(middle[i] - start[i] for i in (0, 1)), *(end[i] - middle[i] for i in (0, 1)))
"""


def measure(name: str | None, cache: str) -> list[float]:
    """Return the wall and CPU milliseconds of `import jax`, and of the import after it."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    code = _CODE.format(statement=f"import {name}" if name else "")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [1000 * float(seconds) for seconds in done.stdout.split()]


def main() -> None:
    names = [None, *IMPORTS]
    runs: dict[str | None, list[list[float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as cache:
        for name in names:
            measure(name, cache)
        for _ in range(ROUNDS):
            for name in names:
                runs[name].append(measure(name, cache))

    medians = {
        name: [statistics.median(column) for column in zip(*of_name, strict=True)]
        for name, of_name in runs.items()
    }
    wall, cpu = medians[None][:2]
    print(f"import jax: {wall:.0f} ms, {cpu:.0f} ms of CPU (medians of {ROUNDS})")
    print(f"{'on top of it':24}{'ms':>8}{'CPU ms':>8}{'CPU of ours':>13}")
    _, _, ours, ours_cpu = medians["fifteen.experiments"]
    for name, (_, _, wall, cpu) in medians.items():
        print(f"{name or 'nothing (limit)':24}{wall:8.1f}{cpu:8.1f}{cpu / ours_cpu:13.2f}")
    kept = "kept" if ours <= MOST_MILLISECONDS else "NOT KEPT"
    print(f"at most {MOST_MILLISECONDS} ms for ours: {kept}")


if __name__ == "__main__":
    main()
