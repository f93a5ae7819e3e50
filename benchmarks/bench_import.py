"""What `import fifteen.experiments` costs on top of `import jax`, beside what others cost there.

Each import runs in a fresh interpreter; the runs of all are interleaved, so that whatever else the
machine does meets them alike. The limit is no import at all.
"""

import statistics
import subprocess
import sys

ROUNDS = 7
IMPORTS = ["fifteen.experiments", "tensorboardX", "orbax.checkpoint", "flax"]
MOST_MILLISECONDS = 80
"""What we allow ourselves on top of JAX."""

_CODE = """
import time
start = time.perf_counter()
import jax
middle = time.perf_counter()
{statement}
end = time.perf_counter()
print(middle - start, end - middle)
"""


def measure(name: str | None) -> tuple[float, float]:
    """Return the milliseconds of `import jax`, and of the import after it."""
    code = _CODE.format(statement=f"import {name}" if name else "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = (1000 * float(seconds) for seconds in done.stdout.split())
    return first, second


def main() -> None:
    """Print the medians, and their ratio to ours."""
    names = [None, *IMPORTS]
    of_jax: list[float] = []
    on_top: dict[str | None, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            jax, rest = measure(name)
            of_jax.append(jax)
            on_top[name].append(rest)

    medians = {name: statistics.median(times) for name, times in on_top.items()}
    print(f"import jax: {statistics.median(of_jax):.0f} ms (median of {len(of_jax)})")
    print(f"{'on top of it':24}{'ms':>8}{'spread':>16}{'of ours':>9}")
    for name in names:
        spread = f"{min(on_top[name]):.0f}-{max(on_top[name]):.0f}"
        ratio = medians[name] / medians["fifteen.experiments"]
        print(f"{name or 'nothing (limit)':24}{medians[name]:8.1f}{spread:>16}{ratio:9.2f}")
    kept = "kept" if medians["fifteen.experiments"] <= MOST_MILLISECONDS else "NOT KEPT"
    print(f"at most {MOST_MILLISECONDS} ms for ours: {kept}")


if __name__ == "__main__":
    main()
