"""Attack the public API at random: `python tests/fuzz/run.py --minutes 10 --seed 0`.

Each attack is a function of a seed. It fails if data is lost or wrong.
"""

import argparse
import collections
import importlib
import itertools
import os
import pathlib
import random
import sys
import tempfile
import time
import traceback
import warnings

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
ATTACKS = ["trees", "metadata", "comparisons", "directories", "disks", "signals"]


def run(name, seed):
    """Run an attack; return its events, and the traceback of a failure."""
    attack = importlib.import_module(name).attack
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        try:
            return attack(random.Random(f"{name} {seed}"), pathlib.Path(directory)), ""
        except Exception:
            return [], traceback.format_exc()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attacks", nargs="*", default=ATTACKS, help="all by default")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=10**9, help="how many seeds per attack")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long, all attacks together")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Python iterable type .* is treated as a leaf", module="jax")
    any_failed = False
    for name in arguments.attacks:
        end = time.monotonic() + 60 * arguments.minutes / len(arguments.attacks)
        met, failed = collections.Counter(), []
        for seed in itertools.count(arguments.seed):
            if time.monotonic() > end or seed == arguments.seed + arguments.count:
                break
            counts, problem = run(name, seed)
            met.update(counts)
            if problem:
                failed.append(seed)
                print(f"{problem}again: python {__file__} {name} --seed {seed} --count 1\n")
        counts = ", ".join(f"{count} {what}" for what, count in sorted(met.items()))
        print(f"{name}: {seed - arguments.seed} seeds, failing {failed}; {counts}", flush=True)
        any_failed |= bool(failed)
    return any_failed


if __name__ == "__main__":
    sys.exit(main())
