"""Runs every benchmark with small numbers, for `make bench`; each can be run alone with more."""

import time

from tests.benchmarks import (
    bench_append,
    bench_audit,
    bench_calls,
    bench_circuit_breaker,
    bench_confirmations,
    bench_follower,
    bench_latency,
    bench_lifecycle,
    bench_lists,
    bench_replay,
    bench_test_mode,
)

ALL = (
    bench_append,
    bench_calls,
    bench_follower,
    bench_audit,
    bench_replay,
    bench_latency,
    bench_lifecycle,
    bench_lists,
    bench_test_mode,
    bench_circuit_breaker,
    bench_confirmations,
)


def main() -> None:
    """Prints all tables, one benchmark after another."""
    for benchmark in ALL:
        began = time.perf_counter()
        print(f"\n=== {benchmark.__name__}: {(benchmark.__doc__ or '').splitlines()[0]}")
        benchmark.main()
        print(f"({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
