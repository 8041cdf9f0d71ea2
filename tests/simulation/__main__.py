"""`python -m tests.simulation`: runs many seeds, or one of them, and shows what went wrong."""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.runs import run, shrunk


def main() -> int:
    """Returns 1 when any seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="runs this seed only")
    parser.add_argument("--start", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--runs", type=int, default=1000, help="how many seeds (default 1000)")
    parser.add_argument("--failures", type=int, default=3, help="how many failures to show")
    options = parser.parse_args()
    if options.seed is not None:
        options.start, options.runs = options.seed, 1
    began = time.monotonic()
    failures = []
    for seed in range(options.start, options.start + options.runs):
        failure = run(seed)
        if failure is not None:
            failures.append(failure)
            print(f"seed {seed}: {failure.what}", flush=True)
    for failure in sorted(failures, key=lambda failure: len(failure.script))[: options.failures]:
        print(f"\n{shrunk(failure)}", flush=True)
    seconds = time.monotonic() - began
    print(f"{options.runs} seeds, {len(failures)} failed, {seconds:.0f} s")
    for what, count in Counter(failure.what[:60] for failure in failures).most_common():
        print(f"  {count:5} x {what}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
